"""What is known of triggers and of what they have made: triggers by UID, the rest by their trigger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from modelconversion_api.status import READY
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.known import KnownObjects
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.triggers.views import MadeView, TriggerView, made_view


class TriggerStore(KnownObjects[TriggerView]):
    """Triggers, and what they have made. An older version of an object never replaces a newer one."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[str, dict[str, MadeView]] = {}
        """By UID of a trigger, what it has made, by name, which has a digest of what it is."""
        self._trigger_of: dict[str, tuple[str, str]] = {}
        """By UID of something made, the UID of its trigger, and its name."""

    def made(self, view: TriggerView) -> Mapping[str, MadeView]:
        """Return what a trigger has made: of its own namespace, whatever another one's claims."""
        made = self._made.get(view.key.uid, {})
        return {name: each for name, each in made.items() if each.key.namespace == view.key.namespace}

    def ready(self) -> Counter[str]:
        """Count triggers by their condition Ready."""
        conditions = (view.status.conditions for view in self.views())
        return Counter(next((c.status for c in own if c.type == READY), "Unknown") for own in conditions)

    def put_made(self, view: ConversionView | SetView, trigger_uid: str) -> bool:
        """Remember something made; gives whether it has changed."""
        made, by_name = made_view(view), self._made.setdefault(trigger_uid, {})
        known = by_name.get(view.key.name)
        if known is not None and int(known.resource_version) >= int(made.resource_version):
            return False
        by_name[view.key.name] = made
        self._trigger_of[view.key.uid] = trigger_uid, view.key.name
        return True

    def drop_made(self, uid: str) -> str | None:
        """Forget something made that is gone; gives the UID of its trigger, None where it had none."""
        trigger_uid, name = self._trigger_of.pop(uid, ("", ""))
        made = self._made.get(trigger_uid, {})
        if name in made and made[name].key.uid == uid:
            del made[name]
        if not made:
            self._made.pop(trigger_uid, None)
        return trigger_uid or None
