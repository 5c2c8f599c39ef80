"""What is known of our own objects that are few enough to be kept whole, and of what belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from sys import intern  # names and UIDs stand in many views, and each is kept once
from typing import Generic, Protocol, TypedDict, TypeVar

from modelconversion_operator.deciding.views import QUEUE_LABEL, Body, Key


class OwnFields(TypedDict):
    """The fields of :class:`OwnView`."""

    key: Key
    generation: int
    resource_version: str
    deleting: bool
    spec: Body
    raw_status: Body
    class_name: str
    queue: str | None


@dataclass(frozen=True, slots=True)
class OwnView:
    """What is remembered of every object of our own kinds, conversions aside."""

    key: Key
    generation: int
    resource_version: str
    deleting: bool
    spec: Body
    raw_status: Body
    """The status as stored, for telling whether a new one differs."""
    class_name: str
    queue: str | None
    """Kueue's queue that its Jobs, or those of what it makes, are to wait in."""

    @property
    def uid(self) -> str:
        """Its UID."""
        return self.key.uid

    @property
    def owner_uid(self) -> str:
        """Whom news of it wakes: itself."""
        return self.key.uid

    @staticmethod
    def fields_of(body: Body) -> OwnFields:
        """Read these fields of an object; whatever is no object raises something."""
        meta, spec = body["metadata"], body.get("spec") or {}
        return {
            "key": Key(intern(meta["namespace"]), str(meta["name"]), intern(meta["uid"])),
            "generation": int(meta["generation"]),
            "resource_version": str(meta["resourceVersion"]),
            "deleting": "deletionTimestamp" in meta,
            "spec": spec,
            "raw_status": body.get("status") or {},
            "class_name": str(spec.get("className") or ""),
            "queue": (meta.get("labels") or {}).get(QUEUE_LABEL),
        }


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


class Belongings(Generic[V]):
    """What belongs to our own objects: views by the UID of the owner, and by name."""

    def __init__(self) -> None:
        self._by_owner: dict[str, dict[str, V]] = {}
        self._owner_of: dict[str, tuple[str, str]] = {}
        """By UID of a belonging, the UID of its owner, and its name."""

    def of(self, owner: Key) -> Mapping[str, V]:
        """Return what an object has, by name: of its own namespace, whatever another one's claims."""
        own = self._by_owner.get(owner.uid, {})
        return {name: view for name, view in own.items() if view.key.namespace == owner.namespace}

    def count(self, owner_uid: str) -> int:
        """Return how many an object has."""
        return len(self._by_owner.get(owner_uid, ()))

    def put(self, view: V, owner_uid: str) -> bool:
        """Remember a belonging; gives whether it has changed."""
        by_name = self._by_owner.setdefault(owner_uid, {})
        known = by_name.get(view.key.name)
        if known is not None and int(known.resource_version) >= int(view.resource_version):
            return False
        by_name[view.key.name] = view
        self._owner_of[view.key.uid] = owner_uid, view.key.name
        return True

    def drop(self, uid: str) -> str | None:
        """Forget a belonging that is gone; gives the UID of its owner, None where it had none."""
        owner_uid, name = self._owner_of.pop(uid, ("", ""))
        by_name = self._by_owner.get(owner_uid, {})
        if name in by_name and by_name[name].key.uid == uid:
            del by_name[name]
        if not by_name:
            self._by_owner.pop(owner_uid, None)
        return owner_uid or None
