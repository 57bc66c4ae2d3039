"""The wallboard in a real browser, on states of a store and of a link; the clock is moved, not waited for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from browser_driver import Context, Tab
from fixture_site import fixture_site

SIZES = {"full-hd": (1920, 1080), "4k": (3840, 2160), "laptop": (1366, 768), "phone": (390, 844), "tablet": (1024, 768)}
SMALL = ("phone", "tablet")


@pytest.fixture(scope="module")
def tab(context: Context) -> Iterator[Tab]:
    with fixture_site() as url:
        tab = context.open(f"{url}/fixtures/wallboard.html")
        tab.evaluate("import('/fixtures/wallboard_states.js').then((states) => { window.states = states; })")
        yield tab
        assert (tab.errors, tab.csp_violations) == ([], [])
        assert tab.hosts() == {url.removeprefix("http://")}
        tab.close()


def show(tab: Tab, state: str, size: str = "full-hd", **settings: Any) -> None:
    tab.resize(*SIZES[size])
    tab.evaluate(f"states.show({json.dumps(state)}, {json.dumps(settings)})")


def names(tab: Tab) -> list[str]:
    shown: list[str] = tab.evaluate("[...document.querySelectorAll('.name bdi')].map((one) => one.textContent)")
    return shown


def figures(tab: Tab, row: int) -> list[str]:
    shown: list[str] = tab.evaluate(
        f"[...document.querySelectorAll('tbody')[{row}].querySelectorAll('.figure')].map((one) => one.textContent)"
    )
    return shown


def color(tab: Tab, selector: str, name: str = "color") -> str:
    shown: str = tab.evaluate(f"getComputedStyle(document.querySelector({json.dumps(selector)}))[{json.dumps(name)}]")
    return shown


@pytest.mark.parametrize("size", SIZES)
def test_no_figure_of_any_state_is_cut_off_or_too_small(tab: Tab, size: str) -> None:
    states: list[str] = tab.evaluate("Object.keys(states.STATES)")
    assert len(states) > 20
    minimum = 0 if size in SMALL else 5.95
    found = {}
    for state in states:
        show(tab, state, size)
        found[state] = tab.evaluate(f"states.faults({{minimum: {minimum}}})")
    assert {state: faults for state, faults in found.items() if faults} == {}


def test_main_figures_are_fifteen_hundredths_of_the_height(tab: Tab) -> None:
    for state in ("live", "thirty", "three", "two", "one"):
        show(tab, state)
        selector = (
            ".rows [data-main=true] .figure:not([data-none])" if state != "one" else "[data-main=true] dd > .figure"
        )
        size = "parseFloat(getComputedStyle(one).fontSize) / innerHeight * 100"
        sizes = tab.evaluate(f"[...document.querySelectorAll('{selector}')].map((one) => {size})")
        assert min(sizes) >= 14.9, (state, sizes)
        assert max(sizes) <= 25.1


def test_79_96_is_shown_as_less_than_80_and_warns(tab: Tab) -> None:
    show(tab, "live")
    row = names(tab).index("Support")
    assert figures(tab, row)[2] == "79.9"
    assert color(tab, f"tbody:nth-of-type({row + 1}) td:nth-of-type(4) .figure") == "rgb(230, 159, 0)"
    assert tab.text(f"tbody:nth-of-type({row + 1}) .mark") == "warning"


def test_the_worst_queue_is_first_and_has_a_word_and_filled_figures(tab: Tab) -> None:
    show(tab, "live")
    assert names(tab)[:2] == ["Sales and new customers", "Support"]
    assert tab.text(".word") in ("MANY +3", "MANY, LONG +2")
    assert color(tab, "tbody td[data-severity='2']", "backgroundColor") == "rgb(213, 94, 0)"
    assert color(tab, "tbody td[data-severity='2'] .figure") == "rgb(16, 21, 29)"
    assert color(tab, "tbody td[data-main=true][data-severity='0'] .figure") == "rgb(86, 180, 233)"


def test_the_longest_wait_ticks_by_itself(tab: Tab) -> None:
    show(tab, "live")
    assert figures(tab, 0)[1] == "12:34"
    tab.evaluate("states.move(27000)")
    assert figures(tab, 0)[1] == "13:01"


def test_after_five_seconds_without_a_link_the_board_is_old_and_clocks_stop(tab: Tab) -> None:
    show(tab, "live")
    tab.evaluate("states.move(4000, {state: 'offline'})")
    assert (tab.evaluate("document.querySelector('.board').dataset.age"), figures(tab, 0)[1]) == ("fresh", "12:38")
    tab.evaluate("states.move(1000)")
    assert tab.evaluate("document.querySelector('.board').dataset.age") == "old"
    assert tab.text(".notice .said") == "no live data since 14:32:12"
    assert figures(tab, 0)[1] == "12:34"
    assert "repeating-linear-gradient" in color(tab, ".rows", "backgroundImage")
    assert color(tab, "tbody td[data-severity='2']", "backgroundColor") == "rgba(0, 0, 0, 0)"
    tab.evaluate("states.move(54000)")
    assert figures(tab, 0)[0] == "12"


def test_after_sixty_seconds_without_a_link_figures_are_dashes_until_it_is_back(tab: Tab) -> None:
    show(tab, "live")
    tab.evaluate("states.move(60000, {state: 'offline'})")
    assert {text for row in range(6) for text in figures(tab, row)} == {"\N{EN DASH}"}
    assert tab.text(".notice .said") == "no live data since 14:32:12"
    tab.evaluate("states.move(1000, {state: 'live'})")
    assert figures(tab, 0)[:2] == ["12", "13:35"]
    assert tab.text(".notice .said") == ""


def test_more_than_six_queues_are_pages_with_a_number(tab: Tab) -> None:
    show(tab, "thirty")
    first = names(tab)
    assert (len(first), tab.text(".page > [aria-hidden]")) == (6, "1/5")
    seen = set(first)
    for page in ("2/5", "3/5", "4/5", "5/5"):
        tab.evaluate("dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))")
        assert tab.text(".page > [aria-hidden]") == page
        seen.update(names(tab))
    assert len(seen) == 30
    tab.evaluate("states.move(12000)")
    assert tab.text(".page > [aria-hidden]") == "1/5"


def test_alerts_turn_in_the_strip(tab: Tab) -> None:
    show(tab, "three_alerts")
    seen = set()
    for _ in range(3):
        seen.add((tab.text(".notice .count"), tab.text(".notice .of"), tab.text(".notice .said")))
        tab.evaluate("states.move(6000)")
    assert seen == {
        ("1/3", "Support", ": longest wait 1:32, limit 0:30"),
        ("2/3", "Billing", ": abandon rate 12.3 %, limit 5.0 %"),
        ("3/3", "Returns", ": longest wait 1:32, acknowledged"),
    }


def test_a_message_for_all_is_shown_for_a_minute(tab: Tab) -> None:
    show(tab, "live")
    event = {"type": "alert", "payload": {"title": "<b>Drill</b>", "message": "at 15:00", "severity": "info"}}
    tab.evaluate(f"states.tell('event', {json.dumps(event)})")
    assert tab.text(".notice .of").replace("\u2068", "").replace("\u2069", "") == "<b>Drill</b>: at 15:00"
    tab.evaluate("states.move(60000)")
    assert tab.text(".notice .of") == ""


def test_a_source_that_is_down_is_told_and_without_any_source_no_row_is_trusted(tab: Tab) -> None:
    show(tab, "source_down")
    assert tab.text(".notice .of") + tab.text(".notice .said") == "pbx1: disconnected since 14:12"
    assert tab.evaluate("document.querySelector('.board').dataset.age") == "fresh"
    show(tab, "all_sources_down")
    assert tab.evaluate("document.querySelector('.board').dataset.age") == "old"


def day(tab: Tab) -> list[str]:
    """Return what is written beside the chart."""
    shown: list[str] = tab.evaluate("[...document.querySelectorAll('.day .key')].map((one) => one.textContent)")
    return shown


DRAWN = """(() => {
    const canvas = document.querySelector('.day canvas');
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const wanted = %s;
    let found = 0;
    for (let at = 0; at < pixels.length; at += 4) {
        if (wanted.every((part, one) => pixels[at + one] === part)) found += 1;
    }
    return found;
})()"""
GOOD, OLD = [0x56, 0xB4, 0xE9], [0x8D, 0x97, 0xA4]


def test_one_queue_has_a_chart_of_the_day_that_is_old_and_gone_like_the_figures(tab: Tab) -> None:
    show(tab, "one_good")
    assert day(tab) == ["offered 335", "answered 274"]
    assert tab.evaluate(DRAWN % GOOD) > 10_000
    tab.evaluate("states.move(5000, {state: 'offline'})")
    assert tab.evaluate("document.querySelector('.day').dataset.age") == "old"
    assert (tab.evaluate(DRAWN % GOOD), day(tab)) == (0, ["offered 335", "answered 274"])
    assert tab.evaluate(DRAWN % OLD) > 10_000
    tab.evaluate("states.move(55000)")
    assert day(tab) == ["offered \N{EN DASH}", "answered \N{EN DASH}"]
    bars = "document.querySelector('.day').dataset.age"
    assert tab.evaluate(bars) == "gone"
    assert tab.evaluate(DRAWN % GOOD) == 0
    tab.evaluate("states.move(1000, {state: 'live'})")
    tab.wait_for("document.querySelector('.day').dataset.age === 'fresh'")
    assert tab.evaluate(DRAWN % GOOD) > 10_000


def test_a_chart_that_is_not_renewed_is_old_while_the_figures_are_live(tab: Tab) -> None:
    show(tab, "one_good")
    tab.evaluate("states.answer(503)")
    tab.evaluate("states.move(140000)")
    assert tab.evaluate("document.querySelector('.day').dataset.age") == "fresh"
    tab.evaluate("states.move(10000)")
    ages = "[document.querySelector('.board').dataset.age, document.querySelector('.day').dataset.age].join()"
    assert tab.evaluate(ages) == "fresh,old"
    tab.evaluate("states.answer(200)")
    tab.evaluate("states.move(10000)")
    tab.wait_for(f"{ages} === 'fresh,fresh'")


def test_without_statistics_or_by_the_settings_there_is_no_chart(tab: Tab) -> None:
    show(tab, "one_without_statistics")
    assert day(tab) == []
    show(tab, "one_good", chart=False)
    assert day(tab) == []
    show(tab, "one_without_calls")
    assert day(tab) == ["offered 0", "answered 0"]


def test_what_there_is_to_say_in_place_of_the_queues_is_said(tab: Tab) -> None:
    show(tab, "unknown_board")
    assert names(tab) == []
    assert tab.text(".empty").startswith("There is no wallboard")


def test_markup_in_names_is_text(tab: Tab) -> None:
    show(tab, "names")
    assert "<b>markup</b> & <img src=x onerror=alert(1)>" in names(tab)
    assert tab.evaluate("document.querySelectorAll('#board img, #board b').length") == 0


def test_figures_and_queues_are_those_of_the_settings(tab: Tab) -> None:
    show(
        tab,
        "live",
        figures=["waiting", "answered_today"],
        queues=["Support", "Billing"],
        rows=4,
        title="Two",
        theme="light",
    )
    assert sorted(names(tab)) == ["Billing", "Support"]
    assert tab.evaluate(
        "[...document.querySelectorAll('thead th')].map((one) => one.firstElementChild.textContent)"
    ) == ["waiting", "answered"]
    assert (tab.text(".title"), color(tab, "html", "backgroundColor")) == ("Two", "rgb(255, 255, 255)")
