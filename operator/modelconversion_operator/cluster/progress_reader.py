"""Asks running pods how far they are: one small HTTP answer a pod, without any right in the cluster.

The address is in the pod's status, where the kubelet puts it. A pod that cannot be reached (a network policy,
a mesh) is left alone after a few tries; its progress is then that of its containers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from pydantic import ValidationError

from modelconversion_api.request import PROGRESS_PATH, PROGRESS_PORT, StageProgress
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding.progress import is_converting
from modelconversion_operator.deciding.views import PodView
from modelconversion_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

_TRIES: Final = 3
_AT_A_TIME: Final = 8
_TIMEOUT: Final = aiohttp.ClientTimeout(total=2)
_LIMIT_BYTES: Final = 512


@dataclass(slots=True)
class _Followed:
    """A pod that is asked."""

    pod_uid: str
    address: str
    failures: int = 0
    latest: StageProgress | None = None


class ProgressReader:
    """Keeps the latest answer of each pod that converts, and has its conversion looked at when it is news.

    Args:
        store: Knows which conversions there are.
        queue: Gets those whose pod has something new to say.
        seconds: Time between two rounds; 0 asks nobody.
        port: Where a pod answers.

    """

    def __init__(
        self, store: Store, queue: WorkQueue[str], seconds: float, port: int = PROGRESS_PORT
    ) -> None:
        self._store = store
        self._queue = queue
        self._seconds = seconds
        self._port = port
        self._followed: dict[str, _Followed] = {}

    def latest(self, uid: str, pods: Sequence[PodView]) -> StageProgress | None:
        """Return the last progress of the pod that converts, if there is one.

        From now on that pod is asked.
        """
        pod = next((p for p in pods if is_converting(p) and not p.deleting), None)
        if pod is None or not pod.ip or not self._seconds:
            self._followed.pop(uid, None)
            return None
        followed = self._followed.get(uid)
        if followed is None or followed.pod_uid != pod.uid:
            followed = self._followed[uid] = _Followed(pod.uid, pod.ip)
        return followed.latest

    async def run(self) -> None:
        """Ask all pods that convert, round by round, until cancelled."""
        if not self._seconds:
            return
        async with aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False) as session:
            while True:
                await asyncio.sleep(self._seconds)
                await self.ask_all(session)

    async def ask_all(self, session: aiohttp.ClientSession) -> None:
        """Ask each pod once."""
        for uid in [uid for uid in self._followed if uid not in self._store]:
            del self._followed[uid]
        places = asyncio.Semaphore(_AT_A_TIME)
        reachable = [(uid, f) for uid, f in self._followed.items() if f.failures < _TRIES]
        await asyncio.gather(*(self._ask(session, places, uid, followed) for uid, followed in reachable))

    async def _ask(
        self, session: aiohttp.ClientSession, places: asyncio.Semaphore, uid: str, followed: _Followed
    ) -> None:
        async with places:
            try:
                url = f"http://{_host(followed.address)}:{self._port}{PROGRESS_PATH}"
                # The other side runs a stranger's code: no redirects, few bytes, only what the type allows.
                async with session.get(url, allow_redirects=False) as response:
                    answer = StageProgress.model_validate_json(await response.content.read(_LIMIT_BYTES))
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, ValidationError) as error:
                followed.failures += 1
                logger.debug("%s does not say how far it is: %s", followed.address, type(error).__name__)
                return
        followed.failures = 0
        if answer != followed.latest:
            followed.latest = answer
            self._queue.add(uid)


def _host(address: str) -> str:
    ip = ipaddress.ip_address(address)  # a kubelet writes nothing else there
    return f"[{ip}]" if ip.version == 6 else str(ip)
