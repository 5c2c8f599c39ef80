"""What a conversion may ask of the cluster through the operator: the limits that its settings draw.

Who may write a ModelConversion need not be allowed to write pods. Whatever a pod can be given that its author
is trusted with is therefore either not in the spec at all (volumes, security contexts, host namespaces), or
limited here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from modelconversion_api.scheduling import JobSpec

_DEFAULT_ACCOUNT: Final = "default"
_SYSTEM_CLASSES: Final = "system-*"


@dataclass(frozen=True, slots=True)
class Policy:
    """Names that spec.job may use, as patterns in the shell's style, or ``namespace/pattern``.

    Attributes:
        service_accounts: Service accounts beside the namespace's own ``default``. Cloud identities belong to
            service accounts, so naming one is reaching what that identity reaches.
        priority_classes: Priority classes; those of the system are never among them.

    """

    service_accounts: tuple[str, ...] = ()
    priority_classes: tuple[str, ...] = ("*",)

    def violation(self, namespace: str, job: JobSpec) -> str | None:
        """Say what ``job`` may not ask for in ``namespace``, and which setting allows it.

        None when all is well.
        """
        account, priority = job.service_account_name, job.priority_class_name
        if account not in (None, _DEFAULT_ACCOUNT) and not _allows(self.service_accounts, namespace, account):
            return (
                f"spec.job.serviceAccountName {account} is not among the service accounts that the operator's"
                " --allowed-service-accounts allows"
            )
        if priority is not None and (
            fnmatchcase(priority, _SYSTEM_CLASSES) or not _allows(self.priority_classes, namespace, priority)
        ):
            return (
                f"spec.job.priorityClassName {priority} is not among the priority classes that the operator's"
                " --allowed-priority-classes allows (those of the system never are)"
            )
        return None


def _allows(patterns: tuple[str, ...], namespace: str, name: str | None) -> bool:
    # Neither a namespace nor a name can contain a slash, so the two parts are matched one by one.
    for pattern in patterns:
        where, slash, what = pattern.rpartition("/")
        if fnmatchcase(name or "", what) and (not slash or fnmatchcase(namespace, where)):
            return True
    return False
