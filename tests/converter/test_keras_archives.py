"""Archives of the time when .keras was new, made into what Keras 2 reads today."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import pytest

from tflite_converter.original.keras_archives import modernised

OLD = "_layer_checkpoint_dependencies"


def archive(path: Path, weights: Iterable[str], config: dict[str, Any] | None = None) -> Path:
    """A .keras file; names of weights that end in ``/`` are layers without any."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name in weights:
            if name.endswith("/"):
                file.create_group(name)
            else:
                file[name] = [float(len(name))]
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("metadata.json", json.dumps({"keras_version": "2.13.1"}))
        made.writestr("config.json", json.dumps(config or {}))
        made.writestr("model.weights.h5", stream.getvalue())
        made.writestr("assets/words.txt", "up down")
    return path


def numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def weights_of(path: Path) -> dict[str, float]:
    found: dict[str, float] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = float(item[0])

    with zipfile.ZipFile(path) as made, made.open("model.weights.h5") as stream, h5py.File(stream) as file:
        file.visititems(add)
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([f"{OLD}/dense/vars/0", f"{OLD}/dense_2/vars/0"], ["layers/dense/vars/0", "layers/dense_1/vars/0"]),
        # Twelve of one class: by number, not by letter.
        (
            [f"{OLD}/{numbered('dense', 2 * i)}/vars/0" for i in range(12)],
            [f"layers/{numbered('dense', i)}/vars/0" for i in range(12)],
        ),
        # Those without weights stand in the list once.
        (
            [f"{OLD}/mine/", f"{OLD}/mine_1/vars/0", f"{OLD}/mine_3/vars/0"],
            ["layers/mine_1/vars/0", "layers/mine_2/vars/0"],
        ),
        # A model in a model, also inside a layer.
        (
            [f"{OLD}/functional/{OLD}/conv2d_2/vars/0", f"{OLD}/functional/{OLD}/conv2d/vars/0"],
            ["layers/functional/layers/conv2d_1/vars/0", "layers/functional/layers/conv2d/vars/0"],
        ),
        (
            [f"{OLD}/time_distributed/layer/{OLD}/dense/vars/0"],
            ["layers/time_distributed/layer/layers/dense/vars/0"],
        ),
    ],
)
def test_layers_get_the_numbers_of_today(tmp_path: Path, old: list[str], new: list[str]) -> None:
    source, target = archive(tmp_path / "a.keras", old), tmp_path / "b.keras"
    assert modernised(source, target)
    expected = {
        after: float(len(name)) for name, after in zip((n for n in old if n[-1] != "/"), new, strict=True)
    }
    assert weights_of(target) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.keras", "b.keras"]
    with zipfile.ZipFile(target) as made:
        assert made.read("assets/words.txt") == b"up down"


def test_archives_of_today_stay_as_they_are(tmp_path: Path) -> None:
    config = {"module": "keras.src.engine.functional", "config": {"layers": [{"module": "keras.layers"}]}}
    source = archive(tmp_path / "a.keras", ["layers/dense/vars/0"], config)
    assert not modernised(source, tmp_path / "b.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["a.keras"]


def test_modules_that_moved_and_numbers_of_numpy(tmp_path: Path) -> None:
    value = {"class_name": "__numpy__", "config": {"value": 6.0, "dtype": "float32"}}
    config = {
        "module": "keras.engine.functional",
        "config": {"layers": [{"module": "mine.engine", "config": {"max_value": value}}]},
    }
    source, target = archive(tmp_path / "a.keras", ["layers/dense/vars/0"], config), tmp_path / "b.keras"
    assert modernised(source, target)
    with zipfile.ZipFile(target) as made:
        found = json.loads(made.read("config.json"))
    assert found["module"] == "keras.src.engine.functional"
    assert found["config"]["layers"] == [{"module": "mine.engine", "config": {"max_value": 6.0}}]
