"""Records of sources as Redis has them: what its scripts are given and answer (``redis/lua``)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import SourceRecord
from callcenter_ws.redis.connection import Reply
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.sources.claim import MAX_SOURCES, MAX_TENANTS, Claim
from callcenter_ws.sources.table import Key, name_is_taken, stale_generation

LISTED_FIELDS = ("subject", "instance", "generation", "lease", "claimed", "facts", "link")


class Facts(msgspec.Struct):
    """What Redis keeps of a source as it is."""

    kind: str
    version: str
    tenants: tuple[str, ...]
    capabilities: tuple[str, ...]


decode_facts = msgspec.json.Decoder(Facts).decode
decode_text = msgspec.json.Decoder(str).decode
decode_texts = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_key = msgspec.json.Decoder(tuple[str, str]).decode


def left_tenants(before: Facts, record: SourceRecord) -> list[str]:
    """Return the tenants that a source named before, does not name now, and in which it has its name."""
    claimed = set(record.claimed).difference(record.tenants)
    return [tenant for tenant in before.tenants if tenant in claimed]


def name_of(key: Key) -> str:
    """Return the name of a source in Redis, and in the calls of scripts."""
    return encode_json(key).decode()


def registered_record(claim: Claim, reply: Reply) -> tuple[SourceRecord, Facts | None, int]:
    """Return the record of a source that was registered, its facts before, and when it was announced.

    Raises:
        Refusal: it was not registered.
    """
    status = reply[0]
    if status != b"ok":
        raise _REFUSALS[status](claim, reply)
    _, generation, lease, claimed, before, announced_ago = reply
    record = SourceRecord(
        scope=claim.scope,
        subject=claim.subject,
        name=claim.name,
        kind=claim.kind,
        version=claim.version,
        instance=claim.instance,
        generation=int(generation),
        lease=int(lease),
        tenants=claim.tenants,
        claimed=decode_texts(claimed),
        capabilities=claim.capabilities,
    )
    return record, decode_facts(before) if before else None, int(announced_ago)


_REFUSALS: dict[bytes, Callable[[Claim, Reply], Refusal]] = {
    b"owner": lambda claim, _: name_is_taken(claim.scope),
    b"in_use": lambda *_: Refusal(ErrorCode.SOURCE_IN_USE),
    b"stale": lambda _, reply: stale_generation(int(reply[1])),
    b"full": lambda *_: Refusal(ErrorCode.OVERLOADED, f"{MAX_SOURCES} sources are registered"),
    b"tenants": lambda *_: Refusal(
        ErrorCode.INVALID_EVENT, f"tenants: more than {MAX_TENANTS} with those named before"
    ),
    b"last": lambda *_: Refusal(ErrorCode.INVALID_EVENT, "generation: there is no higher one"),
}


def _record(key: Key, *, lease: int, claimed: bytes, facts: bytes, generation: int = 0) -> SourceRecord:
    known = decode_facts(facts)
    return SourceRecord(
        scope=key[0],
        subject="",
        name=key[1],
        kind=known.kind,
        version=known.version,
        instance="",
        generation=generation,
        lease=lease,
        tenants=known.tenants,
        claimed=decode_texts(claimed),
        capabilities=known.capabilities,
    )


def ended_record(name: bytes, text: bytes) -> SourceRecord:
    """Return the record of a source whose lease has ended, with the number of that lease."""
    lease, key = name.split(b" ", 1)
    claimed, facts = text.split(b"\n", 1)
    return _record(_decode_key(key), lease=int(lease), claimed=claimed, facts=facts)


def forgotten_record(key: Key, reply: Reply) -> SourceRecord:
    """Return the record of a source whose name is released."""
    return _record(key, lease=int(reply[1]), claimed=reply[2], facts=reply[3])


def listed_record(name: str, reply: Reply) -> SourceRecord:
    """Return the record of a source from the fields ``LISTED_FIELDS``."""
    subject, instance, generation, lease, claimed, facts, _ = reply
    record = _record(_decode_key(name), lease=int(lease), claimed=claimed, facts=facts, generation=int(generation))
    return msgspec.structs.replace(record, subject=subject.decode(), instance=instance.decode())


def check_unused(reply: Reply, name: str) -> None:
    """Raise ``Refusal``, ``source_in_use``, if a name is in use."""
    if reply[0] == b"in_use":
        raise Refusal(ErrorCode.SOURCE_IN_USE, f"source {name!r} is connected, or its lease has not ended")
