"""Keys that sign jobs, and what a signature covers.

A job is signed where it is inserted and checked where it is claimed, before anything of
it is decoded. The signature stands at the beginning of the stored envelope, whose other bytes
it covers as they are:

    {"signature":"1.KEY.RUN_AT.COUNT.BASE64", ...}

1 is the format, KEY the id of the key. RUN_AT is the signed `run_at` in microseconds since 1970
(empty: none): nothing else keeps it of an ended job, and retried it must not run earlier.
COUNT says how many dependencies are signed: a chord's body may get more while it waits.
BASE64 (RFC 4648 §5, no padding) is HMAC-SHA256 (RFC 2104) or Ed25519 (RFC 8032) over
`Facts.canonical`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

from kombu_depqueue.errors import InvalidJob

__all__ = ["Facts", "Keys", "bare", "refuse_in_url", "signed_run_at"]

FORMAT = "1"
HOLD, JOINS = 4, 64
"""Bits of `schema.Flag` that say how a job runs, and so are covered; the others say how far it is."""
SHORTEST = 32
"""Bytes of an HMAC key: as long as the hash (RFC 2104 §3)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARK = re.compile(
    rb'\A\{"signature":"(\d{1,3})\.([\w-]{1,32})\.(-?\d{0,20})\.(\d{1,6})\.([\w-]{1,200})"(?:(\})\Z|,)', re.ASCII
)
_KEY = re.compile(r"([A-Za-z0-9_-]{1,32})=([a-z0-9-]+):(\S+)\Z")


class Facts(NamedTuple):
    """What a signature covers of a job."""

    job_id: UUID | None
    channel: str
    queue: str
    rank: int
    max_attempts: int
    flags: int
    run_at: datetime | None
    edges: Sequence[tuple[UUID, int]]
    """Its dependencies in order, each with the set of ends that meet it."""
    envelope: bytes | None
    body: bytes

    def canonical(self, key_id: str) -> bytes:
        """All of it as bytes that nothing else has: each part with its length before it."""
        numbers = (self.rank, self.max_attempts, self.flags & (HOLD | JOINS))
        parts = [
            f"depqueue {FORMAT} {key_id}".encode(),
            b"" if self.job_id is None else self.job_id.bytes,
            self.channel.encode(),
            self.queue.encode(),
            " ".join(map(str, numbers)).encode(),
            _micros(self.run_at).encode(),
            "".join([f"{dep.hex} {mask};" for dep, mask in self.edges]).encode(),
            self.envelope or b"",
            self.body,
        ]
        return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


class _Key(NamedTuple):
    sign: Callable[[bytes], bytes] | None
    """None: it only verifies."""
    verifies: Callable[[bytes, bytes], bool]


class Keys:
    """The keys of the option `signing_keys`: the first signs, if it can; all verify. Shows nothing but their ids."""

    def __init__(self, keys: dict[str, _Key]) -> None:
        self._keys = keys
        self.first = next(iter(keys))

    @classmethod
    def read(cls, value: object) -> Keys:
        """Read `file:PATH`, `env:NAME`, or keys: `ID=hmac:BASE64`, with commas or white space between.

        The kinds are hmac and ed25519, and ed25519-public, which only verifies. Raises InvalidJob, quoting no key.
        """
        if isinstance(value, Keys):
            return value
        if not isinstance(value, str):
            _refuse(f"text is wanted, not {type(value).__name__}")
        keys: dict[str, _Key] = {}
        for number, text in enumerate(_entries(value), 1):
            match = _KEY.match(text)
            if match is None or match[1] in keys:
                _refuse(f"entry {number} is no ID=KIND:BASE64 with an id of its own")
            keys[match[1]] = _key(match[1], match[2], match[3])
        if not keys:
            _refuse("there is no key in it")
        return cls(keys)

    def __repr__(self) -> str:
        return f"<keys {', '.join(self._keys)}>"

    @property
    def can_sign(self) -> bool:
        """Whether the first key is more than a public one."""
        return self._keys[self.first].sign is not None

    def sign(self, facts: Facts) -> bytes:
        """The envelope with the signature. Raises InvalidJob if there are only public keys."""
        sign = self._keys[self.first].sign
        if sign is None:
            _refuse("the first key is a public one, which cannot sign what is enqueued")
        mac = base64.urlsafe_b64encode(sign(facts.canonical(self.first))).rstrip(b"=")
        told = f"{FORMAT}.{self.first}.{_micros(facts.run_at)}.{len(facts.edges)}."
        mark = b'{"signature":"' + told.encode() + mac + b'"'
        return mark + (b"}" if facts.envelope is None else b"," + facts.envelope[1:])

    def problem(self, facts: Facts) -> str | None:
        """What is wrong with the signature in the envelope; None: nothing."""
        match = _MARK.match(facts.envelope or b"")
        if match is None:
            return "there is none"
        version, key_id = match[1].decode(), match[2].decode()
        if version != FORMAT:
            return f"its format is {version}"
        if key_id not in self._keys:
            return f"its key {key_id} is unknown"
        if match[3].decode() != _micros(facts.run_at):
            return "run_at was changed"
        try:
            mac = base64.b64decode(match[5] + b"=" * (-len(match[5]) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            return "it is cut"
        edges = facts.edges[: int(match[4])] if facts.flags & JOINS else facts.edges
        meant = facts._replace(edges=edges, envelope=bare(facts.envelope))
        return None if self._keys[key_id].verifies(mac, meant.canonical(key_id)) else "it does not match"


def bare(envelope: bytes | None) -> bytes | None:
    """The envelope without its signature."""
    match = _MARK.match(envelope or b"")
    if match is None or envelope is None:
        return envelope
    return None if match[6] else b"{" + envelope[match.end() :]


def signed_run_at(envelope: object) -> datetime | None:
    """The `run_at` that stands in the signature of a stored envelope: perhaps a forged one, or no envelope at all."""
    try:
        match = _MARK.match(bytes(envelope or b""))  # type: ignore[call-overload]
        return _EPOCH + timedelta(microseconds=int(match[3])) if match and match[3] else None
    except (TypeError, ValueError, OverflowError):
        return None


def refuse_in_url(value: object) -> None:
    """Keys do not belong into URLs, which end in logs and process lists."""
    if not str(value).startswith(("file:", "env:")):
        _refuse("in a URL name a file (file:PATH) or an environment variable (env:NAME), not the keys")


def _micros(moment: datetime | None) -> str:
    return "" if moment is None else str((moment - _EPOCH) // timedelta(microseconds=1))


def _entries(text: str) -> Iterable[str]:
    kind, _, where = text.partition(":")
    if kind == "env":
        text = os.environ.get(where, "")
        if not text:
            _refuse(f"there is no environment variable {where[:60]!r}")
    elif kind == "file":
        try:
            with open(where, encoding="ascii") as file:
                text = file.read()
        except (OSError, ValueError) as error:
            _refuse(f"the file {where[:200]!r} cannot be read ({type(error).__name__})")
    lines = (line.partition("#")[0] for line in text.splitlines())
    return " ".join(lines).replace(",", " ").split()


def _key(name: str, kind: str, text: str) -> _Key:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        _refuse(f"key {name} is no base64")
    if kind == "hmac":
        if len(data) < SHORTEST:
            _refuse(f"key {name} has {len(data)} bytes; {SHORTEST} are wanted")
        return _hmac(data)
    if kind not in ("ed25519", "ed25519-public"):
        _refuse(f"key {name} is none of hmac, ed25519, ed25519-public")
    if len(data) != 32:
        _refuse(f"key {name} has {len(data)} bytes; an Ed25519 key has 32")
    return _ed25519(data, public=kind == "ed25519-public")


def _hmac(secret: bytes) -> _Key:
    def sign(data: bytes) -> bytes:
        return hmac.digest(secret, data, hashlib.sha256)

    return _Key(sign, lambda mac, data: hmac.compare_digest(mac, sign(data)))


def _ed25519(data: bytes, *, public: bool) -> _Key:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        _refuse("Ed25519 needs the extra `signing`: pip install 'kombu-depqueue[signing]'")
    private: Any = None if public else ed25519.Ed25519PrivateKey.from_private_bytes(data)
    key = ed25519.Ed25519PublicKey.from_public_bytes(data) if public else private.public_key()

    def verifies(mac: bytes, signed: bytes) -> bool:
        try:
            key.verify(mac, signed)
        except InvalidSignature:
            return False
        return True

    return _Key(None if private is None else private.sign, verifies)


def _refuse(problem: str) -> NoReturn:
    raise InvalidJob("signing_keys", problem) from None
