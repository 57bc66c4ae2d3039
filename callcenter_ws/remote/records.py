"""Records: small values that a daemon changes together with its events, as what it has told the gateway."""

from __future__ import annotations

from collections.abc import Mapping

from callcenter_ws.errors import ErrorCode, Refusal

MAX_KEY_BYTES = 255
MAX_RECORD_BYTES = 1_048_576
MAX_RECORDS = 200_000
MAX_RECORDS_BYTES = 67_108_864
"""The limits of a key, of a value, of the number of records, and of all keys and values together."""

RecordChanges = Mapping[str, bytes | None]
"""The new values by key; None: the record is deleted."""


class Records:
    """The values as the units that were accepted have changed them, within limits.

    Attributes:
        values: by key.
    """

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self._bytes = 0
        self._changed_before: dict[str, bytes | None] | None = {}

    def open(self, stored: Mapping[str, bytes]) -> None:
        """Take what is stored; the first time, with what was changed before."""
        changed, self._changed_before = self._changed_before, None
        self.values = dict(stored)
        self._bytes = sum(map(_size_of, self.values, self.values.values()))
        self.apply(changed or {})

    def checked(self, changes: RecordChanges) -> dict[str, bytes | None]:
        """Return the changes that change something.

        Raises:
            Refusal: ``invalid_event``: a key or a value is not one, or too long; ``overloaded``: too many records.
        """
        values, is_open = self.values, self._changed_before is None
        effective: dict[str, bytes | None] = {}
        count, size = len(values), self._bytes
        for key, value in changes.items():
            _check(key, value)
            old = values.get(key)
            if old == value and (is_open or value is not None):
                continue
            effective[key] = value
            count += (value is not None) - (old is not None)
            size += _size_of(key, value) - _size_of(key, old)
        if count > max(MAX_RECORDS, len(values)) or size > max(MAX_RECORDS_BYTES, self._bytes):
            raise Refusal(
                ErrorCode.OVERLOADED,
                f"{count} records of {size} bytes, more are not kept; {len(effective)} are changed",
            )
        return effective

    def apply(self, changes: RecordChanges) -> None:
        """Change records."""
        if self._changed_before is not None:
            self._changed_before.update(changes)
        for key, value in changes.items():
            old = self.values.pop(key, None)
            self._bytes += _size_of(key, value) - _size_of(key, old)
            if value is not None:
                self.values[key] = value


def changes_size(changes: RecordChanges) -> int:
    """Return the bytes of changed records."""
    return sum(len(key) + len(value or b"") for key, value in changes.items())


def _size_of(key: str, value: bytes | None) -> int:
    return 0 if value is None else len(key) + len(value)


def _check(key: object, value: object) -> None:
    if not isinstance(key, str) or not (value is None or isinstance(value, bytes)):
        raise Refusal(ErrorCode.INVALID_EVENT, "records: expected texts as keys, and bytes or None as values")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise Refusal(ErrorCode.INVALID_EVENT, "records: a key is no valid Unicode") from None
    if not 1 <= size <= MAX_KEY_BYTES:
        raise Refusal(ErrorCode.INVALID_EVENT, f"records: a key has {size} bytes, expected 1 to {MAX_KEY_BYTES}")
    if value is not None and len(value) > MAX_RECORD_BYTES:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"records: the value of {key!r} has {len(value)} bytes, the limit is {MAX_RECORD_BYTES}",
        )
