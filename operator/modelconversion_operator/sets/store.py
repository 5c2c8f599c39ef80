"""What is known of sets and their members: sets by UID, members by the set that controls them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from modelconversion_api.status import Phase
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.known import KnownObjects
from modelconversion_operator.sets.views import MemberView, SetView, member_view

_LONGEST_PATIENCE_SECONDS: Final = 1.0
_MEMBERS_A_SECOND: Final = 100


class SetStore(KnownObjects[SetView]):
    """Sets and their members. An older version of an object never replaces a newer one.

    Args:
        seen: Called with each newer view of a set, however it came to be known.
        gone: Called with the UID of a set that is forgotten.

    """

    def __init__(
        self,
        seen: Callable[[SetView], None] = lambda _: None,
        gone: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(seen, gone)
        self._members: dict[str, dict[str, MemberView]] = {}
        """By UID of a set, its members by name."""
        self._set_of: dict[str, tuple[str, str]] = {}
        """By UID of a member, the UID of its set, and its name."""

    def members(self, view: SetView) -> Mapping[str, MemberView]:
        """Return the members of a set by name: of its own namespace, whatever another one's claims."""
        members = self._members.get(view.key.uid, {})
        return {
            name: member for name, member in members.items() if member.key.namespace == view.key.namespace
        }

    def patience_seconds(self, uid: str) -> float:
        """How long news of a member may wait for more: a look at a set goes through all of its members."""
        return min(_LONGEST_PATIENCE_SECONDS, len(self._members.get(uid, ())) / _MEMBERS_A_SECOND)

    def phases(self) -> Counter[str]:
        """Count sets by phase."""
        return Counter(str(view.status.phase or Phase.PENDING) for view in self.views())

    def put_member(self, view: ConversionView, set_uid: str) -> bool:
        """Remember a member; gives whether what a set sees of it has changed."""
        member = member_view(view, set_uid)
        members = self._members.setdefault(set_uid, {})
        known = members.get(view.key.name)
        if known is not None and int(known.resource_version) >= int(member.resource_version):
            return False
        members[view.key.name] = member
        self._set_of[view.key.uid] = set_uid, view.key.name
        return True

    def drop_member(self, uid: str) -> str | None:
        """Forget a member that is gone; gives the UID of its set, None where it had none."""
        set_uid, name = self._set_of.pop(uid, ("", ""))
        members = self._members.get(set_uid, {})
        if name in members and members[name].key.uid == uid:
            del members[name]
        if not members:
            self._members.pop(set_uid, None)
        return set_uid or None
