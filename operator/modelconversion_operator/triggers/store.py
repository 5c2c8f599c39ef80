"""What is known of triggers and of what they have made: triggers by UID, the rest by their trigger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from modelconversion_operator.deciding.conditions import readiness
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.known import Belongings, KnownObjects
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.triggers.views import SUSPENDED, MadeView, TriggerView, made_view


class TriggerStore(KnownObjects[TriggerView]):
    """Triggers, and what they have made. An older version of an object never replaces a newer one."""

    def __init__(self) -> None:
        super().__init__()
        self._made: Belongings[MadeView] = Belongings()

    def made(self, view: TriggerView) -> Mapping[str, MadeView]:
        """Return what a trigger has made: of its own namespace, whatever another one's claims."""
        return self._made.of(view.key)

    def ready(self) -> Counter[str]:
        """Count triggers by :func:`readiness`."""
        return Counter(readiness(view.status.conditions, (SUSPENDED,)) for view in self.views())

    def take(self, view: ConversionView | SetView) -> str | None:
        """Remember something where a trigger has made it; gives the trigger's UID where it has changed."""
        is_news = view.trigger_uid is not None and self.put_made(view, view.trigger_uid)
        return view.trigger_uid if is_news else None

    def put_made(self, view: ConversionView | SetView, trigger_uid: str) -> bool:
        """Remember something made; gives whether it has changed."""
        return self._made.put(made_view(view), trigger_uid)

    def drop_made(self, uid: str) -> str | None:
        """Forget something made that is gone; gives the UID of its trigger, None where it had none."""
        return self._made.drop(uid)
