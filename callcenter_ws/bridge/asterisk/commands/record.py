"""``call.record``: starts, stops, pauses and resumes the recording of a call."""

from __future__ import annotations

import re
from typing import cast

from msgspec.structs import replace

from callcenter_ws.bridge.asterisk.commands.orders import Order, OrderFailed
from callcenter_ws.bridge.asterisk.commands.steps import Action, Script, Step
from callcenter_ws.bridge.asterisk.commands.world import World
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.recordings import Recording
from callcenter_ws.events.commands import OutcomeCode, Record

_OTHER = re.compile(r"[^A-Za-z0-9_.-]", re.ASCII)
_ID_VARIABLE = "CCWS_RECORDING"


def record(world: World, order: Order) -> Script:
    """Change the recording of a call; the exchange's own events of recordings prove it."""
    payload = cast(Record, order.payload)
    call = world.call(order, payload.call_id)
    channel = world.first_channel(call) or world.other_channel(call, order.user_id)
    if channel is None:
        raise OrderFailed(OutcomeCode.NOT_FOUND, "the channel of the call is not known")
    recording = world.machine.recordings.get(channel.uniqueid)
    if payload.action == "start":
        if recording is not None:
            # It is recorded already; a pause ends.
            yield from _set_paused(world, recording, is_paused=False)
            return {"file": recording.file}
        if world.machine.recordings.is_full:
            raise OrderFailed(OutcomeCode.BUSY, "too many calls are being recorded")
        recording = Recording(channel.uniqueid, channel.name, _file_name(world, channel.uniqueid))
        yield from _start(world, recording)
        return {"file": recording.file}
    if payload.action == "stop":
        yield from _stop(world, recording)
        return None
    if recording is None:
        raise OrderFailed(OutcomeCode.REJECTED, "the call is not being recorded by a command")
    yield from _set_paused(world, recording, is_paused=payload.action == "pause")
    return {"file": recording.file}


def _start(world: World, recording: Recording) -> Script:
    step = Step(
        [
            Action.of(
                "MixMonitor",
                Channel=recording.channel,
                File=f"{world.settings.record_folder.rstrip('/')}/{recording.file}",
                Options=f"i({_ID_VARIABLE})",
            )
        ],
        proof=lambda message: _is_of(message, "MixMonitorStart", recording),
        # It tells the id.
        needs_responses=True,
    )
    (response,) = yield step
    world.machine.recordings.set(replace(recording, monitor_id=response.get("MixMonitorID")))
    return None


def _stop(world: World, recording: Recording | None) -> Script:
    if recording is None:
        return None
    action = Action.of("StopMixMonitor", Channel=recording.channel, MixMonitorID=recording.monitor_id or None)
    yield Step([action], proof=lambda message: _is_of(message, "MixMonitorStop", recording))
    world.machine.recordings.remove(recording.uniqueid)
    return None


def _set_paused(world: World, recording: Recording, *, is_paused: bool) -> Script:
    if recording.is_paused == is_paused:
        return None
    if not world.may_use("MixMonitorMute"):
        raise OrderFailed(OutcomeCode.UNSUPPORTED, "the exchange cannot pause recordings")
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
    world.machine.recordings.set(replace(recording, is_paused=is_paused))
    return None


def _is_of(message: AmiMessage | None, name: str, recording: Recording) -> bool:
    return message is not None and message.name == name and message.get("Uniqueid") == recording.uniqueid


def _file_name(world: World, uniqueid: str) -> str:
    """Return the name of a new file: no part of it comes from a command."""
    name = _OTHER.sub("_", f"{world.source}-{uniqueid}-{int(world.machine.time)}")
    return f"{name}.{world.settings.record_format}"
