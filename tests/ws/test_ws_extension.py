"""permessage-deflate: negotiation and decompression (RFC 7692)."""

from __future__ import annotations

import zlib

import pytest
from autobahn.exception import PayloadCorruptError, PayloadExceededError
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.ws.extension import Inflater, negotiate

PLAIN = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
NARROW = f"{PLAIN}; server_max_window_bits=12"


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", PLAIN),
        ("permessage-deflate; client_max_window_bits", PLAIN),  # Chrome
        ("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12", NARROW),  # Python's websockets
        ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", PLAIN),
        ('permessage-deflate; server_max_window_bits="15"', NARROW),
        (" permessage-deflate ;client_max_window_bits= 10 ", PLAIN),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", PLAIN),
        ("x-webkit-deflate-frame, permessage-deflate", PLAIN),
        ("permessage-deflate; of_the_future, permessage-deflate; client_max_window_bits", PLAIN),
    ],
)
def test_the_first_acceptable_offer_is_accepted(offer: str, answer: str) -> None:
    assert negotiate([offer]) == negotiate(offer.split(",")) == answer


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "x-webkit-deflate-frame",
        "permessage-bzip2",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=11",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=012",
        "permessage-deflate; client_max_window_bits=99",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; unknown",
        "permessage-deflate; =",
        "permessage-deflate;",
        'permessage-deflate; client_max_window_bits="',
    ],
)
def test_an_unacceptable_offer_is_ignored(offer: str) -> None:
    assert negotiate([offer]) is None


@given(st.lists(st.text()))
def test_any_header_value_is_handled(values: list[str]) -> None:
    assert negotiate(values) in (None, PLAIN, NARROW)


def compressed(text: bytes, flush: int = zlib.Z_SYNC_FLUSH, bits: int = 15) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, -bits)
    whole = compressor.compress(text) + compressor.flush(flush)
    return whole[:-4] if flush == zlib.Z_SYNC_FLUSH else whole


def read(data: bytes, *, cut: int = 0, maximum: int | None = 1_000_000) -> bytes:
    inflater = Inflater()
    inflater.start_decompress_message()
    text = b""
    for piece in (data[:cut], data[cut:]):
        text += inflater.decompress_message_data(piece, None if maximum is None else maximum - len(text))
    inflater.end_decompress_message()
    return text


@given(st.binary(max_size=2_000), st.integers(9, 15), st.data())
def test_a_message_may_be_split_at_any_byte(text: bytes, bits: int, data: st.DataObject) -> None:
    message = compressed(text, bits=bits)
    assert read(message, cut=data.draw(st.integers(0, len(message)))) == text
    assert read(message, maximum=None) == text


def test_the_examples_of_the_rfc() -> None:
    for example in (
        "f248cdc9c90700",  # section 7.2.3.1
        "000500faff48656c6c6f00",  # 7.2.3.3
        "f348cdc9c9070000",  # 7.2.3.4: a last block, and one after it
        "f248050000 00ffff cac9c90700".replace(" ", ""),  # 7.2.3.5: two blocks
    ):
        assert read(bytes.fromhex(example)) == b"Hello", example


def test_a_message_with_a_final_block_is_valid() -> None:
    assert read(compressed(b"text", zlib.Z_FINISH)) == b"text"


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x07garbage", compressed(b"a" * 500)[:-5]])
def test_invalid_data_is_corrupt(data: bytes) -> None:
    with pytest.raises(PayloadCorruptError):
        read(data)


def test_too_many_final_blocks_are_corrupt() -> None:
    with pytest.raises(PayloadCorruptError):
        read(compressed(b"", zlib.Z_FINISH) * 1_000)


def test_decompression_stops_at_the_limit() -> None:
    bomb = compressed(bytes(50_000_000))
    inflater = Inflater()
    inflater.start_decompress_message()
    with pytest.raises(PayloadExceededError):
        inflater.decompress_message_data(bomb, 1_000)
    assert read(compressed(bytes(1_000)), maximum=1_000) == bytes(1_000)
    with pytest.raises(PayloadExceededError):
        read(compressed(bytes(1_001)), maximum=1_000)


def test_no_state_is_held_between_messages() -> None:
    inflater = Inflater()
    for _ in range(2):
        inflater.start_decompress_message()
        assert inflater.decompress_message_data(compressed(b"x"), 10) == b"x"
        inflater.end_decompress_message()
        assert inflater._inflate is None
