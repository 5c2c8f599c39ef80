"""Which news of a Job or a pod a conversion is looked at for at once, and which can wait for more.

A Job makes about ten changes on its way, most of them within a second: it has a pod, which has a node, an
address, a first container. Each look at them costs, and each status that tells of one is a write. So what is
only a step on the way is looked at a second later, together with what came meanwhile, as Kubernetes' own Job
controller does it (``SyncJobBatchPeriod`` in pkg/controller/job/job_controller.go). What ends something is
looked at when it comes.
"""

from __future__ import annotations

from typing import Final

from modelconversion_operator.deciding.views import JobView, PodView

BATCH_SECONDS: Final = 1.0
"""How long a step on the way waits for the next."""


def job_presses(job: JobView) -> bool:
    """Whether a Job has ended, is about to, or is not to run."""
    return job.finished or job.deleting or job.overdue or job.suspended


def pod_presses(pod: PodView) -> bool:
    """Whether a pod has ended, is about to, or cannot go on."""
    ended = pod.phase in ("Succeeded", "Failed") or pod.deleting or pod.disrupted_by is not None
    return ended or pod.published is not None or any(container.exit_code for container in pod.containers)
