"""What calibrates a model never measures it, and the report says which is which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.calibration import DataRole
from tflite_converter.arrays import Array
from tflite_converter.conversion.data import ConversionData, choose, hand_over
from tflite_converter.conversion.options import Options
from tflite_converter.data.files import DataFiles
from tflite_converter.errors import ConverterError
from tflite_converter.progress import ignore


def saved(path: Path, array: Array) -> Path:
    np.save(path, array)
    return path


def chosen(
    folder: Path,
    calibration: Array | None,
    validation: Array | None = None,
    *,
    labels: Array | None = None,
    method: Method = Method.FULL_INTEGER,
    **options: Any,
) -> ConversionData:
    folder.mkdir(exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    given_labels = None if labels is None else saved(folder / "y.npy", labels)
    return choose(
        Options(
            source=folder,
            base_name="m",
            methods=[method],
            calibration=None
            if calibration is None
            else DataFiles(saved(folder / "c.npy", calibration), given_labels),
            validation=None if validation is None else DataFiles(saved(folder / "v.npy", validation)),
            **options,
        ),
        folder / "work",
        ignore,
    )


def rows(count: int, start: int = 0) -> Array:
    """Samples of two features, no two alike."""
    made: Array = np.arange(2 * start, 2 * (start + count), dtype=np.float32).reshape(count, 2)
    return made


def contents(data: ConversionData) -> tuple[list[bytes], list[bytes]]:
    sets = (data.calibration, data.evaluation)
    first, second = ([row.tobytes() for row in s.arrays["data"]] if s else [] for s in sets)
    return first, second


def test_one_data_set_is_divided(tmp_path: Path) -> None:
    data = chosen(tmp_path, rows(200))
    calibrating, measuring = contents(data)
    assert (len(calibrating), len(measuring)) == (160, 40)
    assert not {*calibrating} & {*measuring}
    assert data.calibration_info is not None
    assert (data.calibration_info.role, data.calibration_info.samples) == (DataRole.CALIBRATION, 160)
    assert (data.evaluation_info.role, data.evaluation_info.samples) == (DataRole.HELD_OUT, 40)
    assert data.evaluation_info.available == data.calibration_info.available == 200
    assert data.evaluation_info.sha256 == data.calibration_info.sha256
    assert (data.overlap, data.warnings) == (0, [])


@given(
    values=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    samples=st.integers(1, 40),
    seed=st.integers(0, 9),
    has_labels=st.booleans(),
)
def test_no_content_does_both(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], samples: int, seed: int, *, has_labels: bool
) -> None:
    """Also where a data set holds the same sample many times."""
    array = np.array(values, np.float32)[:, None].repeat(3, axis=1)
    labels = np.array(values) % 2 if has_labels else None
    data = chosen(tmp_path_factory.mktemp("x"), array, labels=labels, samples=samples, seed=seed)
    calibrating, measuring = contents(data)
    assert calibrating
    assert measuring
    assert data.evaluation_info.samples == len(measuring)
    if data.evaluation_info.role is DataRole.HELD_OUT:
        assert not {*calibrating} & {*measuring}
        told = any("left out: the same calibrate" in w for w in data.warnings)
        assert told == (data.overlap > 0)
    else:
        assert data.evaluation_info.role is DataRole.CALIBRATION
        assert measuring == calibrating
        assert any("too little data to hold some out" in w for w in data.warnings)


def test_a_sample_that_occurs_twice_is_left_out_of_one_side(tmp_path: Path) -> None:
    array = rows(100)
    array[50:] = array[:50]
    data = chosen(tmp_path, array)
    calibrating, measuring = contents(data)
    assert not {*calibrating} & {*measuring}
    assert data.overlap == 20 - len(measuring) > 0
    assert (
        f"{data.overlap} evaluation samples were left out: the same calibrate the model as well"
        in data.warnings
    )


def test_samples_that_are_all_alike_have_none_to_spare(tmp_path: Path) -> None:
    data = chosen(tmp_path, np.ones((50, 2), np.float32))
    assert data.evaluation_info.role is DataRole.CALIBRATION
    assert data.overlap == 0


@pytest.mark.parametrize(("common", "left"), [(0, 30), (1, 29), (12, 18)])
def test_validation_data_lose_what_calibrates(tmp_path: Path, common: int, left: int) -> None:
    validation = np.concatenate([rows(common), rows(30 - common, 1000)])
    data = chosen(tmp_path, rows(120), validation, samples=120)
    calibrating, measuring = contents(data)
    assert len(measuring) == left
    assert not {*calibrating} & {*measuring}
    assert data.overlap == common
    assert data.evaluation_info.role is DataRole.VALIDATION
    assert (data.evaluation_info.samples, data.evaluation_info.available) == (left, 30)
    told = [w for w in data.warnings if "left out" in w]
    assert (
        told
        == {
            0: [],
            1: ["1 evaluation sample was left out: the same calibrate the model as well"],
            12: ["12 evaluation samples were left out: the same calibrate the model as well"],
        }[common]
    )


def test_validation_data_that_all_calibrate_are_kept_and_warned_of(tmp_path: Path) -> None:
    data = chosen(tmp_path, rows(120), rows(30), samples=120)
    assert data.evaluation_info.samples == 30
    assert data.overlap == 0
    assert any(w.startswith("all validation samples calibrate the model as well") for w in data.warnings)


def test_what_does_not_calibrate_loses_nothing(tmp_path: Path) -> None:
    data = chosen(tmp_path, rows(120), rows(30), method=Method.FLOAT16)
    assert (data.calibration, data.calibration_info) == (None, None)
    assert (data.evaluation_info.samples, data.overlap, data.warnings) == (30, 0, [])
    one = chosen(tmp_path / "one", rows(120), method=Method.FLOAT16)
    assert (one.evaluation_info.role, one.evaluation_info.samples) == (DataRole.HELD_OUT, 120)


def test_too_little_data_serves_twice_and_is_warned_of(tmp_path: Path) -> None:
    data = chosen(tmp_path, rows(9))
    assert data.evaluation_info.role is DataRole.CALIBRATION
    assert data.warnings == [
        "only 9 calibration samples: 100 or more is usual",
        "there is too little data to hold some out: artifacts are measured on what calibrates them",
    ]


def test_no_data_is_random_data_with_the_seed(tmp_path: Path) -> None:
    data = chosen(tmp_path, None, method=Method.FLOAT32, seed=7)
    assert (data.evaluation_info.role, data.evaluation_info.seed) == (DataRole.RANDOM, 7)
    assert data.evaluation is None
    assert "random inputs" in data.warnings[0]


def test_full_integer_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConverterError) as caught:
        chosen(tmp_path, None, rows(50))
    assert caught.value.reason is FailureReason.CALIBRATION_MISSING


def test_a_seed_repeats_its_draw_and_another_draws_others(tmp_path: Path) -> None:
    first, again, other = (
        contents(chosen(tmp_path, rows(300), samples=100, evaluation_samples=20, seed=seed))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert [len(part) for part in first] == [100, 20]
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_the_manifest_says_how_it_was_drawn(tmp_path: Path) -> None:
    labels = np.array([0] * 180 + [1] * 20)
    data = chosen(tmp_path, rows(200), labels=labels, samples=40, seed=3)
    info = data.calibration_info
    assert info is not None
    assert (info.seed, info.stratified, info.name, info.format) == (3, True, "c.npy", "npy")
    assert info.labels_sha256 is not None
    assert [(c.label, c.available) for c in data.classes] == [(0, 180), (1, 20)]
    assert sum(c.drawn for c in data.classes) == 40
    # A fifth of each class is put aside; of the rest, the rare one is used up.
    assert data.classes[1].drawn == 16


def test_handing_over_writes_the_files_and_keeps_no_sample(tmp_path: Path) -> None:
    data = chosen(tmp_path, rows(200), labels=np.arange(200) % 2)
    expected = data.evaluation
    assert expected is not None
    samples = hand_over(data, tmp_path / "work")
    assert (data.calibration, data.evaluation) == (None, None)
    assert np.load(tmp_path / "work" / "labels.npy").tolist() == np.asarray(expected.labels).tolist()
    assert samples.calibration_form is not None
    assert samples.calibration_form.arrays["data"].shape == (0, 2)
