"""Creates ModelConversions, all at once or at a steady rate: a process of its own beside the operator's.

``python tests/benchmarks/operator_load.py --kubeconfig FILE --namespace NAME ... --count 1000 [--rate 20]``
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from async_api import AsyncApi  # noqa: E402 - it lies in the folder above

PARALLEL = 16
"""Requests under way at a time: what a patient user's script would have, not a flood."""


def conversion(namespace: str, number: int) -> dict[str, Any]:
    """A conversion by all four methods, as the README's."""
    storage = {"endpoint": "https://minio.storage.svc:9000", "secretRef": {"name": "s3-credentials"}}
    validation = {
        "uri": "s3://models/test_features.npy",
        "labelsUri": "s3://models/test_labels.npy",
        "maxAccuracyDrop": "0.02",
    }
    return {
        "apiVersion": "edgeml.dev/v1alpha1",
        "kind": "ModelConversion",
        "metadata": {"name": f"gesture-{number:05}", "namespace": namespace},
        "spec": {
            "source": {"uri": f"s3://models/gesture_{number:05}.h5"},
            "output": {"uri": f"s3://models/converted/gesture-{number:05}/"},
            "storage": storage,
            "methods": ["Float32", "DynamicRange", "Float16", "FullInteger"],
            "calibration": {
                "uri": "s3://models/val_features.npy",
                "labelsUri": "s3://models/val_labels.npy",
                "samples": 200,
            },
            "validation": validation,
        },
    }


async def create(kubeconfig: Path, namespaces: list[str], count: int, rate: float) -> None:
    """Create ``count`` conversions in turn over the namespaces; ``rate`` a second, or at once with 0."""
    async with AsyncApi(kubeconfig, PARALLEL) as api, asyncio.TaskGroup() as group:
        start = time.monotonic()
        for number in range(count):
            body = conversion(namespaces[number % len(namespaces)], number)
            group.create_task(_create(api, body))
            if rate:
                await asyncio.sleep(max(0.0, start + (number + 1) / rate - time.monotonic()))


async def _create(api: AsyncApi, body: dict[str, Any]) -> None:
    path = f"/apis/edgeml.dev/v1alpha1/namespaces/{body['metadata']['namespace']}/modelconversions"
    while (answer := await api.request("POST", path, body))[0] >= 429:
        await asyncio.sleep(0.5)
    if answer[0] != 201:
        raise RuntimeError(f"{body['metadata']['name']}: {answer[1].get('message')}")


def main() -> None:
    """Create them and end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--namespace", action="append", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0)
    options = parser.parse_args()
    asyncio.run(create(options.kubeconfig, options.namespace, options.count, options.rate))


if __name__ == "__main__":
    main()
