"""How each watch is doing: what has been listed, what cannot be and why, and what may be worked on.

A watched namespace can lack its Role, or not be there yet, while all others are well. So each watch is judged
by itself, and each namespace by its own watches: work on a namespace begins when everything in it has been
listed, for before that nobody knows which Jobs it has.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from typing import Final, Literal

from modelconversion_api.base import GROUP, PLURAL
from modelconversion_operator.clock import running_seconds
from modelconversion_operator.errors import GONE, ApiError, NotFoundError, RejectedError

logger = logging.getLogger(__name__)

WATCH_SECONDS: Final = 300
"""The server is asked to end each watch after so long, so that each has to be opened anew: a sign of life."""
_LATE_SECONDS: Final = 120.0
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 8.0
_REFUSED_PAUSE_SECONDS: Final = 15.0
"""Between two tries of what was refused: somebody has to act first."""
_LONGEST_OBEYED_SECONDS: Final = 120.0
"""The longest Retry-After that is kept to."""
_QUIET_SECONDS: Final = 60.0
"""After so long without a failure the next one is a first one again."""
_PATIENCE_SECONDS: Final = 30.0
"""A first listing that has failed for so long is not waited for any more by the other namespaces."""
_SHOWN: Final = 20
_PUT_BACK: Final = (
    ": the cluster was put back to an earlier state; this process ends, and the next lists everything anew"
)

Step = Literal["listed", "watched"]


class WatchState:
    """How one watch is doing. Made by :meth:`WatchProgress.watch`.

    Attributes:
        resource: Plural name of what is watched.
        namespace: Where; None for the whole cluster.
        listed: Whether everything that there is has been seen once.

    """

    def __init__(
        self,
        resource: str,
        namespace: str | None,
        clock: Callable[[], float],
        first_listed: Callable[[str | None], None],
        restored: Callable[[str], None],
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.listed = False
        self._clock = clock
        self._first_listed = first_listed
        self._restored = restored
        self._moved = self._heard = clock()
        self._newest = 0
        self._pause = _FIRST_PAUSE_SECONDS
        self._failed_at = float("-inf")
        self._failing_since = 0.0
        self._failure: tuple[Step, ApiError] | None = None
        self._told: tuple[Step, int] | None = None

    def __str__(self) -> str:
        """Name the watch."""
        return self.resource if self.namespace is None else f"{self.resource} in namespace {self.namespace}"

    def age_seconds(self) -> float:
        """Time since something was last asked or heard; the API server speaks about once a minute."""
        return self._clock() - self._moved

    def unheard_seconds(self) -> float:
        """Time since the server last said something: what happened meanwhile may be unknown here."""
        return self._clock() - self._heard

    def asked(self) -> None:
        """Note a request that begins."""
        self._moved = self._clock()

    def take_listing(self, version: str) -> bool:
        """Note that a listing is complete.

        Returns:
            Whether it can be used. It cannot when it is older than what was seen before: the cluster's store
            was put back to an earlier state, and all that is remembered here is of a history that never was.

        """
        if int(version) < self._newest:
            self._restored(f"{self} are at version {version} and were at {self._newest}{_PUT_BACK}")
            return False
        self._newest = int(version)
        self._heard = self._clock()
        if self._failure is not None and self._failure[0] == "listed":
            self._recovered()
        if not self.listed:
            self.listed = True
            self._first_listed(self.namespace)
        return True

    def contradicted(self, name: str) -> None:
        """Note that a listing shows an object in an older state than was seen: the same, found later."""
        self._restored(f"{self}: {name} is listed in an older state than was seen{_PUT_BACK}")

    def heard(self, version: object = None) -> None:
        """Note a line of a watch, which brings us to a version where it names one, or a watch's usual end."""
        self._moved = self._heard = self._clock()
        if isinstance(version, str) and version.isdecimal():
            self._newest = max(self._newest, int(version))
        if self._failure is not None:
            self._recovered()

    def failed(self, error: ApiError, step: Step, *, tell: bool = True) -> float:
        """Note that a listing or a watch did not succeed; gives the seconds to wait before the next try.

        It is logged once, and again when it is another failure, unless ``tell`` is false.
        """
        now = self._clock()
        self._moved = now
        if error.status == GONE:  # everyday life: the server forgets what happened some minutes ago
            logger.info("%s: listing everything again", self)
        else:
            if self._failure is None:
                self._failing_since = now
            self._failure = (step, error)
        if now - self._failed_at > _QUIET_SECONDS:
            self._pause = _FIRST_PAUSE_SECONDS
        limit = _REFUSED_PAUSE_SECONDS if self.refused else _LONGEST_PAUSE_SECONDS
        # Several watches, or replicas, must not come back to a server in one instant.
        pause = min(self._pause, limit) * random.uniform(0.7, 1.3)  # noqa: S311 - no secret
        self._pause = min(self._pause * 2, _REFUSED_PAUSE_SECONDS)
        pause = max(pause, min(error.retry_after, _LONGEST_OBEYED_SECONDS))
        self._failed_at = now + pause
        if tell and self._failure is not None and self._told != (step, error.status):
            self._told = (step, error.status)  # the probe says it for as long as it lasts
            logger.warning("%s; it is tried again until it succeeds", self.problem)
        return pause

    def _recovered(self) -> None:
        self._failure = self._told = None
        logger.info("%s: well again", self)

    @property
    def problem(self) -> str | None:
        """Why the last try did not succeed, in the server's words."""
        if self._failure is None:
            return None
        step, error = self._failure
        hint = ""
        if isinstance(error, NotFoundError) and self.resource == PLURAL:
            hint = f" (the CRD {PLURAL}.{GROUP} is not installed)"
        return f"{self} cannot be {step}: {error}{hint}"

    @property
    def refused(self) -> bool:
        """Whether the server has said no to the last try, and will until somebody changes something."""
        return self._failure is not None and isinstance(self._failure[1], RejectedError | NotFoundError)

    @property
    def expected(self) -> bool:
        """Whether the first listing may still come by itself: it was not refused, and not tried for long."""
        if self.listed:
            return False
        long = self._failure is not None and self._clock() - self._failing_since > _PATIENCE_SECONDS
        return not (self.refused or long)


class WatchProgress:
    """All watches: whether the work can begin, where, and whether one of them stands still.

    Args:
        silence_seconds: A watch that says nothing for so long is opened anew.
        completed: Called with a namespace, or None for the whole cluster, when all of it has been listed.
        clock: Seconds that only ever grow.

    Attributes:
        restored: Set when the cluster was put back to an earlier state; ``history`` says how that is known.

    """

    def __init__(
        self,
        silence_seconds: float,
        completed: Callable[[str | None], None] = lambda _: None,
        clock: Callable[[], float] = running_seconds,
    ) -> None:
        self._limit = max(WATCH_SECONDS, silence_seconds) + _LATE_SECONDS
        self._completed = completed
        self._clock = clock
        self._scopes: dict[str | None, list[WatchState]] = {}
        self._aside: list[WatchState] = []
        self.restored = asyncio.Event()
        self.history = ""

    def watch(self, resource: str, namespace: str | None) -> WatchState:
        """Make the state of one more watch."""
        state = WatchState(resource, namespace, self._clock, self._first_listed, self._went_back)
        self._scopes.setdefault(namespace, []).append(state)
        return state

    def watch_aside(self, resource: str, namespace: str | None) -> WatchState:
        """Make the state of a watch that nothing waits for: what it tells is good to know, no more."""
        state = WatchState(resource, namespace, self._clock, lambda _: None, self._went_back)
        self._aside.append(state)
        return state

    def _all(self) -> Iterator[WatchState]:
        for states in self._scopes.values():
            yield from states

    def _first_listed(self, namespace: str | None) -> None:
        if all(state.listed for state in self._scopes[namespace]):
            self._completed(namespace)

    def _went_back(self, words: str) -> None:
        self.history = words
        self.restored.set()

    def knows(self, namespace: str) -> bool:
        """Whether all conversions, Jobs and pods of a namespace have been listed."""
        states = self._scopes.get(namespace) or self._scopes.get(None) or ()
        return bool(states) and all(state.listed for state in states)

    def unready(self) -> str | None:
        """Say why nothing can be worked on, or what is still being listed for the first time.

        One namespace that cannot be listed does not count as long as there is another that can be.
        """
        missing = [state for state in self._all() if not state.listed]
        works = any(
            all(s.listed for s in states) and not any(s.refused for s in states)
            for states in self._scopes.values()
        )
        if works and not any(state.expected for state in missing):
            return None
        if missing:
            head = f"{len(missing)} of {sum(1 for _ in self._all())} watches have not begun yet"
        else:
            head = "nothing can be worked on"
        return "\n".join(filter(None, (head, self.remarks())))

    def remarks(self) -> str | None:
        """Name what cannot be listed or watched, and why; one a line."""
        problems = [state.problem for state in (*self._all(), *self._aside) if state.problem]
        more = len(problems) - _SHOWN
        if more > 0:
            problems[_SHOWN:] = [f"and {more} more"]
        return "\n".join(filter(None, problems)) or None

    def failing(self, resource: str) -> int:
        """Count the watches of a resource whose last try did not succeed."""
        states = (*self._all(), *self._aside)
        return sum(state.problem is not None for state in states if state.resource == resource)

    def unheard_seconds(self) -> float:
        """Time since the server last spoke of what was listed once, of the watch where that is longest."""
        states = (*self._all(), *self._aside)
        return max((state.unheard_seconds() for state in states if state.listed), default=0.0)

    def age_seconds(self) -> float:
        """Time since the watch that moved longest ago moved."""
        return max((state.age_seconds() for state in self._all()), default=0.0)

    def problem(self) -> str | None:
        """Say which watch has not moved for so long that nobody can be following it."""
        for state in self._all():
            if (age := state.age_seconds()) > self._limit:
                return f"the watch of {state} stands still for {age:.0f} s"
        return None
