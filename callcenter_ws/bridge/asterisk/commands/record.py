"""``call.record``: starts, stops, pauses and resumes the recording of a call."""

from __future__ import annotations

import re
from typing import cast

from msgspec.structs import replace

from callcenter_ws.bridge.asterisk.commands.checked_command import CheckedCommand
from callcenter_ws.bridge.asterisk.commands.exchange_state import ExchangeState
from callcenter_ws.bridge.asterisk.commands.steps import Action, Script, Step
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.recordings import Recording
from callcenter_ws.events.commands import OutcomeCode, Record
from callcenter_ws.remote import CommandFailed

_OTHER = re.compile(r"[^A-Za-z0-9_.-]", re.ASCII)
_ID_VARIABLE = "CCWS_RECORDING"


def record(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Change the recording of a call; the exchange's own events of recordings prove it."""
    payload = cast(Record, command.payload)
    call = exchange.call(command, payload.call_id)
    channel = exchange.first_channel(call) or exchange.other_channel(call, command.user_id)
    if channel is None:
        raise CommandFailed(OutcomeCode.NOT_FOUND, "the channel of the call is not known")
    recording = exchange.machine.recordings.get(channel.uniqueid)
    if payload.action == "start":
        if recording is not None:
            # It is recorded already; a pause ends.
            yield from _set_paused(exchange, recording, is_paused=False)
            return {"file": recording.file}
        if exchange.machine.recordings.is_full:
            raise CommandFailed(OutcomeCode.BUSY, "too many calls are being recorded")
        recording = Recording(channel.uniqueid, channel.name, _file_name(exchange, channel.uniqueid))
        yield from _start(exchange, recording)
        return {"file": recording.file}
    if payload.action == "stop":
        yield from _stop(exchange, recording)
        return None
    if recording is None:
        raise CommandFailed(OutcomeCode.REJECTED, "the call is not being recorded by a command")
    yield from _set_paused(exchange, recording, is_paused=payload.action == "pause")
    return {"file": recording.file}


def _start(exchange: ExchangeState, recording: Recording) -> Script:
    step = Step(
        [
            Action.of(
                "MixMonitor",
                Channel=recording.channel,
                File=f"{exchange.settings.record_folder.rstrip('/')}/{recording.file}",
                Options=f"i({_ID_VARIABLE})",
            )
        ],
        proof=lambda message: _is_of(message, "MixMonitorStart", recording),
        # It tells the id.
        needs_responses=True,
    )
    (response,) = yield step
    exchange.machine.recordings.set(replace(recording, monitor_id=response.get("MixMonitorID")))
    return None


def _stop(exchange: ExchangeState, recording: Recording | None) -> Script:
    if recording is None:
        return None
    action = Action.of("StopMixMonitor", Channel=recording.channel, MixMonitorID=recording.monitor_id or None)
    yield Step([action], proof=lambda message: _is_of(message, "MixMonitorStop", recording))
    exchange.machine.recordings.remove(recording.uniqueid)
    return None


def _set_paused(exchange: ExchangeState, recording: Recording, *, is_paused: bool) -> Script:
    if recording.is_paused == is_paused:
        return None
    if not exchange.may_use("MixMonitorMute"):
        raise CommandFailed(OutcomeCode.UNSUPPORTED, "the exchange cannot pause recordings")
    action = Action.of(
        "MixMonitorMute",
        Channel=recording.channel,
        Direction="both",
        State="1" if is_paused else "0",
        MixMonitorID=recording.monitor_id or None,
    )

    def is_changed(message: AmiMessage | None) -> bool:
        if message is None or not _is_of(message, "MixMonitorMute", recording):
            return False
        return (message.get("State") in ("1", "True", "true", "yes")) == is_paused

    yield Step([action], proof=is_changed)
    exchange.machine.recordings.set(replace(recording, is_paused=is_paused))
    return None


def _is_of(message: AmiMessage | None, name: str, recording: Recording) -> bool:
    return message is not None and message.name == name and message.get("Uniqueid") == recording.uniqueid


def _file_name(exchange: ExchangeState, uniqueid: str) -> str:
    """Return the name of a new file: no part of it comes from a command."""
    name = _OTHER.sub("_", f"{exchange.source}-{uniqueid}-{int(exchange.machine.time)}")
    return f"{name}.{exchange.settings.record_format}"
