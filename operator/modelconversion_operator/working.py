"""The loop of a worker: keys from a queue, one look at each, and another one when that wants it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from modelconversion_operator.errors import ApiError, ConflictError
from modelconversion_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)


async def work_off(
    queue: WorkQueue[str],
    reconcile: Callable[[str], Awaitable[float | None]],
    kind: str,
    longest_seconds: float,
) -> None:
    """Take objects from a queue until cancelled; one that trips a bug does not stop the others.

    Args:
        queue: The UIDs of objects that want a look.
        reconcile: Looks at one; gives the seconds until it wants another look, None for never.
        kind: What to call it in the log.
        longest_seconds: After so long it is looked at again at the latest.

    """
    while True:
        uid = await queue.get()
        try:
            delay = await reconcile(uid)
        except ApiError as error:
            delay = queue.add_failed(uid)
            if not isinstance(error, ConflictError):
                logger.warning("%s %s: %s; trying again in %.1f s", kind, uid, error, delay)
        except Exception:
            delay = queue.add_failed(uid)
            logger.exception("%s %s: bug; trying again in %.1f s", kind, uid, delay)
        else:
            queue.forget_failures(uid)
            if delay is not None:
                queue.add_after(uid, min(delay, longest_seconds))
        finally:
            queue.done(uid)
