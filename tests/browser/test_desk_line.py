"""The desk while the line is cut in each step of a call, the gateway is started again, and the exchange is killed."""

from __future__ import annotations

import json
import signal

from desk_calls import Call, Desk, Exchange


def cut(desk: Desk) -> None:
    """Cut the line; the page must say so, and mark what it shows as old."""
    desk.world.line.refuse()
    desk.wait("#desk[data-old] .link[data-state=offline]", "no connection since")


def mend(desk: Desk) -> None:
    """Mend the line, and have the page try it now."""
    desk.world.line.mend()
    desk.tab.evaluate("document.querySelector('[data-action=try]')?.click()")
    desk.wait(".link[data-state=live]")
    desk.wait_gone("#desk[data-old]")


def test_while_it_rings(desk: Desk) -> None:
    answered, lost = desk.call(), desk.call()
    answered.ring()
    lost.ring()
    cut(desk)
    # What is shown stays, and the user can go on looking at it.
    assert desk.tab.evaluate(f"document.querySelectorAll({json.dumps(answered.at())}).length") == 1
    answered.answer()
    lost.say("call.abandoned", wait_seconds=9)
    mend(desk)
    answered.wait("talking")
    desk.wait_gone(lost.at())


def test_while_the_answer_is_under_way(desk: Desk, exchange: Exchange) -> None:
    call = desk.call()
    call.ring()
    call.press("call.answer")
    command = exchange.taken("call.answer")
    # The exchange may have it before the page knows that the gateway has.
    desk.wait(".actions [data-state=under_way]", "Answering")
    cut(desk)
    call.answer()
    exchange.done(command)
    # The page does not know it yet.
    desk.wait("#desk[data-old] .actions [data-state=under_way]", "Answering")
    mend(desk)
    call.wait("talking")
    desk.wait_gone(".actions [data-state=under_way]")


def test_while_a_command_cannot_be_sent(desk: Desk, exchange: Exchange) -> None:
    call = desk.call()
    call.talk()
    cut(desk)
    call.press("call.hold")
    desk.wait(".actions [data-state=asked]", "Holding")
    mend(desk)
    command = exchange.taken("call.hold")
    call.say("call.hold", held_by=desk.user)
    exchange.done(command)
    call.wait("hold")


def test_while_talking_and_what_is_typed_is_kept(desk: Desk) -> None:
    call = desk.call()
    call.talk()
    desk.tab.type(call.at("textarea"), "before")
    cut(desk)
    desk.tab.type(call.at("textarea"), "before and after")
    call.end()
    mend(desk)
    call.wait("wrap-up")
    assert desk.tab.evaluate(f"document.querySelector({json.dumps(call.at('textarea'))}).value") == "before and after"


def test_while_a_transfer_is_asked_for(desk: Desk, exchange: Exchange) -> None:
    call = desk.call()
    call.talk()
    call.press("call.transfer")
    desk.tab.type("dialog input", "4711")
    desk.tab.key("Enter")
    command = exchange.taken("call.transfer")
    cut(desk)
    exchange.fail(command, "rejected", "there is no such extension")
    # Also a page that is loaded again learns what became of it.
    desk.world.line.mend()
    desk.tab.reload()
    desk.wait(".link[data-state=live]")
    desk.wait(".actions [data-state=failed]", "there is no such extension")
    call.wait("talking")
    desk.wait(call.at(".outcome[data-state=failed]"))


def test_while_the_result_is_typed(desk: Desk) -> None:
    call = wrapped_up(desk)
    cut(desk)
    desk.tab.type(call.at("textarea"), "typed without a line")
    desk.tab.click(call.at("input[value=later]"))
    desk.click(call.at("[value=say]"))
    desk.wait(".actions [data-state=asked]")
    mend(desk)
    desk.wait_gone(call.at())


def test_a_result_survives_that_the_page_is_loaded_again(desk: Desk) -> None:
    call = wrapped_up(desk)
    desk.tab.type(call.at("textarea"), "a note")
    desk.tab.click(call.at("input[value=later]"))
    desk.tab.reload()
    call.wait("wrap-up")
    card = f"document.querySelector({json.dumps(call.at())})"
    assert desk.tab.evaluate(f"{card}.querySelector('textarea').value") == "a note"
    assert desk.tab.evaluate(f"{card}.querySelector(':checked').value") == "later"
    kept = desk.tab.evaluate("JSON.stringify([sessionStorage, localStorage, document.cookie])")
    assert desk.world.gateway.token("agent", sub=desk.user).split(".")[0] not in kept


def test_while_the_gateway_is_started_again(desk: Desk, exchange: Exchange) -> None:
    call = desk.call()
    call.talk()
    desk.tab.type(call.at("textarea"), "kept")
    desk.world.gateway.end(signal.SIGKILL)
    exchange.close()
    desk.wait("#desk[data-old] .link[data-state=offline]")
    desk.world.gateway.start()
    exchange.connect()
    mend(desk)
    call.wait("talking")
    assert desk.tab.evaluate(f"document.querySelector({json.dumps(call.at('textarea'))}).value") == "kept"
    call.press("call.hangup")
    command = exchange.taken("call.hangup")
    call.end()
    exchange.done(command)
    call.wait("wrap-up")


def test_while_the_exchange_is_killed(desk: Desk, exchange: Exchange) -> None:
    call = desk.call()
    call.talk()
    call.press("call.hold")
    exchange.taken("call.hold")
    exchange.close()
    # Whether it was done no one knows: the page says so, and offers nothing that is not carried out.
    desk.wait(call.at(".outcome[data-state=unknown]"), "Not known, look at the call")
    desk.wait_gone(call.at("[data-command]"))
    desk.wait_gone(".own .states")
    desk.wait("#desk[data-down] #down p", "has not been connected since")
    desk.press("?")
    desk.wait("dialog .missing li", "Hanging up")
    desk.tab.key("Escape")
    exchange.connect()
    desk.wait(call.at("[data-command='call.hangup']"))
    desk.wait(".own .states")
    desk.wait_gone("#down p")
    desk.wait_gone("#desk[data-down]")
    desk.click(".actions [data-state=unknown] [data-action=dismiss]")
    desk.wait_gone(call.at(".outcome"))


def wrapped_up(desk: Desk) -> Call:
    """Return a call that has ended."""
    call = desk.call()
    call.talk()
    call.end()
    call.wait("wrap-up")
    return call
