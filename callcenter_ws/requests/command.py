"""Clients have something done with ``command`` (``docs/protocol.rst``, "Commands")."""

from __future__ import annotations

import msgspec

from callcenter_ws.commands.service import CommandService
from callcenter_ws.delivery.client import Client
from callcenter_ws.delivery.snapshot_cache import RequestId
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.frames import control_frame
from callcenter_ws.requests.handlers import Handler
from callcenter_ws.requests.request import Request
from callcenter_ws.runtime.json import JsonObject, decode_json

MAX_COMMAND_BYTES = 16_384
"""The payload of a command; no command needs a part of it."""


class CommandHead(msgspec.Struct):
    """The fields that all commands have. The others depend on the name, and are checked by its declaration."""

    name: str
    command_id: str | None = None


class CommandHandler(Handler):
    """Passes commands to the CommandService."""

    name = "command"
    payload = CommandHead

    def __init__(self, commands: CommandService) -> None:
        self._commands = commands

    def decode(self, request: Request, decoder: msgspec.json.Decoder[CommandHead]) -> JsonObject:
        """Return all fields of the payload."""
        text = bytes(request.payload)
        if len(text) > MAX_COMMAND_BYTES:
            raise Refusal(ErrorCode.TOO_LARGE, f"payload: {len(text)} bytes, the limit is {MAX_COMMAND_BYTES}")
        fields = decode_json(text)
        if not isinstance(fields, dict):
            raise Refusal(ErrorCode.INVALID_MESSAGE, "payload: expected an object")
        return fields

    async def handle(self, client: Client, payload: JsonObject, request_id: RequestId) -> None:
        """Answer ``accepted``: the command is stored. Its outcome comes in the stream, as an event for this user."""
        accepted = await self._commands.issue(client.principal, payload)
        client.send(control_frame("accepted", accepted.payload(), in_reply_to=request_id))
