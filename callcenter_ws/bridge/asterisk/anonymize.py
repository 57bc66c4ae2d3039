"""Replaces names and numbers in a capture consistently, so that it can be given to others.

Each number becomes another one of the same length that begins with 0, and each name ``name-1``, ``name-2`` and so on,
everywhere the same. What is kept is named in ``_KEPT``: times, states, ids of channels and calls, and the words of the
protocol. What is not known is replaced; texts of the dialplan and values of variables are masked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

MAX_NAMES = 200_000
"""Names and numbers that are replaced each by its own. Further ones all become the same."""

MASKED = "masked"

_KEPT_NAMES = """
    Event Response Privilege EventList ListItems Items Ping Uptime LastReload Shutdown Restart
    AMIversion AsteriskVersion ChannelState ChannelStateDesc ChannelType Priority Language Cause Cause-txt TechCause
    DialStatus State DeviceState Status Position OriginalPosition Count Calls CallsTaken Callers Max Strategy Weight
    Holdtime HoldTime TalkTime Talktime RingTime Wait Wrapuptime Completed Abandoned ServiceLevel ServicelevelPerf
    ServicelevelPerf2 LoggedIn Available LongestHoldTime Penalty Ringinuse InCall LastCall LastPause LoginTime Logintime
    Paused Membership Result IsExternal Success DestType LocalOptimization BridgeType BridgeTechnology
    BridgeNumChannels BridgeVideoSourceMode Application LastApplication Direction DurationMs Duration Seconds
    BillableSeconds AnswerTime StartTime EndTime Disposition AMAFlags Timestamp TimeToHangup ContactStatus PeerStatus
    RoundtripUsec CoreMaxCalls CoreMaxLoadAvg CoreMaxFilehandles CoreRealTimeEnabled CoreCDRenabled CoreHTTPenabled
    SoundsSearchCustomDir CoreStartupDate CoreStartupTime CoreReloadDate CoreReloadTime CoreCurrentCalls
    CoreProcessedCalls ActiveChannels BridgeNumVideoChannels PresenceState ObjectType Module
    BridgeUniqueid BridgeId BridgeID Severity Service EventVersion EventTV SessionTV UsingPassword
"""
_KEPT = frozenset(_KEPT_NAMES.split())
"""Headers whose values are not replaced."""

_PREFIXES = re.compile(
    "^(?:Dest|Source|OrigTransferer|SecondTransferer|TransferTarget|Transferee|Transferer|LocalOne|LocalTwo|OrigBridge|"
    "SecondBridge|Bridge1|Bridge2|Parkee|Parker|Spyee|Spyer)"
)
"""Begin the headers of a second channel in an event."""

_DEVICE_NAMES = "Interface Location StateInterface Device DialString Peer DestinationChannel Channel ForwardedTo Hint"
_DEVICES = frozenset(_DEVICE_NAMES.split())
_MASKED_NAMES = """
    AppData Data ApplicationData LastData UserField Text ChanVariable ChannelVariable Contacts URI LocalAddress
    RemoteAddress From To Challenge ReceivedChallenge Output Ident Digit
"""
_MASKED = frozenset(_MASKED_NAMES.split())
"""Headers whose values are masked: texts of the dialplan, addresses, proofs, and the digits that are dialed."""

_WORDS = frozenset(
    [
        "s",
        "h",
        "t",
        "i",
        "e",
        "o",
        "T",
        "<unknown>",
        "unknown",
        "anonymous",
        "Anonymous",
        "Auto-Pause",
        "default",
        "none",
    ]
)
"""Values that Asterisk itself gives, where a name or number may stand."""

_DIALED = "(Outgoing Line)"
"""What Asterisk gives as the data of the application of a channel that was dialed."""

_REASONS = frozenset(["agent", "caller", "transfer"])
"""Values of ``Reason`` that Asterisk itself gives."""

_RESULTS = frozenset(["QUEUESTATUS", "DIALSTATUS", "ABANDONED", "HANGUPCAUSE", "QUEUEPOSITION", "QEORIGINALPOS"])
"""Variables that Asterisk itself sets, and that hold no names."""

_NUMBER = re.compile(r"^(\+?)([0-9]{3,})$")
_SHORT_NUMBER = re.compile(r"^[0-9]{0,2}$")
_UNIQUEID = re.compile(r"^(?:(.*)-)?([0-9]+\.[0-9]+)$")
_DEVICE = re.compile(
    r"^((?:AsyncGoto/|Surrogate/|Bridge/|Parked/)*(?:[A-Za-z][A-Za-z0-9_]*/|Agent:|hint:|Queue:|Custom:))"
    r"(.*?)((?:-[0-9a-f]{8})?(?:;[12])?(?:<[A-Z]+>)?(?:/[nbmj]+)?)$"
)


class Anonymizer:
    """Replaces names and numbers, in whatever order they come.

    Args:
        own_ids: what the ActionIDs of the recording client begin with. Those of others are replaced.
    """

    def __init__(self, own_ids: str = "") -> None:
        self._own_ids = own_ids
        self._names: dict[str, str] = {}
        self._counts: dict[int, int] = {}
        self._rules: dict[str, Callable[[str], str]] = {}

    def received(self, message: bytes) -> bytes:
        """Return one message of the exchange, without the empty line behind it, with other names."""
        lines = message.split(b"\r\n") if b"\r\n" in message else message.split(b"\n")
        texts = [line.decode("utf-8", "surrogateescape") for line in lines]
        if texts and texts[0].startswith("Event:") and texts[0][6:].strip() == "UserEvent":
            return b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Masked"
        if texts and texts[0].startswith("Response:"):
            # What Asterisk itself answers.
            self._rules["Message"] = str
        else:
            self._rules["Message"] = _mask
        self._rules["ApplicationData"] = self._queue_options if "Application: Queue" in texts else _mask
        variable = next((text[9:].strip() for text in texts if text.startswith("Variable:")), "")
        changed = [self._line(text, variable) for text in texts]
        return "\r\n".join(changed).encode("utf-8", "surrogateescape")

    def sent(self, actions: bytes) -> bytes:
        """Return actions of the client without what they prove and name: the names of actions and their ids."""
        kept = []
        for line in actions.replace(b"\r\n", b"\n").split(b"\n"):
            name, colon, _ = line.partition(b":")
            if name in (b"Action", b"ActionID", b"AuthType", b"Events", b"Operation", b"MatchCriteria", b""):
                kept.append(line)
            elif colon:
                kept.append(name + b": " + MASKED.encode())
        return b"\r\n".join(kept)

    def word(self, text: str) -> str:
        """Return what stands for a name or a number."""
        if text in _WORDS or _SHORT_NUMBER.match(text):
            return text
        found = _NUMBER.match(text)
        if found:
            return found[1] + self._known(found[2], self._new_number)
        return self._known(text, self._new_name)

    def device(self, text: str) -> str:
        """Return what stands for a device or a channel: the kind and the number of the channel stay."""
        found = _DEVICE.match(text)
        if not found:
            return self.word(text)
        name, at, context = found[2].partition("@")
        return found[1] + self.word(name) + at + (self.word(context) if at else "") + found[3]

    def _line(self, text: str, variable: str) -> str:
        header, colon, value = text.partition(":")
        if not colon:
            # The banner, and lines of a command's output.
            return text if text.startswith("Asterisk Call Manager/") or not text else MASKED
        value = value.strip()
        if header == "Variable":
            return f"Variable: {value if value in _RESULTS else MASKED.upper()}"
        if header == "Value":
            return f"Value: {value if variable in _RESULTS else MASKED if value else ''}"
        rule = self._rules.get(header)
        if rule is None:
            rule = self._rule(header)
            if len(self._rules) < MAX_NAMES:
                self._rules[header] = rule
        shown = header if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,40}", header) else "Masked"
        return f"{shown}: {rule(value)}"

    def _rule(self, header: str) -> Callable[[str], str]:
        base = _PREFIXES.sub("", header) or header
        if header in _MASKED or base in _MASKED or header.startswith(("ChanVariable", "ParkeeChanV")):
            return _mask
        if header in _KEPT or base in _KEPT:
            return str
        if header == "ActionID":
            return self._action_id
        if header == "Reason":
            return lambda value: value if value in _REASONS else self.word(value)
        if base.lower().endswith(("uniqueid", "linkedid")):
            return self._uniqueid
        if header in _DEVICES or base in _DEVICES or base.endswith("Channel") or base == "":
            return self.device
        return self.word

    def _queue_options(self, value: str) -> str:
        """Return the data of ``Queue()`` with the queue's new name: the lists show by it where a caller is."""
        queue, comma, _ = value.partition(",")
        return self.word(queue) + comma + (MASKED if comma else "") if value not in ("", _DIALED) else value

    def _action_id(self, value: str) -> str:
        return value if self._own_ids and value.startswith(self._own_ids) else self.word(value)

    def _uniqueid(self, value: str) -> str:
        found = _UNIQUEID.match(value)
        if not found:
            return self.word(value)
        return f"{self.word(found[1])}-{found[2]}" if found[1] else found[2]

    def _known(self, text: str, new: Callable[[str], str]) -> str:
        known = self._names.get(text)
        if known is None:
            if len(self._names) >= MAX_NAMES:
                return "0000000000" if text.isdigit() else "name"
            known = self._names[text] = new(text)
        return known

    def _new_number(self, text: str) -> str:
        length = len(text)
        while True:
            count = self._counts[length] = self._counts.get(length, 0) + 1
            number = f"0{count:0{length - 1}d}"
            if len(number) == length:
                return number
            # All are given of this length.
            length += 1

    def _new_name(self, _: str) -> str:
        count = self._counts[0] = self._counts.get(0, 0) + 1
        return f"name-{count}"


def _mask(value: str) -> str:
    return value if value in ("", _DIALED) else MASKED


def split_messages(buffer: bytes) -> tuple[Sequence[bytes], bytes]:
    """Return the complete messages at the beginning of a text, and what remains. A banner is a message of its own."""
    text = buffer.replace(b"\r\n", b"\n")
    if buffer.endswith(b"\r"):
        text = text[:-1]
    if text.startswith(b"Asterisk Call Manager/") and b"\n" in text:
        banner, text = text.split(b"\n", 1)
        *messages, rest = text.split(b"\n\n")
        return [banner, *messages], rest
    *messages, rest = text.split(b"\n\n")
    return messages, rest
