"""`depends_on` for tasks: what may be given, and how it travels.

ship.apply_async([order], depends_on=[packed, paid])    # results, task ids or native job ids
after(packed, paid)(ship.s(order)).delay()              # the same, also inside canvases
after(paid, policy="succeeded")(ship.s(order))          # only if the payment has succeeded
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from celery.result import AsyncResult, GroupResult
from kombu.utils.json import register_type

from kombu_depqueue import Dependency, InvalidJob, OnUnmet, Policy
from kombu_depqueue_celery import _register

__all__ = ["After", "after", "ids_of", "teach_json"]


class After(dict[str, Any]):
    """Publishing options: `**after(a)` in a call, or `after(a)(signature)`."""

    def __call__(self, signature: Any) -> Any:
        """A copy of a signature, which waits."""
        return signature.clone().set(**self)


def after(*dependencies: Any, policy: Policy | str | None = None, on_unmet: OnUnmet | str | None = None) -> After:
    """Let a task wait until others have ended.

    dependencies: results (a group's: all of its tasks), ids of tasks or native jobs, frozen
        signatures, `(id, policy)` pairs or `Dependency`s.
    policy: which end lets it run, for those without one of their own: "finished" (succeeded or
        failed), "succeeded", "failed" or "terminal" (any); None = the broker's `dependency_policy`.
    on_unmet: "cancel" (it is canceled, and its state is REVOKED) or "hold" once that cannot be met any more.

    Raises: InvalidJob for what is no job, or no policy.
    """
    edges: list[dict[str, str]] = []
    for one in dependencies:
        for job_id, own in ids_of(one, None if policy is None else _choice("policy", Policy, policy)):
            edges.append({"id": job_id, "policy": own} if own else {"id": job_id})
    if not edges:
        raise InvalidJob("depends_on", "after() needs at least one dependency")
    options = After(depends_on=edges)
    if on_unmet is not None:
        options["on_unmet"] = _choice("on_unmet", OnUnmet, on_unmet)
    return options


def ids_of(one: Any, policy: str | None = None) -> Iterator[tuple[str, str | None]]:
    """The ids, with policies, of what may be given as a dependency."""
    if isinstance(one, Dependency):
        one, policy = one.job_id, one.policy or policy
    elif isinstance(one, tuple) and len(one) == 2 and not isinstance(one[1], (list, type(None))):
        one, policy = one[0], _choice("policy", Policy, one[1])
    if isinstance(one, GroupResult):
        for member in one.results:
            yield from ids_of(member, policy)
        return
    found = one if isinstance(one, (str, UUID)) else getattr(one, "id", None)
    if not isinstance(found, (str, UUID)) or not found:
        raise InvalidJob("depends_on", f"a result, a frozen signature or a job id is wanted, not {type(one).__name__}")
    yield str(found), None if policy is None else str(policy)


def _choice(name: str, kind: Any, value: Any) -> str:
    try:
        return str(kind(value))
    except ValueError:
        raise InvalidJob(name, f"{value!r} is none of {', '.join(kind)}") from None


def teach_json() -> None:
    """In a canvas the options of later tasks travel in the messages of earlier ones: `set(depends_on=[result])` too."""
    register_type(AsyncResult, "depqueue-result", lambda result: result.id, str)
    register_type(GroupResult, "depqueue-results", lambda result: [i for i, _ in ids_of(result)], list)


_register.connect()
