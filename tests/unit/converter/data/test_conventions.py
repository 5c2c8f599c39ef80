"""Data in parts for training and validation, and arrays and labels that go by the names of tutorials."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modelconversion_api.fields.data import Images, ImageScaling
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array
from tflite_converter.data.conventions import Pair, pair_of
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.data.sampling import draw
from tflite_converter.errors import ConverterError

PLAIN = Images(scaling=ImageScaling.NONE)
RANDOM = np.random.default_rng(0)
X, SMALL = RANDOM.random((30, 4, 4)).astype(np.float32), RANDOM.random((12, 4, 4)).astype(np.float32)
Y, SMALL_Y = np.arange(30) % 3, np.arange(12) % 3


def loaded(path: Path, stage: Stage, labels: Path | None = None) -> Dataset:
    images = PLAIN if path.is_dir() or path.suffix in (".zip", ".tar") else None
    return load_dataset(DataFiles(path, labels, images=images), stage, path.parent / "unpacked")


def labels_of(data: Dataset) -> list[object]:
    return [] if data.labels is None else data.labels.tolist()


def info(*shape: int, name: str = "x") -> TensorInfo:
    return TensorInfo(name=name, shape=[1, *shape], dtype="float32")


def bound(data: Dataset, folder: Path, *inputs: TensorInfo) -> dict[str, Array]:
    return data.save(folder, "handed").bind(inputs, Stage.CALIBRATE)


@pytest.mark.parametrize(
    ("names", "stage", "pair"),
    [
        ("x_train y_train x_test y_test", Stage.CALIBRATE, ("x_train", "y_train", "train")),
        ("x_train y_train x_test y_test", Stage.TRAIN, ("x_train", "y_train", "train")),
        ("x_train y_train x_test y_test", Stage.EVALUATE, ("x_test", "y_test", "test")),
        ("X_train Y_train X_val Y_val X_test", Stage.EVALUATE, ("X_val", "Y_val", "val")),
        ("X_train X_val y_val", Stage.CALIBRATE, ("X_train", None, "train")),
        ("train_images train_labels test_images", Stage.EVALUATE, ("test_images", None, "test")),
        ("x_test y_test", Stage.CALIBRATE, ("x_test", "y_test", "test")),
        ("xtrain ytrain xtest ytest", Stage.EVALUATE, ("xtest", "ytest", "test")),
        ("trainX trainY testX testY", Stage.CALIBRATE, ("trainX", "trainY", "train")),
        ("train-images train-labels", Stage.CALIBRATE, ("train-images", "train-labels", "train")),
        ("X y", Stage.CALIBRATE, ("X", "y", None)),
        ("arr_0 arr_1", Stage.CALIBRATE, ("arr_0", "arr_1", None)),
        ("arr_0 arr_1 arr_2", Stage.CALIBRATE, None),
        ("images labels", Stage.CALIBRATE, ("images", "labels", None)),
        ("target data", Stage.CALIBRATE, ("data", "target", None)),
        ("left right", Stage.CALIBRATE, None),
        ("x y z", Stage.CALIBRATE, None),
        ("x image", Stage.CALIBRATE, None),
        ("x_train audio", Stage.CALIBRATE, None),
    ],
)
def test_names_of_arrays(names: str, stage: Stage, pair: tuple[str, str, str] | None) -> None:
    assert pair_of(names.split(), stage) == (None if pair is None else Pair(*pair))


def test_the_arrays_of_a_tutorial(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=SMALL, y_test=SMALL_Y)
    calibration, validation = loaded(path, Stage.CALIBRATE), loaded(path, Stage.EVALUATE)
    np.testing.assert_array_equal(bound(calibration, tmp_path, info(4, 4, 1))["x"], X[..., None])
    np.testing.assert_array_equal(bound(validation, tmp_path, info(4, 4))["x"], SMALL)
    assert (labels_of(calibration), labels_of(validation)) == (Y.tolist(), SMALL_Y.tolist())
    assert "'x_train' was taken for the samples and 'y_train' for their labels" in calibration.notes[0]
    assert "to calibrate; left out: x_test, y_test" in calibration.notes[0]


def test_a_file_of_labels_wins_over_the_array_beside(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=X, y=Y)
    np.save(tmp_path / "y.npy", 2 - Y)
    assert labels_of(loaded(tmp_path / "a.npz", Stage.CALIBRATE, tmp_path / "y.npy")) == (2 - Y).tolist()


def test_labels_of_a_file_with_several_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=X, y_train=Y, x_test=SMALL, y_test=SMALL_Y)
    np.save(tmp_path / "x.npy", SMALL)
    assert labels_of(loaded(tmp_path / "x.npy", Stage.EVALUATE, tmp_path / "a.npz")) == SMALL_Y.tolist()


def test_a_model_with_two_inputs_takes_both_arrays_whatever_they_are_called(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=X[:, 0], y=Y[:, None])
    data = loaded(path, Stage.CALIBRATE)
    both = bound(data.take(np.array([4, 2])), tmp_path, info(4), info(1, name="y"))
    np.testing.assert_array_equal(both["x"], X[[4, 2], 0])
    assert both["y"].tolist() == [[1.0], [2.0]]
    assert bound(data, tmp_path, info(4, name="input"))["input"].tolist() == X[:, 0].tolist()


def photos(folder: Path, *places: str) -> Path:
    for number, place in enumerate(places):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 2), number, dtype=np.uint8)).save(folder / place)
    return folder


SPLIT = (
    *("train/cat/1.png", "train/dog/1.png", "train/dog/2.png", "val/dog/1.png", "val/dog/2.png"),
    *("test/1.png", "test/2.png"),
)


@pytest.mark.parametrize(
    ("stage", "split", "labels"), [(Stage.CALIBRATE, "train", [0, 1, 1]), (Stage.EVALUATE, "val", [1, 1])]
)
@pytest.mark.parametrize("packed", [False, True])
def test_folders_that_are_parts_are_no_classes(
    tmp_path: Path, stage: Stage, split: str, labels: list[int], packed: bool
) -> None:
    folder = path = photos(tmp_path / "photos", *SPLIT)
    if packed:
        path = tmp_path / "photos.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*.png")):
                archive.write(file, file.relative_to(tmp_path))
    data = loaded(path, stage)
    assert (labels_of(data), data.class_names) == (labels, ("cat", "dog"))
    assert {file.parent.parent.name for file in data.files} == {split}
    use = "to calibrate" if stage is Stage.CALIBRATE else "to measure on"
    assert f"{split!r} was taken {use}" in data.notes[0]
    command = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    run = subprocess.run(["/bin/sh", "-c", command], cwd=folder / split, capture_output=True, check=True)
    if not packed:
        assert (data.name, data.sha256) == (f"photos/{split}", run.stdout.decode().split()[0])


@pytest.mark.parametrize(
    ("places", "class_names"),
    [
        (["train/1.png", "bus/1.png", "car/1.png"], ("bus", "car", "train")),
        (["Train/a/1.png", "Validation/a/1.png"], ("a",)),
        (["training/a/1.png", "testing/b/1.png"], ("a", "b")),
        (["train/1.png", "train/2.png"], ()),
    ],
)
def test_what_is_a_part_and_what_a_class(
    tmp_path: Path, places: list[str], class_names: tuple[str, ...]
) -> None:
    assert loaded(photos(tmp_path / "x", *places), Stage.CALIBRATE).class_names == class_names


def test_parts_beside_other_folders_are_refused_with_the_folder_to_give(tmp_path: Path) -> None:
    folder = photos(tmp_path / "x", *SPLIT, "more/a/1.png")
    with pytest.raises(ConverterError, match="'more' beside them") as caught:
        loaded(folder, Stage.EVALUATE)
    assert (caught.value.reason, "x/val" in caught.value.hint) == (FailureReason.DATA_UNREADABLE, True)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_names_that_are_no_utf8_are_refused_and_shown(tmp_path: Path, kind: str) -> None:
    folder = photos(tmp_path / "x", "dog/1.png", "cat/1.png")
    if kind == "folder":
        (folder / "cat").rename(os.fsdecode(bytes(folder) + b"/xy\xe9"))
        path = folder
    elif kind == "tar":
        path = tmp_path / "x.tar"
        with tarfile.open(path, "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
            archive.add(folder / "dog", "dog")
            archive.add(folder / "cat", "xyé")
    else:
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(folder / "dog" / "1.png", "dog/1.png")
            archive.write(folder / "cat" / "1.png", "xy#/1.png")
        path.write_bytes(path.read_bytes().replace(b"xy#", b"xy\xe9"))
    with pytest.raises(ConverterError, match=r"xy\\xe9") as caught:
        loaded(path, Stage.CALIBRATE)
    assert caught.value.reason is FailureReason.DATA_UNREADABLE
    assert caught.value.message.isprintable()


def test_utf8_names_that_a_zip_does_not_declare_are_read(tmp_path: Path) -> None:
    folder = photos(tmp_path / "x", "dog/1.png", "cat/1.png")
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "dog" / "1.png", "dog/1.png")
        archive.write(folder / "cat" / "1.png", "k##tze/1.png")
    path.write_bytes(path.read_bytes().replace(b"k##tze", "kätze".encode()))
    assert loaded(path, Stage.CALIBRATE).class_names == ("dog", "kätze")


def test_a_folder_with_a_name_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    folder = photos(Path(os.fsdecode(bytes(tmp_path) + b"/xy\xe9")), "dog/1.png", "cat/1.png")
    assert loaded(folder, Stage.CALIBRATE).name == r"xy\xe9"


ONE_HOT = np.eye(3)[np.repeat([0, 1, 2], [84, 4, 2])]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, np.bool_])
def test_one_hot_rows_stratify_as_their_classes_do(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "x.npy", np.arange(90.0)[:, None])
    np.save(tmp_path / "y.npy", ONE_HOT.astype(dtype))
    data = loaded(tmp_path / "x.npy", Stage.CALIBRATE, tmp_path / "y.npy")
    classes = np.repeat([0, 1, 2], [84, 4, 2])
    assert data.classes is not None
    assert data.classes.tolist() == classes.tolist()
    drawn = data.take(draw(data.count, 6, 0, data.classes))
    assert drawn.classes is not None
    assert np.bincount(drawn.classes).tolist() == [2, 2, 2]
    assert data.labels is not None
    assert data.labels.tolist() == ONE_HOT.tolist()


def test_rows_of_several_classes_do_not_stratify(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((4, 1)))
    np.save(tmp_path / "y.npy", np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
    data = loaded(tmp_path / "x.npy", Stage.CALIBRATE, tmp_path / "y.npy")
    assert data.classes is None
    assert data.labels is not None
    assert data.labels.dtype == np.int64


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
@pytest.mark.parametrize(
    ("values", "are_classes"),
    [
        ([0.0, 1.0, 2.0] * 10, True),
        ([1.0, 2.0] * 15, True),
        ([0.0, 1.0] * 15, True),
        ([0.0, 3.0, 1.0] * 10, True),
        (list(range(15)) * 2, True),
        ([21.0, 23.0, 1000.0] * 10, False),
        ([20.0, 21.0, 22.0] * 10, False),
        ([0.0, 1.0, 2.5] * 10, False),
        ([0.0, -1.0, 1.0] * 10, False),
        ([float(i) for i in range(30)], False),
        ([1.0] * 30, False),
    ],
)
def test_whole_floats_are_classes_where_they_count_some(
    tmp_path: Path, suffix: str, values: list[float], are_classes: bool
) -> None:
    labels = tmp_path / f"y{suffix}"
    if suffix == ".npy":
        np.save(labels, np.array(values, dtype=np.float32))
    else:
        labels.write_text("".join(f"{float(value)}\n" for value in values))
    np.save(tmp_path / "x.npy", np.ones((30, 1)))
    data = loaded(tmp_path / "x.npy", Stage.CALIBRATE, labels)
    assert data.labels is not None
    assert data.labels.tolist() == values
    assert (data.labels.dtype == np.int64, data.classes is not None) == (are_classes, are_classes)


IMAGE = info(4, 4, 1)


@pytest.mark.parametrize(
    ("shape", "expected", "step"),
    [
        ((5, 4, 4), (4, 4, 1), "x: (4, 4) to (4, 4, 1)"),
        ((5, 4, 4, 1), (4, 4), "x: (4, 4, 1) to (4, 4)"),
        ((5, 4, 4), (1, 4, 4), "x: (4, 4) to (1, 4, 4)"),
        ((5, 1, 4, 4, 1), (4, 4, 1), "x: (1, 4, 4, 1) to (4, 4, 1)"),
        ((5, 16), (4, 4, 1), "x: (16,) to (4, 4, 1)"),
        ((5,), (1,), "x: () to (1,)"),
        ((5, 1), (), "x: (1,) to ()"),
        ((5, 4, 4), (-1, 4, 1), "x: (4, 4) to (-1, 4, 1)"),
        ((5, 7, 1, 3), (-1, 3), "x: (7, 1, 3) to (-1, 3)"),
        ((5, 4, 4, 1), (4, 4, 1), None),
    ],
)
def test_dimensions_of_size_one_come_and_go_and_are_recorded(
    tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...], step: str | None
) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    data = Dataset("x.npy", "0" * 64, "npy", {"data": values})
    sizes = [size for size in shape[1:] if size != 1] if -1 in expected else None
    plain = values.reshape(5, *(expected if sizes is None else _filled(expected, sizes)))
    np.testing.assert_array_equal(bound(data, tmp_path, info(*expected))["x"], plain)
    assert data.fitting([info(*expected)], Stage.CALIBRATE) == ({} if step is None else {"reshape": step})


def _filled(expected: tuple[int, ...], sizes: list[int]) -> list[int]:
    """The sizes of open dimensions are those of the samples, in order."""
    left = iter(sizes)
    return [1 if size == 1 else next(left) for size in expected]


@pytest.mark.parametrize(
    ("shape", "expected", "hint"),
    [
        ((5, 1, 4, 4), (4, 4, 1), "np.transpose(array, (0, 2, 3, 1))"),
        ((5, 3, 8, 6), (8, 6, 3), "np.transpose(array, (0, 2, 3, 1))"),
        ((5, 8, 6, 3), (3, 8, 6), "np.transpose(array, (0, 3, 1, 2))"),
        ((4, 4, 1), (4, 4, 1), "array[np.newaxis]"),
        ((5, 4, 4), (16,), "array.reshape(len(array), -1)"),
        ((5, 4, 1, 4), (4, 4, 1), "one row a sample"),
        ((5, 2, 8), (4, 4, 1), "one row a sample"),
    ],
)
def test_another_order_of_dimensions_is_never_guessed(
    tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...], hint: str
) -> None:
    data = Dataset("x.npy", "0" * 64, "npy", {"data": np.ones(shape, dtype=np.float32)})
    with pytest.raises(ConverterError) as caught:
        bound(data, tmp_path, info(*expected))
    assert (caught.value.reason, hint in caught.value.hint) == (FailureReason.DATA_SHAPE_MISMATCH, True)


@pytest.mark.parametrize(
    ("folders", "taken"),
    [
        ("training_set test_set", "training_set"),
        ("seg_train seg_test", "seg_train"),
        ("train2017 val2017", "train2017"),
        ("TrainImages TestImages", "TrainImages"),
        ("train test1", "train"),
    ],
)
def test_parts_whose_names_say_more(tmp_path: Path, folders: str, taken: str) -> None:
    """As data sets are published; a part may be wrapped in a folder of its own name."""
    for folder in folders.split():
        photos(tmp_path / "x" / folder / folder, "cat/1.png", "dog/1.png", "dog/2.png")
    data = loaded(tmp_path / "x", Stage.CALIBRATE)
    assert (data.class_names, labels_of(data)) == (("cat", "dog"), [0, 1, 1])
    assert f"{taken!r} was taken to calibrate" in data.notes[0]


@pytest.mark.parametrize("folders", ["bus_train old_train", "bus train", "test_tube train", "val_a"])
def test_classes_whose_names_have_such_words_in_them(tmp_path: Path, folders: str) -> None:
    names = folders.split()
    data = loaded(photos(tmp_path / "x", *(f"{name}/1.png" for name in names)), Stage.CALIBRATE)
    assert (data.class_names, data.notes) == (tuple(names), ())


@pytest.mark.parametrize("wrapping", ["photos", "archive/flowers"])
def test_a_folder_around_all_classes_is_no_class(tmp_path: Path, wrapping: str) -> None:
    photos(tmp_path / "x" / wrapping, "cat/1.png", "dog/1.png", "dog/2.png")
    data = loaded(tmp_path / "x", Stage.CALIBRATE)
    assert (data.class_names, labels_of(data)) == (("cat", "dog"), [0, 1, 1])
    assert f"lie in the folder {wrapping!r}" in data.notes[0]


def test_a_folder_around_the_parts_is_no_class(tmp_path: Path) -> None:
    photos(tmp_path / "x" / "flowers", *SPLIT)
    data = loaded(tmp_path / "x", Stage.CALIBRATE)
    assert (data.class_names, labels_of(data)) == (("cat", "dog"), [0, 1, 1])


def test_the_only_class_is_one(tmp_path: Path) -> None:
    assert loaded(photos(tmp_path / "x", "cat/1.png"), Stage.CALIBRATE).class_names == ("cat",)
