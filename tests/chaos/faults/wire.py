"""What a client says to its server, message by message: where a transaction may be committed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["MariaDBWire", "Message", "PostgreSQLWire", "Wire"]


@dataclass(frozen=True)
class Message:
    """A message as it goes over the wire."""

    data: bytes
    decides: bool = False
    """Whether the server may commit something when it has this, and answers."""
    said: tuple[bytes, ...] = ()
    """The statements that it lets run, as far as they are known."""


class Wire(Protocol):
    """Cuts one client's bytes into messages."""

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole with these bytes."""
        ...

    def has_answered(self, end: bytes) -> bool:
        """Whether a server whose last bytes were these has done what it was told."""
        ...


class PostgreSQLWire:
    """Protocol 3: simple and extended queries, pipelines; without TLS.

    A message that decides is Query or Sync: at both the server commits, be it a COMMIT or a statement on its own.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._started = False
        self._prepared: dict[bytes, bytes] = {}
        self._said: list[bytes] = []
        """Statements since the last message that decides."""

    def feed(self, data: bytes) -> Iterator[Message]:
        self._rest += data
        while (size := self._size()) is not None and len(self._rest) >= size:
            yield self._message(_taken(self._rest, size))

    def has_answered(self, end: bytes) -> bool:
        """By ReadyForQuery: what came before may have come before the commit."""
        return end[-6:-1] == b"Z\0\0\0\5"

    def _size(self) -> int | None:
        """The first messages (SSLRequest, Startup) have no type before their length."""
        kind = int(self._started)
        if len(self._rest) < kind + 4:
            return None
        (size,) = struct.unpack_from("!I", self._rest, kind)
        return kind + int(size)

    def _message(self, whole: bytes) -> Message:
        if not self._started:
            (code,) = struct.unpack_from("!I", whole, 4)
            self._started = code >> 16 == 3  # else SSLRequest or alike, and Startup follows
            return Message(whole)
        kind, body = whole[:1], whole[5:]
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._prepared[name] = text
        elif kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            self._said.append(self._prepared.get(name, b""))
        elif kind == b"Q":
            return Message(whole, True, (body.rstrip(b"\0"),))
        elif kind == b"S":
            said, self._said = tuple(self._said), []
            return Message(whole, True, said)
        return Message(whole)


class MariaDBWire:
    """The protocol of MariaDB and MySQL, without TLS and compression: a message that decides is a command."""

    QUERY, EXECUTE = 0x03, 0x17
    LONGEST = 0xFFFFFF
    """Bytes of a packet; one that is so long goes on in the next."""

    def __init__(self) -> None:
        self._rest, self._begun = bytearray(), b""
        """What was sent, and the packets of a message that goes on."""

    def feed(self, data: bytes) -> Iterator[Message]:
        self._rest += data
        while len(self._rest) >= 4:
            size = int.from_bytes(self._rest[:3], "little")
            if len(self._rest) < 4 + size:
                return
            self._begun += _taken(self._rest, 4 + size)
            if size < self.LONGEST:
                whole, self._begun = self._begun, b""
                yield self._message(whole)

    def has_answered(self, end: bytes) -> bool:
        """It says nothing before it is done."""
        return bool(end)

    def _message(self, whole: bytes) -> Message:
        """A command has the number 0; what has another belongs to the handshake."""
        is_command = whole[3] == 0 and len(whole) > 4
        if is_command and whole[4] == self.QUERY:
            return Message(whole, True, (whole[5:],))
        return Message(whole, is_command and whole[4] == self.EXECUTE)


def _taken(rest: bytearray, size: int) -> bytes:
    taken = bytes(rest[:size])
    del rest[:size]
    return taken
