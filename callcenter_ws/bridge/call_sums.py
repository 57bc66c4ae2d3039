"""The sums of a call: the seconds for which it waited, talked and was on hold.

* ``wait_seconds``: the time in queues; of a call that was in no queue, the time from the first ring to the first
  answer, or to the end.
* ``talk_seconds``: the time in which the call was in an answered conversation and no participant held it.
* ``hold_seconds``: the time in which a participant of the conversation held it.
"""

from __future__ import annotations

from callcenter_ws.bridge.call import Call, Stay


def bring_up_to_date(call: Call, time: float) -> None:
    """Add what has passed since the last change to the sums, and see what passes from now on."""
    passed = max(0.0, time - call.talked_until)
    if call.mode == "talk":
        call.talk_seconds += passed
    elif call.mode == "hold":
        call.hold_seconds += passed
    call.talked_until = max(time, call.talked_until)
    if not call.is_talking():
        call.mode = ""
    else:
        call.mode = "hold" if call.holds() else "talk"


def close_stay(call: Call, time: float) -> float:
    """End the stay in a queue; return how long it was."""
    stay, call.stay = call.stay, None
    waited = max(0.0, time - stay.since) if stay is not None else 0.0
    call.wait_seconds += waited
    return waited


def start_stay(call: Call, stay: Stay) -> None:
    """Begin a stay in a queue."""
    call.queue = stay.queue
    call.stay = stay


def close_ringing(call: Call, time: float) -> None:
    """Count the time from the first ring as waiting, if the call was in no queue and was not answered before."""
    if not call.queue and call.answered is None and call.first_ring is not None:
        call.wait_seconds = max(0.0, time - call.first_ring)


def shift(call: Call, seconds: float) -> None:
    """Move the times of a call, because the exchange's clock was set."""
    call.started += seconds
    call.last_sign += seconds
    call.talked_until += seconds
    if call.stay is not None:
        call.stay.since += seconds
    if call.first_ring is not None:
        call.first_ring += seconds
    for leg in call.legs.values():
        leg.since += seconds
