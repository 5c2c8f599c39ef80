"""All stores as one: each is made once, whoever asks first."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.reasons import Stage
from tflite_converter.job.stores import places
from tflite_converter.job.stores.base import Limit, Store
from tflite_converter.job.stores.claims import ClaimStore


def test_threads_that_ask_at_once_share_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of a cloud takes its credentials out of the environment: a second one would find none."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "a").write_bytes(b"a")
    made = []

    def slowly(access: StorageAccess, stage: Stage) -> Store:
        made.append(stage)
        time.sleep(0.05)
        return ClaimStore(stage, {"CONVERSION_CLAIM_0": str(folder)})

    monkeypatch.setitem(places._STORES, "pvc://", slowly)
    store = places.Places(StorageAccess(), Stage.PUBLISH)
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda n: store.download("pvc://models/a", tmp_path / str(n), Limit(9)), range(8))
        )
    assert {item.size_bytes for item in found} == {1}
    assert made == [Stage.PUBLISH]
