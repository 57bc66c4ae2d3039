"""Patterns of the settings: none may take long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter_ws.bridge.patterns import MAX_MATCHED_LENGTH, compile_pattern, matches_beginning, matches_whole


@pytest.mark.parametrize(
    "text",
    [
        "(?:PJSIP|SIP)/(?P<user_id>[0-9]+)",
        "from-trunk-.*",
        ".*-(?:in|out)-.*",
        "a.*|b.*|c.*|d.*|e.*",
        "(?:a.*|b.*|c.*|d.*)x",
        r"\(+[(+*]+x{2,3}",
        "(?:[a-z]++-)*",
        "(?:a|ab)++",
        "(?>a+)*b",
        "(?:ab)+",
        "(?:ab){3}(?:cd{2})+",
        "(?:a+|b){1,16}",
        "a{,5}",
        "",
    ],
)
def test_usual_patterns_are_taken(text: str) -> None:
    assert compile_pattern(text).pattern == text


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+b",
        "(?:a*)*",
        "(?:[a-z]+-)*",
        "(?:a|aa)*b",
        "(?:(?:a+)b)+",
        "(?:a?a?)*b",
        "(?P<user_id>(x+x+)+y)",
        "(?:a{1,9}){20,}",
        "(?:a+){1,1000}",
        ".*.*.*.*x",
        "(.*(.*))(.*).*x",
        "(?:(?!x)a|a)*b",
    ],
)
def test_patterns_that_can_take_long_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="can take"):
        compile_pattern(text)


@pytest.mark.parametrize(
    ("text", "reason"), [("(", "not a regular"), ("(?x)a b", "flag x"), ("[0-9]+", "no group"), ("[[x]", "nested set")]
)
def test_what_is_no_pattern_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        compile_pattern(text, group="" if reason != "no group" else "user_id")


@settings(max_examples=300)
@given(st.text("ab|()*+?{2,}[]\\.:>", max_size=14))
def test_no_pattern_makes_the_check_fail(text: str) -> None:
    try:
        pattern = compile_pattern(text)
    except ValueError:
        return
    assert isinstance(pattern, re.Pattern)
    matches_whole(pattern, "ab" * 60)


def test_long_values_match_nothing() -> None:
    pattern = compile_pattern(".*")
    assert matches_whole(pattern, "x" * MAX_MATCHED_LENGTH)
    assert not matches_whole(pattern, "x" * (MAX_MATCHED_LENGTH + 1))
    assert not matches_beginning(pattern, "x" * (MAX_MATCHED_LENGTH + 1))


def test_the_whole_value_or_its_beginning() -> None:
    pattern = compile_pattern("from-trunk")
    found = [matches_whole(pattern, "from-trunk-2"), matches_beginning(pattern, "from-trunk-2")]
    assert found == [False, True]
