"""A job on its way into the database: checked, encoded, every default filled in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from operator import attrgetter
from types import NoneType
from typing import Any
from uuid import UUID

from kombu_depqueue.dialects.steps import STATUS
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.job import Dependency, JobMessage, JobState, OnUnmet, Policy
from kombu_depqueue.settings import FAR, Settings

__all__ = [
    "JSON",
    "Entry",
    "check_duration",
    "check_integer",
    "check_job_id",
    "check_moment",
    "check_name",
    "check_size",
    "decode_json",
    "encode_json",
    "entry_of",
    "kinds_of",
    "policy_mask",
]

JSON = "application/json"
MAX_NAME = 255
MAX_DEPTH = 200
"""Nesting that every JSON library reads; Python's own gives up at about 1,000."""
MAX_DEPENDENCIES = 100_000

_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
"""Made once: `json.dumps` makes one in each call that is not all defaults (3 us)."""
orjson: Any = None
with contextlib.suppress(ImportError):  # it is only faster
    orjson = import_module("orjson")
_SCALARS = frozenset({str, int, bool, NoneType})

_MASKS = {policy: sum(1 << STATUS[s] for s in JobState if s.is_finished and policy.met_by(s)) for policy in Policy}


@dataclass(slots=True)
class Entry:
    """What the store inserts."""

    job_id: UUID | None
    """None: not tracked as a job (broadcasts, control traffic)."""
    id_is_new: bool
    channel: str
    queue: str
    body: bytes
    queue_id: int = 0
    """The number of its queue, if that was just looked up."""
    envelope: bytes | None = None
    """JSON of content type, encoding, headers and properties; None: plain JSON args."""
    rank: int = 255
    max_attempts: int = 0
    run_at: datetime | None = None
    delay: float | None = None
    expires_in: float | None = None
    edges: Sequence[tuple[UUID, int]] = ()
    """Dependencies in order, with the set of ends that meet each."""
    reopened: bool = False
    """It was live before (`retry`): a dependency whose record is kept no longer counts as met."""
    hold: bool = False
    promised: bool = False
    """Its dependencies may be jobs that are enqueued later (Celery's chord is published before its header)."""
    anew: bool = False
    """If it supersedes a live delivery, its own edges take the place of that one's (a task replaced by a chord)."""
    flags: int = 0
    """More bits of `schema.Flag`."""
    durable: bool = True
    """False: in a queue that does not outlast its consumers, a power cut may take it with them."""
    supersedes: bool = False
    """If the job is live, this is a new delivery of it (Celery's retry); it keeps its edges."""

    @property
    def is_plain(self) -> bool:
        """Nothing has to be looked up to insert it."""
        fresh = self.id_is_new or self.supersedes
        return fresh and self.delay is None and self.run_at is None and not self.edges

    @property
    def is_single(self) -> bool:
        """It is inserted by one statement, whatever there is (if its delay is not to be signed)."""
        return self.id_is_new and not self.supersedes and self.run_at is None and not self.edges

    @property
    def asks(self) -> bool:
        """Others' jobs decide about it: its dependencies, or one that has its id."""
        return bool(self.edges) or (self.job_id is not None and not self.id_is_new and not self.supersedes)

    @property
    def common(self) -> tuple[object, ...]:
        """What plain entries must share to be inserted by one statement."""
        return (self.max_attempts, self.expires_in, self.hold, self.flags, self.supersedes)


_ALIKE = attrgetter(
    *("channel", "queue", "queue_id", "id_is_new", "supersedes", "delay", "run_at"),
    *("max_attempts", "expires_in", "hold", "flags", "durable"),
)


def kinds_of(entries: Iterable[Entry]) -> list[Entry]:
    """One entry of each kind: usually a batch has one, and what is to be done with it is found out once.

    Alike are those that differ in id, priority, dependencies and payload at most.
    """
    return list({_ALIKE(entry): entry for entry in entries}.values())


def entry_of(job: JobMessage, settings: Settings) -> Entry:
    """Check a message and encode it. Raises InvalidJob naming the field."""
    if not isinstance(job, JobMessage):
        raise InvalidJob("job", f"a JobMessage is wanted, not {type(job).__name__}")
    job_id = check_job_id(job.job_id)
    body, envelope = _payload(job)
    check_size("args" if job.body is None else "body", body, settings)
    if envelope is not None:
        check_size("headers", envelope, settings)
    attempts = settings.max_attempts if job.max_attempts is None else job.max_attempts
    return Entry(
        job_id=job_id,
        id_is_new=job.id_is_new,
        channel=check_name("channel", job.channel, empty=True),
        queue=check_name("job_type", job.job_type or settings.queue),
        body=body,
        envelope=envelope,
        rank=255 - check_integer("priority", job.priority, 0, 255),
        max_attempts=check_integer("max_attempts", attempts, 0, 2**31 - 1),
        run_at=None if job.run_at is None else check_moment("run_at", job.run_at),
        delay=None if job.delay is None else check_duration("delay", job.delay),
        expires_in=None if job.expires_in is None else check_duration("expires_in", job.expires_in),
        edges=_edges(job_id, job, settings),
        hold=_choice("on_unmet", OnUnmet, job.on_unmet or settings.on_unmet) is OnUnmet.HOLD,
    )


def check_size(name: str, data: bytes, settings: Settings) -> None:
    """A payload within `max_body_bytes`."""
    if len(data) > settings.max_body_bytes:
        raise InvalidJob(name, f"{len(data):,} bytes are more than max_body_bytes = {settings.max_body_bytes:,}")


def _payload(job: JobMessage) -> tuple[bytes, bytes | None]:
    if job.body is None:
        if job.content_type not in (None, JSON):
            raise InvalidJob("content_type", f"{job.content_type!r} needs a body, not args")
        body, content_type = encode_json("args", job.args), JSON
    else:
        if job.args is not None:
            raise InvalidJob("body", "args and body exclude each other")
        if not isinstance(job.body, (bytes, bytearray, memoryview)):
            raise InvalidJob("body", f"bytes are wanted, not {type(job.body).__name__}")
        if not job.content_type:
            raise InvalidJob("content_type", "a body needs its content type")
        body, content_type = bytes(job.body), check_name("content_type", job.content_type)
    if job.headers is not None and not isinstance(job.headers, Mapping):
        raise InvalidJob("headers", f"a mapping is wanted, not {type(job.headers).__name__}")
    if content_type == JSON and not job.headers:
        return body, None
    return body, encode_json("headers", {"content_type": content_type, "headers": dict(job.headers or {})})


def _edges(job_id: UUID, job: JobMessage, settings: Settings) -> list[tuple[UUID, int]]:
    given = job.depends_on
    if type(given) is not tuple and type(given) is not list:  # the usual ones are looked at faster than an ABC
        if isinstance(given, (str, bytes, UUID, Dependency)) or not isinstance(given, Iterable):
            raise InvalidJob("depends_on", "a sequence of job ids is wanted")
        given = tuple(given)
    default = _choice("dependency_policy", Policy, job.dependency_policy or settings.dependency_policy)
    if not given:
        return []
    edges: dict[UUID, int] = {}
    for one in given:
        if isinstance(one, Dependency):
            dep, policy = (
                check_job_id(one.job_id, "depends_on"),
                _choice("depends_on", Policy, one.policy or default),
            )
        else:
            dep, policy = check_job_id(one, "depends_on"), default
        if dep == job_id:
            raise InvalidJob("depends_on", f"job {job_id} cannot depend on itself")
        edges.setdefault(dep, _MASKS[policy])
        if len(edges) > MAX_DEPENDENCIES:
            raise InvalidJob("depends_on", f"more than {MAX_DEPENDENCIES:,} dependencies")
    return list(edges.items())


def check_job_id(value: object, name: str = "job_id") -> UUID:
    """A job id, given as UUID or its text; nil is refused."""
    if isinstance(value, str):
        text = value[:60]
        try:
            value = UUID(value)
        except ValueError:
            raise InvalidJob(name, f"{text!r} is no UUID") from None
    if not isinstance(value, UUID):
        raise InvalidJob(name, f"a UUID is wanted, not {type(value).__name__}")
    if not value.int:
        raise InvalidJob(name, "the nil UUID names no job")
    return value


def check_name(name: str, value: object, *, empty: bool = False) -> str:
    """A queue, channel or other name: 1-255 characters that every database can hold."""
    if not isinstance(value, str):
        raise InvalidJob(name, f"text is wanted, not {type(value).__name__}")
    if not value and not empty:
        raise InvalidJob(name, "it is empty")
    if len(value) > MAX_NAME:
        raise InvalidJob(name, f"{len(value)} characters are more than {MAX_NAME}")
    if "\0" in value:
        raise InvalidJob(name, "it contains NUL, which databases cannot store in text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidJob(name, "it contains a lone surrogate, which is no valid Unicode") from None
    return value


def check_duration(name: str, value: object) -> float:
    """Seconds: a finite number, not negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidJob(name, f"seconds are wanted, not {type(value).__name__}")
    if not 0 <= value <= FAR:  # also refuses NaN
        raise InvalidJob(name, f"{value!r} is no number of seconds between 0 and 10,000 years")
    return float(value)


def policy_mask(policy: object, name: str = "dependency_policy") -> int:
    """The ends that meet a policy, as bits."""
    return _MASKS[_choice(name, Policy, policy)]


def check_integer(name: str, value: object, least: int, most: int) -> int:
    """An integer within bounds; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidJob(name, f"an integer is wanted, not {type(value).__name__}")
    if not least <= value <= most:
        raise InvalidJob(name, f"{value} is not between {least:,} and {most:,}")
    return value


def check_moment(name: str, value: object) -> datetime:
    """An aware time, in UTC."""
    if not isinstance(value, datetime):
        raise InvalidJob(name, f"a datetime is wanted, not {type(value).__name__}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidJob(name, "it is naive; give it a time zone, as in datetime.now(UTC)")
    try:
        return value.astimezone(UTC)
    except OverflowError:  # the year 0 or 10,000, which no driver gives back
        raise InvalidJob(name, f"{value.isoformat()} is outside the calendar in UTC") from None


def _choice(name: str, kind: Any, value: object) -> Any:
    try:
        return value if type(value) is kind else kind(value)
    except ValueError:
        raise InvalidJob(name, f"{value!r} is none of {', '.join(kind)}") from None


def encode_json(name: str, value: object) -> bytes:
    """Strict JSON: what it cannot hold is refused, NaN and infinities included."""
    if orjson is not None and (data := _encode_flat(value)) is not None:
        return data
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidJob(name, f"JSON cannot hold it: {problem}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise InvalidJob(name, f"nested more than {MAX_DEPTH} levels deep")
    return text.encode("ascii")


def _encode_flat(value: object) -> bytes | None:
    """By orjson: 0.3 us instead of 2.5 for 500 bytes. None: it is not as plain as that, or for `json` to refuse.

    Only scalars, and an object of them: of other values orjson takes more than JSON can hold (NaN, a UUID, an Enum).
    """
    if not _SCALARS.issuperset(map(type, value.values()) if type(value) is dict else (type(value),)):
        return None
    try:
        data = orjson.dumps(value)
    except orjson.JSONEncodeError:  # keys that are not text, integers of more than 64 bits, lone surrogates
        return None
    return bytes(memoryview(data))  # a copy: what it returns may hold 4 KB, however little is in it


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        inner: list[object] = []
        for one in level:
            if isinstance(one, Mapping):
                inner += one.values()
            elif isinstance(one, (list, tuple)):
                inner += one
        level = [i for i in inner if isinstance(i, (Mapping, list, tuple))]
    return depth


def decode_json(name: str, data: bytes | str) -> Any:
    """Read JSON; whatever is wrong with it is an InvalidJob, so that one bad row stops nobody."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidJob(name, f"the stored payload is no JSON ({type(error).__name__})") from error
