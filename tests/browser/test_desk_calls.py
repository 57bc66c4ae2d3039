"""The own state and the calls of the desk in a real browser: a real gateway, and a source that carries commands out."""

from __future__ import annotations

import json

from browser_driver import Context
from desk_calls import Desk, Exchange


def test_a_shift_begins_with_the_extension(exchange: Exchange, own_context: Context) -> None:
    desk = Desk(exchange, own_context, signed_in=False)
    tab = desk.tab
    desk.wait(".shift [name=extension]")
    # The one of the token is suggested; another one is a hot desk.
    assert tab.evaluate("document.querySelector('.shift input').value") == desk.extension
    tab.type(".shift input", "2999")
    desk.click(".shift [value=available]")
    command = exchange.taken("agent.state.set")
    assert command["payload"] == {"state": "available", "extension": "2999"}
    assert tab.evaluate("document.querySelector('.shift [value=available]').ariaDisabled") == "true"
    exchange.agent(desk.user, "Ana Agent", "2999")
    exchange.done(command)
    desk.wait(".own[data-state=available] [data-value=extension]", "2999")
    desk.wait_gone(".shift")
    # The next time this machine suggests it to a user without an extension.
    assert tab.evaluate("localStorage.getItem('callcenter-ws.extension')") == '"2999"'
    desk.check()


def test_a_break_has_a_reason_and_the_keyboard_suffices(desk: Desk, exchange: Exchange) -> None:
    desk.press("2", alt=True)
    desk.wait("dialog[open] [data-reason=lunch]")
    desk.press("2")
    command = exchange.taken("agent.state.set")
    assert command["payload"] == {"state": "break", "reason": "lunch"}
    exchange.publish("agent.state.changed", user_id=desk.user, username="Ana", state="break", reason="lunch")
    exchange.done(command)
    desk.wait(".own[data-state=break] [data-value=reason]", "Lunch")
    desk.wait("[data-state=done]", "My state: On a break (Lunch)")
    # What the exchange refuses is said in plain words, and stays until it is dismissed.
    desk.press("1", alt=True)
    exchange.fail(exchange.taken("agent.state.set"), "rejected", "the phone is not registered")
    desk.wait(".actions [data-state=failed]", "The phone system refused it: the phone is not registered")
    desk.wait(".own[data-state=break]")


def test_a_call_from_the_ring_to_the_result(desk: Desk, exchange: Exchange) -> None:
    call, tab = desk.call(), desk.tab
    call.ring()
    for text in ("Zoé Dupont", "+4930123456", "sales"):
        desk.wait(call.at(), text)
    tab.wait_for(f"document.activeElement.matches({json.dumps(call.at())})")
    desk.press("a")
    command = exchange.taken("call.answer")
    assert command["payload"] == {"call_id": call.id}
    call.answer()
    exchange.done(command)
    call.wait("talking")
    # The card is another one, and has the focus.
    assert desk.focused() == call.id
    tab.type(call.at("textarea"), "wants the blue one")
    # From within a field a function key does it.
    tab.evaluate(f"document.querySelector({json.dumps(call.at('textarea'))}).focus()")
    desk.press("F8")
    command = exchange.taken("call.hold")
    call.say("call.hold", held_by=desk.user)
    exchange.done(command)
    call.wait("hold")
    desk.press("h", alt=True)
    command = exchange.taken("call.unhold")
    call.say("call.unhold", held_by=desk.user)
    exchange.done(command)
    call.wait("talking")
    desk.press("x", alt=True)
    command = exchange.taken("call.hangup")
    call.end()
    exchange.done(command)
    call.wait("wrap-up")
    # The note that was being typed goes on in the card of the ended call.
    assert tab.evaluate("document.activeElement.dataset.note") == call.id
    assert tab.evaluate("document.activeElement.value") == "wants the blue one"
    tab.click(call.at("input[value=sold]"))
    desk.press("w", alt=True)
    desk.wait_gone(call.at())
    _, log = desk.world.gateway.http("/ws/snapshot", token=desk.world.gateway.token("supervisor"))
    assert all(event["type"] != "call.disposition" for event in log["events"])
    assert tab.evaluate("JSON.stringify(sessionStorage)").count("wants the blue one") == 0


def test_a_call_that_is_missed_rings_no_longer(desk: Desk) -> None:
    call = desk.call()
    call.ring()
    call.say("call.missed", ring_seconds=8)
    desk.wait_gone(call.at())
    desk.tab.reload()
    desk.wait(".link[data-state=live]")
    desk.wait("#calls [data-value=idle]")


def test_a_rejected_call_and_no_focus_taken_from_who_types(desk: Desk, exchange: Exchange) -> None:
    desk.tab.evaluate("document.querySelector('[name=number]').focus()")
    call = desk.call()
    call.ring()
    desk.wait(".announcer", "Zoé Dupont is calling")
    assert desk.tab.evaluate("document.activeElement.name") == "number"
    # A letter is typed, Alt with it does something.
    desk.press("r")
    assert desk.tab.evaluate("document.querySelector('[name=number]').value") == "r"
    desk.press("r", alt=True)
    command = exchange.taken("call.hangup")
    assert command["payload"] == {"call_id": call.id}
    call.say("call.missed")
    exchange.done(command)
    desk.wait_gone(call.at())


def test_a_consultation_and_its_end(desk: Desk, exchange: Exchange) -> None:
    exchange.agent("bo", "Bo Free", "301")
    exchange.agent("cy", "Cy Busy", "302", state="talking")
    call = desk.call()
    call.talk()
    desk.press("c")
    desk.wait("dialog [role=option][data-free=true]", "Bo Free")
    # Free ones come first; a filter narrows the list; a typed number is dialed as it is.
    names = "[...document.querySelectorAll('[role=option] strong')].map((one) => one.textContent)"
    found = desk.tab.evaluate(names)
    assert found.index("Bo Free") < found.index("Cy Busy")
    assert "Ana Agent" not in found[: found.index("Bo Free")] or desk.extension not in str(found)
    desk.tab.type("dialog input", "cy")
    desk.tab.wait_for(f"{names}.join() === 'Cy Busy'")
    desk.tab.type("dialog input", "bo f")
    desk.tab.wait_for(f"{names}.join() === 'Bo Free'")
    desk.tab.key("Enter")
    command = exchange.taken("call.consult")
    assert command["payload"] == {"call_id": call.id, "destination": "301"}
    desk.wait(call.at("[data-consultation=asked]"), "Bo Free")
    exchange.done(command)
    desk.wait(call.at("[data-consultation=talking]"), "Bo Free")
    # It is known also after the page was loaded again.
    desk.tab.reload()
    desk.wait(call.at("[data-consultation=talking]"), "Bo Free")
    desk.press("b", alt=True)
    exchange.done(exchange.taken("call.consult.cancel"))
    desk.wait_gone(call.at("[data-consultation]"))
    call.wait("talking")


def test_enter_takes_only_a_colleague_who_was_seen_to_be_free(desk: Desk, exchange: Exchange) -> None:
    exchange.agent("fay", "Fay Keen", "311", state="talking")
    exchange.agent("gil", "Gil Keen", "312", state="break")
    call = desk.call()
    call.talk()
    desk.press("t")
    desk.tab.type("dialog input", "keen")
    desk.wait("dialog [role=status]", "Enter takes none")
    desk.tab.key("Enter")
    # Someone who becomes free now is not taken by a key that was meant for nothing.
    exchange.publish("agent.state.changed", user_id="fay", username="Fay Keen", extension="311", state="available")
    desk.wait("dialog [role=option][data-free=true]", "Fay Keen")
    assert desk.tab.evaluate("document.querySelectorAll('dialog [aria-selected=true]').length") == 0
    desk.tab.type("dialog input", "kee")
    desk.wait("dialog [aria-selected=true]", "Fay Keen")
    # It stays with the person, who is free no longer: another one has come to the first place.
    exchange.publish("agent.state.changed", user_id="fay", username="Fay Keen", extension="311", state="ringing")
    exchange.publish("agent.state.changed", user_id="gil", username="Gil Keen", extension="312", state="available")
    desk.wait("dialog [role=option]:first-child", "Gil Keen")
    assert desk.tab.evaluate("document.querySelectorAll('dialog [aria-selected=true]').length") == 0
    desk.tab.key("Enter")
    desk.press("ArrowDown")
    desk.press("ArrowDown")
    desk.wait("dialog [aria-selected=true]", "Fay Keen")
    # One that was chosen by the arrow keys stays, free or not.
    exchange.publish("agent.state.changed", user_id="gil", username="Gil Keen", extension="312", state="break")
    desk.wait("dialog [role=option]:not([aria-selected=true])", "On a break")
    desk.tab.key("Enter")
    command = exchange.taken("call.transfer")
    assert command["payload"] == {"call_id": call.id, "destination": "311"}
    exchange.fail(command, "busy")
    call.end()
    call.wait("wrap-up")


def test_a_result_that_is_too_late_says_so(desk: Desk) -> None:
    typed, empty = desk.call(), desk.call()
    for call in (typed, empty):
        call.talk()
        call.end()
        call.wait("wrap-up")
    desk.tab.type(typed.at("textarea"), "a note")
    ended = (
        "JSON.parse(sessionStorage['callcenter-ws.desk.wrap-ups']).map((one) => ({...one, ended: one.ended - 600_000}))"
    )
    desk.tab.evaluate(f"sessionStorage['callcenter-ws.desk.wrap-ups'] = JSON.stringify({ended})")
    desk.tab.reload()
    desk.wait(typed.at(".late"), "Too late")
    assert desk.tab.evaluate(f"document.querySelector({json.dumps(typed.at('[value=say]'))}).ariaDisabled") == "true"
    assert desk.tab.evaluate(f"document.querySelector({json.dumps(typed.at('textarea'))}).value") == "a note"
    # Of one that has nothing in it nothing is lost.
    desk.wait_gone(empty.at())


def test_a_call_goes_on_while_a_colleague_is_consulted_in_it(desk: Desk, exchange: Exchange) -> None:
    """A source that tells consultations in the customer's call only: a ring at the colleague, and a transfer."""
    call = desk.call()
    call.talk()
    call.say("call.hold", held_by=desk.user)
    exchange.agent("bo", "Bo Free", "1777")
    call.say("call.ringing", agent_id="bo", agent_name="Bo Free")
    call.wait("hold")
    # The list of colleagues has the consulted one, so the desk has drawn the state after the ringing.
    desk.press("t")
    desk.wait("dialog [role=option]", "Bo Free")
    desk.press("Escape")
    desk.wait(call.at("[data-command='call.hangup']", "hold"))
    call.say("call.unhold", held_by=desk.user)
    call.say("call.transferred", transfer_type="attended", destination="1777", to_agent_id="bo")
    call.wait("wrap-up")
    call.end()


def test_who_is_consulted_about_a_call_sees_it_until_it_is_over(desk: Desk, exchange: Exchange) -> None:
    def becomes(state: str, before: str) -> None:
        exchange.publish(
            "agent.state.changed", user_id=desk.user, username="Ana Agent", state=state, previous_state=before
        )

    other = {"agent_id": "bo", "agent_name": "Bo Asks"}
    call = desk.call(answered_at="2026-11-30T08:00:00Z")
    for type_ in ("call.incoming", "call.answered", "call.hold"):
        call.say(type_, **other)
    becomes("ringing", "available")
    call.say("call.ringing")
    desk.wait(call.at("[data-consultation=asker]", "ringing"), "Bo Asks")
    # The phone is answered; nothing else says so. It is no call to wrap up.
    becomes("busy", "ringing")
    desk.wait(call.at("[data-consultation=asker]", "consulted"), "Bo Asks")
    desk.tab.reload()
    desk.wait(call.at("[data-command='call.hangup']", "consulted"))
    call.say("call.unhold", **other)
    call.say("call.transferred", transfer_type="attended", destination="1", to_agent_id=desk.user, from_agent_id="bo")
    becomes("talking", "busy")
    call.wait("talking")
    call.end()
    call.wait("wrap-up")
    # One that is given up is gone with the ringing of the phone.
    second = desk.call()
    for type_ in ("call.incoming", "call.answered", "call.hold"):
        second.say(type_, **other)
    becomes("ringing", "available")
    second.say("call.ringing")
    second.wait("ringing")
    becomes("available", "ringing")
    desk.wait_gone(second.at())
    second.end()


def test_a_held_call_and_a_consultation_of_its_own(desk: Desk, exchange: Exchange) -> None:
    exchange.agent("di", "Di Colleague", "303")
    call = desk.call()
    call.talk()
    call.say("call.hold", held_by=desk.user)
    call.wait("hold")
    other = desk.call(
        caller_id=desk.extension, caller_name="Ana Agent", destination="303", direction="internal", queue_name=None
    )
    agent = {"agent_id": "di", "agent_name": "Di Colleague"}
    other.say("call.incoming", **agent)
    other.wait("dialing")
    other.say("call.answered", **agent)
    other.wait("talking")
    desk.wait(other.at("h3"), "Internal call")
    desk.wait(other.at(".who"), "Di Colleague")
    states = "[...document.querySelectorAll('#calls [data-call]')].map((one) => one.dataset.state)"
    assert desk.tab.evaluate(states) == ["talking", "hold"]
    other.say("call.ended", duration=4, **agent)
    desk.wait_gone(other.at())
    # Of a call within the house nothing is to be said.
    call.wait("hold")
    call.end()
    call.wait("wrap-up")


def test_a_transfer_to_a_queue_or_a_number(desk: Desk, exchange: Exchange) -> None:
    call = desk.call()
    call.talk()
    call.press("call.transfer")
    desk.wait("dialog [data-kind=queue]", "sales")
    assert desk.tab.evaluate("document.querySelector('dialog [data-kind=queue]').dataset.number") == "800"
    desk.tab.type("dialog input", "+49 30 (555)")
    desk.wait("dialog [data-kind=number]", "+4930555")
    desk.tab.key("Enter")
    command = exchange.taken("call.transfer")
    assert command["payload"] == {"call_id": call.id, "destination": "+4930555"}
    call.say("call.transferred", destination="+4930555", transfer_type="blind", from_agent_id=desk.user)
    exchange.done(command)
    call.wait("wrap-up")
    desk.click(call.at("[data-action=skip]"))
    desk.wait_gone(call.at())


def test_a_transfer_to_a_destination_of_the_settings(desk: Desk, exchange: Exchange) -> None:
    call = desk.call(queue_name="retail", destination="801")
    call.talk()
    call.press("call.transfer")
    # The number that the caller has dialed is not offered where the settings name one.
    desk.wait("dialog [data-kind=queue][data-number='600']", "Second floor")
    desk.wait("dialog [data-kind=queue][data-number='600'] .state", "waiting")
    assert desk.tab.evaluate("document.querySelectorAll('dialog [data-number=\"801\"]').length") == 0
    desk.tab.type("dialog input", "retail")
    desk.wait("dialog [aria-selected=false]", "Second floor")
    desk.tab.type("dialog input", "night")
    desk.wait("dialog [data-kind=destination][aria-selected=true]", "Night desk")
    desk.tab.key("Enter")
    command = exchange.taken("call.transfer")
    assert command["payload"] == {"call_id": call.id, "destination": "0"}
    exchange.done(command)
    call.say("call.transferred", destination="0", transfer_type="blind", from_agent_id=desk.user)
    call.wait("wrap-up")
    desk.click(call.at("[data-action=skip]"))
    desk.wait_gone(call.at())


def test_dialing_and_recording(desk: Desk, exchange: Exchange) -> None:
    desk.tab.type("[name=number]", "030 / 777")
    desk.tab.key("Enter")
    command = exchange.taken("call.originate")
    assert command["payload"] == {"destination": "030777"}
    call = desk.call(destination="030777", direction="outbound", queue_name=None)
    call.say("call.incoming")
    call.wait("dialing")
    exchange.done(command)
    call.say("call.answered")
    call.wait("talking")
    call.press("call.record")
    command = exchange.taken("call.record")
    assert command["payload"] == {"call_id": call.id, "action": "start"}
    exchange.done(command)
    desk.wait(call.at("[data-command='call.record']"), "Stop recording")
    call.end()
    call.wait("wrap-up")


def test_the_list_of_shortcuts_says_what_is_missing(desk: Desk) -> None:
    desk.press("?")
    desk.wait("dialog[open]", "Answer the call that rings")
    desk.tab.key("Escape")
    desk.wait_gone("dialog")


def test_signing_out_offers_to_go_offline_first(desk: Desk, exchange: Exchange) -> None:
    desk.click("[data-action=sign-out]")
    desk.wait("dialog[open]", "You are still: Available")
    desk.click("dialog [data-action=offline]")
    command = exchange.taken("agent.state.set")
    assert command["payload"] == {"state": "offline"}
    exchange.fail(command, "busy")
    desk.wait("dialog[open] [role=alert]")
    desk.tab.key("Escape")
    desk.wait_gone("dialog")
    assert desk.tab.evaluate("location.pathname") == "/desk"
