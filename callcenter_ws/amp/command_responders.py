"""Commands over AMP: the calls of ``Command`` at a source, and the responder of ``CommandOutcome``."""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.protocols import amp

from callcenter_ws.amp.commands import AmpRefusal, Command, refusal_of
from callcenter_ws.amp.session import PeerSession
from callcenter_ws.amp.source_responders import source_of
from callcenter_ws.commands.service import CommandService
from callcenter_ws.commands.source_outcomes import ToldOutcome
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import CommandKey, CommandRecord
from callcenter_ws.sources.link import SourceLink


class SourceConnection:
    """The connection of a source that takes commands. Implements ``dispatching.CommandReceiver``."""

    def __init__(self, peer: PeerSession) -> None:
        self._peer = peer

    @property
    def name(self) -> str:
        """The address of the peer, for log lines."""
        return self._peer.name

    @property
    def writable(self) -> bool:
        """Whether the transport accepts more."""
        return self._peer.writable

    @property
    def is_ended(self) -> bool:
        """Whether the connection was lost or is about to end."""
        return self._peer.is_ended

    def disconnect(self, reason: str) -> None:
        """Log ``reason`` and close the connection."""
        self._peer.disconnect(reason)

    def command(self, record: CommandRecord) -> Deferred[None]:
        """Call ``Command``; see ``dispatching.CommandReceiver``."""
        return Deferred.fromCoroutine(self._command(record))

    async def _command(self, record: CommandRecord) -> None:
        try:
            await self._peer.callRemote(
                Command,
                command_id=record.key.command_id,
                tenant_id=record.key.tenant_id,
                name=record.name,
                payload=record.payload,
                user_id=record.key.user_id,
                role=record.role.value,
                extension=record.extension,
                deadline_ms=record.deadline_ms,
            )
        except AmpRefusal as error:
            raise refusal_of(error.amp_code, str(error)) from None
        except amp.UnhandledCommand:
            raise Refusal(ErrorCode.UNSUPPORTED, "it does not know the AMP command Command") from None
        # Any other error is no Refusal: the source may have taken the command.


class CommandExchange:
    """Has sources take commands, and takes their outcomes."""

    def __init__(self, commands: CommandService) -> None:
        self._commands = commands

    def subscribe(self, peer: PeerSession, *, wanted: bool) -> None:
        """Send the commands of the peer's source to it from now on, or no more; without commands, none is sent.

        Raises:
            Refusal: ``forbidden``: the peer has not said ``Hello``.
        """
        link = peer.source
        if link is None:
            if wanted:
                raise Refusal(ErrorCode.FORBIDDEN, "kinds: commands are for sources; call Hello first")
            return
        if wanted and self._commands.policy.enabled:
            self._commands.dispatcher.attach(link, SourceConnection(peer))
            peer.drained = lambda: self._commands.dispatcher.writable_again(link)
        else:
            self.ended(link)
            peer.drained = None

    def ended(self, link: SourceLink) -> None:
        """Send no more commands over a connection of a source."""
        self._commands.dispatcher.detach(link)

    async def command_outcome(
        self,
        peer: PeerSession,
        *,
        tenant_id: str,
        user_id: str,
        command_id: str,
        source_seq: int | None,
        state: str,
        code: str | None,
        message: str | None,
        data: bytes | None,
        timestamp: str | None,
    ) -> dict[str, object]:
        """Close a command; ``accepted`` is false if it was closed or forgotten before."""
        link = source_of(peer, "CommandOutcome")
        told = ToldOutcome(
            key=CommandKey(tenant_id, user_id, command_id),
            source_seq=source_seq,
            state=state,
            code=code,
            message=message,
            data=data,
            timestamp=timestamp,
        )
        with peer.in_flight(events=1):
            # What follows must not be given to the store before it.
            peer.pause_reading("outcome")
            try:
                record = await self._commands.outcomes.find(link, told)
                closing = Deferred.fromCoroutine(self._commands.outcomes.take(link, told, record))
            finally:
                peer.resume_reading("outcome")
            return {"accepted": await closing}
