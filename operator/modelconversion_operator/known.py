"""What is known of the objects of one of our own kinds that are few enough to be kept whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from modelconversion_operator.deciding.views import Key


class Known(Protocol):
    """What every view of such an object has."""

    @property
    def key(self) -> Key:
        """Its identity."""

    @property
    def resource_version(self) -> str:
        """Its version."""


V = TypeVar("V", bound=Known)


class KnownObjects(Generic[V]):
    """Views by UID. An older version of an object never replaces a newer one.

    Args:
        seen: Called with each newer view, however it came to be known.
        gone: Called with the UID of what is forgotten.

    """

    def __init__(
        self, seen: Callable[[V], None] = lambda _: None, gone: Callable[[str], None] = lambda _: None
    ) -> None:
        self._told, self._told_gone = seen, gone
        self._views: dict[str, V] = {}

    def uids(self) -> list[str]:
        """UIDs of the objects."""
        return list(self._views)

    def views(self) -> Iterable[V]:
        """Return the objects."""
        return self._views.values()

    def view(self, uid: str) -> V | None:
        """Return an object."""
        return self._views.get(uid)

    def put(self, view: V) -> bool:
        """Remember an object; gives whether it has changed."""
        known = self._views.get(view.key.uid)
        if known is not None and int(view.resource_version) <= int(known.resource_version):
            return False
        self._views[view.key.uid] = view
        self._told(view)
        return True

    def drop(self, view: V) -> bool:
        """Forget an object that is gone; gives whether it was known."""
        if self._views.pop(view.key.uid, None) is None:
            return False
        self._told_gone(view.key.uid)
        return True

    def retain(self, namespace: str | None, uids: set[str], version: str) -> set[str]:
        """Forget the objects that a listing at ``version`` of a namespace, or of all, did not have."""
        gone = {
            uid
            for uid, view in self._views.items()
            if uid not in uids
            and namespace in (None, view.key.namespace)
            and int(view.resource_version) <= int(version)
        }
        for uid in gone:
            del self._views[uid]
            self._told_gone(uid)
        return gone
