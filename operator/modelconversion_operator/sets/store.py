"""What is known of sets and their members: sets by UID, members by the set that controls them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from modelconversion_api.status import Phase
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.known import Belongings, KnownObjects
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
        self._members: Belongings[MemberView] = Belongings()

    def members(self, view: SetView) -> Mapping[str, MemberView]:
        """Return the members of a set by name: of its own namespace, whatever another one's claims."""
        return self._members.of(view.key)

    def patience_seconds(self, uid: str) -> float:
        """How long news of a member may wait for more: a look at a set goes through all of its members."""
        return min(_LONGEST_PATIENCE_SECONDS, self._members.count(uid) / _MEMBERS_A_SECOND)

    def phases(self) -> Counter[str]:
        """Count sets by phase."""
        return Counter(str(view.status.phase or Phase.PENDING) for view in self.views())

    def take(self, view: ConversionView) -> str | None:
        """Remember a conversion where it is a member; gives its set's UID where the set sees a change."""
        is_news = view.set_uid is not None and self.put_member(view, view.set_uid)
        return view.set_uid if is_news else None

    def put_member(self, view: ConversionView, set_uid: str) -> bool:
        """Remember a member; gives whether what a set sees of it has changed."""
        return self._members.put(member_view(view, set_uid), set_uid)

    def drop_member(self, uid: str) -> str | None:
        """Forget a member that is gone; gives the UID of its set, None where it had none."""
        return self._members.drop(uid)
