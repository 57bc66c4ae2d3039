"""The supervisor's page in a real browser: its sections, commands and their outcomes, and a line that is cut."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from answering_source import AnsweringSource
from browser_driver import Browser, Context, Tab
from desk_world import wait_for_text
from supervisor_world import KEYS, LIVE, SupervisorWorld, go, point, press

TITLE = "document.activeElement.id"
CELLS = "[...document.querySelectorAll('%s')].map((one) => one.innerText.trim())"
ENTRY = "document.querySelector('.actions li')?.dataset.state"


@pytest.fixture(scope="module", autouse=True)
def source_of_commands(supervisor_world: SupervisorWorld) -> None:
    supervisor_world.start_source()


@pytest.fixture
def world(supervisor_world: SupervisorWorld) -> SupervisorWorld:
    return supervisor_world


@pytest.fixture
def source(world: SupervisorWorld) -> AnsweringSource:
    assert world.source is not None
    return world.source


@pytest.fixture
def context(browser: Browser, world: SupervisorWorld) -> Iterator[Context]:
    made = browser.context()
    yield made
    world.line.mend()
    made.close()


def check(tab: Tab) -> None:
    assert tab.csp_violations == []
    assert [error for error in tab.errors if "net::ERR_" not in error] == []


def row(user: str) -> str:
    return f".agents tr[data-key={user}]"


def test_a_queue_shows_its_waiting_calls_and_members(world: SupervisorWorld, context: Context) -> None:
    tab = world.show(context)
    tab.wait_for(f"{KEYS}.includes('sales')")
    world.wait_in("sales", "w1", "555-1")
    world.wait_in("sales", "w2", "555-2")
    tab.wait_for("document.querySelector('.queues tr[data-key=sales] td.number').innerText.trim() === '2'")
    tab.click(".queues tr[data-key=sales] a")
    tab.wait_for("location.hash === '#queues/sales' && document.querySelectorAll('.detail .inner').length === 3")
    assert tab.evaluate(TITLE) == "detail-title"
    positions = tab.evaluate(CELLS % "[data-part=waiting] tbody tr > :nth-child(-n+2)")
    assert [text.replace("\u2068", "").replace("\u2069", "") for text in positions[:4]] == [
        *("1", "Caller 555-1 555-1"),
        *("2", "Caller 555-2 555-2"),
    ]
    members = "[...document.querySelectorAll('.detail .inner')].at(-1).innerText"
    assert all(words in tab.evaluate(members) for words in ("Ada", "talking", "Eve", "available"))
    # A call that rings still waits, and says where it rings.
    world.publish("call.ringing", {"unique_id": "w1", "queue_name": "sales", "agent_id": "eve", "agent_name": "Eve"})
    wait_for_text(tab, ".detail tr[data-key=w1]", "rings at")
    # The focus goes back to the row.
    tab.key("Escape")
    tab.wait_for("location.hash === '#queues' && !document.querySelector('.detail')")
    assert tab.evaluate("document.activeElement.closest('tr').dataset.key") == "sales"
    for call in ("w1", "w2"):
        world.end(call)
    check(tab)


def test_sections_are_reached_by_the_address_the_keyboard_and_links(world: SupervisorWorld, context: Context) -> None:
    tab = world.show(context, "#sources")
    tab.wait_for("document.querySelector('main > section')?.id === 'sources'")
    for key, section in (("2", "agents"), ("3", "chats"), ("7", "live"), ("1", "queues")):
        press(tab, key)
        tab.wait_for(f"document.querySelector('main > section').id === '{section}' && location.hash === '#{section}'")
        assert tab.evaluate(TITLE) == "section-title"
        assert tab.evaluate("document.querySelectorAll('.sections [aria-current=page]').length") == 1
    tab.click(".sections a[href='#today']")
    tab.wait_for("document.querySelector('main > section').id === 'today'")
    tab.go_back()
    tab.wait_for("document.querySelector('main > section').id === 'queues'")
    # Sorting is told to screen readers.
    tab.click("[data-sort=name]")
    tab.wait_for(f"{KEYS}.join() === 'sales,support'")
    tab.wait_for("document.querySelector('[data-sort=name]').closest('th').ariaSort === 'ascending'")
    tab.click("[data-sort=name]")
    tab.wait_for(f"{KEYS}.join() === 'support,sales'")
    assert tab.evaluate("document.querySelector('[data-sort=name]').closest('th').ariaSort") == "descending"
    check(tab)


def test_agents_are_filtered_and_those_over_their_limit_are_marked(world: SupervisorWorld, context: Context) -> None:
    tab = world.show(context, "#agents")
    tab.wait_for(f"{KEYS}.length === 3")
    # The longest in its state is first.
    assert tab.evaluate(KEYS)[0] == "bob"
    tab.click(".chip[data-state=talking]")
    tab.wait_for(f"{KEYS}.join() === 'ada'")
    tab.click(".chip[data-state=all]")
    tab.type("[data-filter=text]", "EVE")
    tab.wait_for(f"{KEYS}.join() === 'eve'")
    tab.type("[data-filter=text]", " ")
    tab.evaluate("document.querySelector('[data-filter=queue]').focus()")
    tab.evaluate(
        "(({ target }) => { target.value = 'support'; target.dispatchEvent(new Event('change')); })"
        "({ target: document.querySelector('#agents [data-filter=queue]') })"
    )
    tab.wait_for(f"{KEYS}.join() === 'bob'")
    # A limit that is remembered.
    tab.click("[data-action=limits]")
    tab.type("dialog [name=break]", "x")
    tab.click("dialog [data-action=save]")
    tab.wait_for("document.querySelector('dialog .problem')")
    tab.type("dialog [name=break]", "0:01")
    tab.click("dialog [data-action=save]")
    tab.wait_for(f"document.querySelector('{row('bob')} .tag.over') && !document.querySelector('dialog')")
    tab.wait_for("document.querySelector('.sections a[href=\"#agents\"] .badge')?.innerText.includes('1')")
    tab.reload()
    tab.wait_for(f"document.querySelector('{row('bob')} .tag.over')")
    tab.click("[data-filter=over]")
    tab.wait_for(f"{KEYS}.join() === 'bob'")
    tab.evaluate("localStorage.clear()")
    check(tab)


def test_an_agents_state_is_set_by_the_keyboard_and_its_outcome_is_shown(
    world: SupervisorWorld, source: AnsweringSource, context: Context
) -> None:
    tab = world.show(context, "#agents")
    button = f"{row('eve')} [data-command='agent.state.set']"
    tab.wait_for(f'document.querySelector("{button}")')
    tab.evaluate(f'document.querySelector("{button}").focus()')
    tab.key("Enter")
    tab.wait_for("document.querySelector('dialog[open]')")
    # The state that is proposed has the focus.
    assert tab.evaluate("document.activeElement.value") == "break"
    tab.evaluate("document.querySelector('dialog [name=reason]').value = 'lunch'")
    tab.evaluate("document.querySelector('dialog [name=reason]').dispatchEvent(new Event('change'))")
    tab.key("Enter")
    taken = source.taken()
    assert (taken["name"], taken["payload"]) == (
        "agent.state.set",
        {"user_id": "eve", "state": "break", "reason": "lunch"},
    )
    # The source may have the command before the page has closed the dialog.
    tab.wait_for("document.querySelector('dialog') === null")
    tab.wait_for("document.activeElement.dataset.command === 'agent.state.set'")
    tab.wait_for(f"['asked', 'under_way'].includes({ENTRY})")
    assert tab.evaluate(f'document.querySelector("{button}").ariaDisabled') == "true"
    world.state("eve", "Eve", "break", reason="lunch")
    source.answer(taken["command_id"])
    tab.wait_for(f"{ENTRY} === 'done'")
    wait_for_text(tab, row("eve") + " td.state", "lunch")
    # A failure says why in plain words, until it is dismissed.
    tab.click(button)
    tab.click("dialog [value=available]")
    tab.click("dialog [data-action=set]")
    source.answer(source.taken()["command_id"], "rejected")
    tab.wait_for(f"{ENTRY} === 'failed'")
    wait_for_text(tab, ".actions .why", "The phone system refused it")
    tab.click(".actions [data-action=dismiss]")
    tab.wait_for("!document.querySelector('.actions li')")
    world.state("eve", "Eve", "available")
    check(tab)


def test_a_supervisor_listens_and_ends_a_call_after_a_question(
    world: SupervisorWorld, source: AnsweringSource, context: Context
) -> None:
    tab = world.show(context, "#agents/ada")
    listen = ".detail [data-command='call.monitor']"
    tab.wait_for(f'document.querySelector("{listen}")')
    tab.click(listen)
    taken = source.taken()
    assert (taken["name"], taken["payload"]) == ("call.monitor", {"call_id": "c1", "mode": "listen"})
    source.answer(taken["command_id"], "outcome_unknown")
    tab.wait_for(f"{ENTRY} === 'unknown'")
    wait_for_text(tab, ".actions .why", "Not known, look at the call")
    hangup = ".detail [data-command='call.hangup']"
    tab.click(hangup)
    # What had the focus when the dialog opens does not end the call.
    tab.wait_for("document.activeElement.dataset.action === 'keep'")
    tab.key("Escape")
    tab.wait_for("!document.querySelector('dialog')")
    tab.click(hangup)
    tab.click("dialog [data-action=hangup]")
    taken = source.taken()
    assert (taken["name"], taken["payload"]) == ("call.hangup", {"call_id": "c1"})
    world.end("c1")
    source.answer(taken["command_id"])
    tab.wait_for(f'!document.querySelector("{hangup}")')
    tab.wait_for("[...document.querySelectorAll('.actions li')].at(-1).dataset.state === 'done'")
    world.talk("c2", "ada", "Ada")
    check(tab)


def test_an_outcome_comes_over_a_cut_line_and_a_reload(
    world: SupervisorWorld, source: AnsweringSource, context: Context
) -> None:
    tab = world.show(context, "#agents")
    button = f"{row('bob')} [data-command='agent.state.set']"
    tab.wait_for(f'document.querySelector("{button}")')

    def ask() -> dict[str, Any]:
        tab.click(button)
        tab.wait_for("document.querySelector('dialog [value=available]')")
        tab.click("dialog [value=available]")
        tab.click("dialog [data-action=set]")
        return source.taken()

    taken = ask()
    world.line.cut()
    tab.wait_for("document.querySelector('.link').dataset.state === 'offline'")
    source.answer(taken["command_id"])
    world.line.mend()
    tab.wait_for(f"{LIVE} && {ENTRY} === 'done'")
    tab.wait_for("!document.querySelector('.actions li')")
    taken = ask()
    tab.reload()
    tab.wait_for(f"{LIVE} && ['asked', 'under_way'].includes({ENTRY})")
    source.answer(taken["command_id"])
    tab.wait_for(f"{ENTRY} === 'done'")
    check(tab)


def test_no_row_moves_under_the_pointer(world: SupervisorWorld, context: Context) -> None:
    tab = world.show(context, "#agents")
    tab.wait_for(f"{KEYS}.length === 3")
    before = tab.evaluate(KEYS)
    point(tab, row(before[0]))
    tab.wait_for("document.querySelector('.held')")
    names = {"ada": "Ada", "bob": "Bob", "eve": "Eve"}
    world.state(before[0], names[before[0]], "away")
    wait_for_text(tab, row(before[0]) + " td.state", "away")
    assert tab.evaluate(KEYS) == before
    # It has left the state, and so the filter, and stays where it is as long as the pointer does.
    point(tab, None)
    tab.wait_for(f"{KEYS}.at(-1) === '{before[0]}'")
    tab.click(".chip[data-state=away]")
    tab.wait_for(f"{KEYS}.join() === '{before[0]}'")
    point(tab, row(before[0]))
    world.state(before[0], names[before[0]], "available")
    tab.wait_for(f"document.querySelector('{row(before[0])}[data-gone]')")
    point(tab, None)
    tab.wait_for(f"{KEYS}.length === 0")
    world.state("bob", "Bob", "break", reason="lunch")
    check(tab)


def test_the_arrow_keys_go_from_row_to_row_and_keep_the_focus(world: SupervisorWorld, context: Context) -> None:
    tab = world.show(context, "#agents")
    tab.wait_for(f"{KEYS}.length === 3")
    keys = tab.evaluate(KEYS)
    tab.evaluate(f"document.querySelector('{row(keys[0])} a').focus()")
    focused = "document.activeElement.closest('tr')?.dataset.key"
    press(tab, "ArrowDown")
    tab.wait_for(f"{focused} === '{keys[1]}'")
    press(tab, "End")
    tab.wait_for(f"{focused} === '{keys[2]}'")
    press(tab, "Home")
    tab.wait_for(f"{focused} === '{keys[0]}'")
    # Drawing again, once a second at least, leaves the focus where it is.
    seen = "Number(document.querySelector('.agents').dataset.test ?? 0)"
    observed = f"document.querySelector('{row(keys[0])} time')"
    noted = "new MutationObserver(() => (document.querySelector('.agents').dataset.test = 1))"
    tab.evaluate(f"{noted}.observe({observed}, {{ childList: true, characterData: true, subtree: true }})")
    tab.wait_for(f"{seen} === 1")
    assert tab.evaluate(focused) == keys[0]
    check(tab)


def test_an_alert_is_acknowledged_with_a_note_that_a_cut_line_does_not_lose(
    world: SupervisorWorld, context: Context
) -> None:
    tab = world.show(context)
    for call in ("a1", "a2", "a3"):
        world.wait_in("sales", call, f"555-{call}")
    # At each section there is a strip, and the number of alerts.
    tab.wait_for("document.querySelector('.strip')?.innerText.includes('sales: calls wait')")
    tab.click(".strip a")
    tab.wait_for("document.querySelector('.ack [name=note]')")
    tab.type(".ack [name=note]", "two are <b>ill</b>")
    world.line.refuse()
    world.line.cut()
    tab.wait_for("document.querySelector('.link').dataset.state === 'offline'")
    assert tab.evaluate("document.querySelector('.ack [name=note]').value") == "two are <b>ill</b>"
    tab.click(".ack button")
    wait_for_text(tab, ".cards [role=status]", "Waits for the connection")
    world.line.mend()
    tab.click(".link [data-action=try]")
    tab.wait_for("document.querySelector('.cards .acknowledged q')?.innerText === 'two are <b>ill</b>'")
    assert "sue" in tab.text(".cards .acknowledged").lower()
    tab.wait_for("!document.querySelector('.sections a[href=\"#alerts\"] .badge')")
    for call in ("a1", "a2", "a3"):
        world.end(call)
    tab.wait_for("document.querySelector('.cleared') && !document.querySelector('.cards')")
    check(tab)


def test_today_as_chart_table_and_csv(world: SupervisorWorld, context: Context) -> None:
    evil = '=HYPERLINK("x")'
    world.wait_in(evil, "t1", "555-9")
    world.publish("call.abandoned", {"unique_id": "t1", "queue_name": evil, "caller_id": "555-9", "wait_seconds": 3})
    world.end("t1")
    tab = world.show(context, "#today")
    tab.evaluate(
        "window.saved = []; URL.createObjectURL = (blob) => (blob.text().then((text) => saved.push(text)), 'blob:x')"
    )
    tab.evaluate("HTMLAnchorElement.prototype.click = function () { window.file = this.download; }")
    tab.wait_for("document.querySelectorAll('table.day').length === 2 && document.querySelector('.plot canvas')")
    total = tab.evaluate(CELLS % "table.day tfoot td")
    assert int(total[0]) >= 1
    # The figures of a queue: its name is text in the file, whatever it begins with.
    names = "[...document.querySelectorAll('table.day')].at(-1).innerText"
    tab.wait_for(f"{names}.includes({json.dumps(evil)})")
    tab.click("[data-action=save-day]")
    text = tab.wait_for("saved[0]")
    assert "'=HYPERLINK" in text and "\nqueues,sales," in text and "\nagents,ada," in text
    assert tab.evaluate("file").startswith("acme-all-20")
    tab.evaluate(
        "(({ target }) => { target.value = 'sales'; target.dispatchEvent(new Event('change')); })"
        "({ target: document.querySelector('#today [data-filter=queue]') })"
    )
    tab.wait_for("document.querySelectorAll('table.day').length === 1")
    tab.click("[data-action=save-intervals]")
    text = tab.wait_for("saved[1]")
    assert "queues,sales," in text and "HYPERLINK" not in text
    assert tab.evaluate("file").endswith("-30.csv")
    check(tab)


def test_the_search_finds_a_call_of_today_with_its_path(world: SupervisorWorld, context: Context) -> None:
    world.talk("s1", "ada", "Ada")
    world.publish("call.disposition", {"call_id": "s1", "code": "sold", "label": "Sold", "note": "<i>at once</i>"})
    world.end("s1")
    dialed = {"unique_id": "o1", "caller_id": "10eve", "destination": "+49", "direction": "outbound"}
    world.publish("call.incoming", dialed)
    world.publish("call.answered", {"unique_id": "o1", "agent_id": "eve"})
    world.end("o1")
    tab = world.show(context, "#search")
    # Of a call that goes out it is said whom it is to, not the extension that has dialed.
    wait_for_text(tab, ".found [data-key=o1] a", "to +49")
    tab.type("[data-filter=search]", "555-s1")
    tab.wait_for("[...document.querySelectorAll('.found tbody tr')].map((one) => one.dataset.key).join() === 's1'")
    tab.click(".found tbody a")
    tab.wait_for("document.querySelectorAll('.detail .path li').length >= 4")
    steps = tab.evaluate("[...document.querySelectorAll('ol.path li')].map((one) => one.dataset.step)")
    assert steps == ["came", "queue", "answered", "ended"]
    wait_for_text(tab, ".detail", "Sold: <i>at once</i>")
    # By the address alone, and the agents of this name.
    tab.navigate(f"http://127.0.0.1:{world.line.port}/supervisor?again#search/s1")
    wait_for_text(tab, ".detail", "answered by")
    tab.type("[data-filter=search]", "ada")
    tab.wait_for("document.querySelector('.found-agents a')?.getAttribute('href') === '#agents/ada'")
    go(tab, "#search?agent=bob")
    tab.wait_for("document.querySelector('[data-action=any-agent]') && !document.querySelector('.found')")
    check(tab)


def test_the_stream_is_that_of_the_live_view(world: SupervisorWorld, context: Context) -> None:
    tab = world.show(context, "#live")
    tab.wait_for("document.querySelector('[data-filter=family]')")
    world.publish("alert", {"title": "<b>now</b>", "message": "a word", "severity": "info"})
    wait_for_text(tab, ".lines .text", "<b>now</b>: a word")
    tab.type("#live [data-filter=search]", "no such words")
    tab.wait_for("!document.querySelector('.lines [data-kind=event]')")
    check(tab)


def test_a_supervisor_of_some_queues_sees_these_and_the_page_says_so(world: SupervisorWorld, context: Context) -> None:
    tab = world.show(context, queues=["support"])
    tab.wait_for(f"{KEYS}.join() === 'support'")
    wait_for_text(tab, "[data-note=claim]", "support")
    go(tab, "#agents")
    tab.wait_for("document.querySelector('#agents')")
    assert tab.evaluate("document.querySelector('.queues tr[data-key=sales]')") is None
    check(tab)
    agent = world.show(context, role="agent")
    wait_for_text(agent, "main .empty", "This page is for supervisors.")
    assert agent.evaluate("document.querySelector('.sections, table')") is None


def test_a_source_that_is_down_takes_its_buttons_and_marks_what_may_be_old(
    world: SupervisorWorld, source: AnsweringSource, context: Context
) -> None:
    tab = world.show(context, "#agents")
    tab.wait_for("document.querySelector('[data-command]')")
    source.close()
    wait_for_text(tab, "[data-note=source]", "has been down since")
    tab.wait_for(f"!document.querySelector('[data-command]') && document.querySelector('{row('bob')} .tag.old')")
    wait_for_text(tab, "[data-note=commands]", "No source is connected")
    world.state("eve", "Eve", "available")
    tab.wait_for(f"!document.querySelector('{row('eve')} .tag.old')")
    go(tab, "#sources")
    wait_for_text(tab, ".sources tr[data-key=pbx1]", "DOWN")
    world.start_source()
    wait_for_text(tab, ".sources tr[data-key=pbx1]", "3 commands")
    go(tab, "#agents")
    tab.wait_for("document.querySelector('[data-command]') && !document.querySelector('.tag.old, [data-note=source]')")
    check(tab)


def test_a_cut_line_marks_what_is_shown_as_old_and_all_is_right_after_it(
    world: SupervisorWorld, context: Context
) -> None:
    tab = world.show(context, "#agents")
    tab.wait_for(f"{KEYS}.length === 3")
    tab.type("[data-filter=text]", "e")
    world.line.refuse()
    world.line.cut()
    tab.wait_for("document.querySelector('main[data-old]') && document.querySelector('[data-note=old]')")
    standing = tab.evaluate(f"document.querySelector('{row('eve')} time').textContent")
    world.state("eve", "Eve", "away")
    tab.wait_for("/next try in/.test(document.querySelector('.link').innerText)")
    assert tab.evaluate(f"document.querySelector('{row('eve')} time').textContent") == standing
    world.line.mend()
    tab.wait_for(f"{LIVE} && !document.querySelector('main[data-old]')")
    wait_for_text(tab, row("eve") + " td.state", "away")
    # What was typed is still there.
    assert tab.evaluate("document.querySelector('#agents [data-filter=text]').value") == "e"
    world.gateway.end(signal.SIGKILL)
    tab.wait_for("document.querySelector('.link').dataset.state === 'offline'")
    world.gateway.start()
    tab.click(".link [data-action=try]")
    tab.wait_for(LIVE)
    world.state("eve", "Eve", "break", reason="lunch")
    wait_for_text(tab, row("eve") + " td.state", "on a break")
    check(tab)
