"""The protocols that the proxy reads: where one message ends, and which makes the server commit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faults.wire import MariaDBWire, PostgreSQLWire, Wire


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


STARTUP = message(b"", b"\0\3\0\0user\0me\0\0")
POSTGRESQL = [
    (message(b"", (80877103).to_bytes(4, "big")), None),
    (STARTUP, None),
    (message(b"p", b"secret\0"), None),
    (message(b"Q", b"COMMIT\0"), (b"COMMIT",)),
    (message(b"P", b"s1\0INSERT\0\0\0"), None),
    (message(b"S", b""), ()),
    (message(b"B", b"\0s1\0\0\0\0\0\0\0"), None),
    (message(b"P", b"\0END\0\0\0"), None),
    (message(b"B", b"\0\0\0\0\0\0\0\0"), None),
    (message(b"E", b"\0\0\0\0\0"), None),
    (message(b"S", b""), (b"INSERT", b"END")),
    (message(b"X", b""), None),
]


def packet(number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes([number]) + body


LONG = b"\x03" + b"x" * 0xFFFFFE
MARIADB = [
    (packet(1, b"\x03 a handshake"), None),
    (packet(3, b"more of it"), None),
    (packet(0, b"\x03COMMIT"), (b"COMMIT",)),
    (packet(0, LONG) + packet(1, b"y"), (LONG[1:] + packet(1, b"y"),)),
    (packet(0, b"\x17\1\0\0\0"), ()),
    (packet(0, b"\x0e"), None),
]


@pytest.mark.parametrize(("wire", "said"), [(PostgreSQLWire, POSTGRESQL), (MariaDBWire, MARIADB)])
@pytest.mark.parametrize("size", [1, 7, 65536])
def test_messages_are_told_apart_however_they_arrive(wire: Callable[[], Wire], said: list, size: int) -> None:
    if size < 65536:
        said = [(data, texts) for data, texts in said if len(data) < 1000]
    stream = b"".join(data for data, _ in said)
    made, found = wire(), []
    for at in range(0, len(stream), size):
        found += made.feed(stream[at : at + size])
    assert [(m.data, m.said if m.decides else None) for m in found] == said
