"""Suggestions for misspelled names."""

from __future__ import annotations

import pytest

from callcenter_ws.runtime.suggestions import MAX_WORD_LENGTH, MAX_WORDS, closest_name, did_you_mean

NAMES = ("caller_id", "caller_name", "destination")


@pytest.mark.parametrize("word", ["caller_id", "callerid", "CallerId", "caller-id", "caller.id", "caler_id"])
def test_case_and_separators_do_not_matter(word: str) -> None:
    assert closest_name(word, NAMES) == "caller_id"
    assert did_you_mean(word, NAMES) == "; did you mean caller_id?"


@pytest.mark.parametrize("word", ["", "x", "title", "caller_id" * 20])
def test_other_words_are_not_close(word: str) -> None:
    assert closest_name(word, NAMES) is None
    assert did_you_mean(word, NAMES) == ""


def test_the_comparison_is_bounded() -> None:
    long = "a" * (MAX_WORD_LENGTH + 1)
    assert closest_name(long, [long]) is None
    assert closest_name("aa", [long]) is None
    others = [f"name{number}" for number in range(MAX_WORDS)]
    assert closest_name("zz", [*others, "zz"]) is None
    assert closest_name("zz", [*others[1:], "zz"]) == "zz"
