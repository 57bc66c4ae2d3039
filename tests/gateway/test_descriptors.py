"""How the file descriptors of a process are divided."""

from __future__ import annotations

import pytest

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.gateway.descriptors import divide_descriptors


@pytest.mark.parametrize("total", [120, 1_024, 4_096, 65_536, 1_048_576])
def test_some_are_left_for_daemons_and_the_store(total: int) -> None:
    share = divide_descriptors(Limits(), total)
    assert share.websockets >= total // 2
    assert total - share.websockets - share.unauthenticated - share.http >= min(1_128, total // 8)


def test_a_limit_that_is_set_is_used() -> None:
    assert divide_descriptors(Limits(connections=5_000), 1_024).websockets == 5_000


def test_those_of_this_process_are_the_default() -> None:
    assert 0 < divide_descriptors(Limits()).websockets < divide_descriptors(Limits()).total
