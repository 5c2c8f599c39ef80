"""Finding an engine, and what is made of one that is missing, too old, broken or hostile.

The engines here are stand-ins of a few lines that run on this Python: each does one wrong thing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from conversion_engine import CONTRACT, wire
from conversion_engine.messages import Description, Request, Tensor
from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import SourceFormat
from support.paths import REPOSITORY
from tflite_converter.cli.main import app
from tflite_converter.engines import asking, finding, installing
from tflite_converter.engines.asking import Place
from tflite_converter.engines.finding import ENGINES, ENGINES_ENV
from tflite_converter.errors import ConverterError
from tflite_converter.isolation.parent import Watch

ONNX, PYTORCH, JAX = ENGINES
TENSOR = Tensor("x", "float32", (1, 3, 4, 5), (1, 4, 5, 3), (0, 2, 3, 1))
SOUND = Description((TENSOR,), (Tensor("y", "float32", (1, 2), (1, 2), (0, 1)),), "w", {})


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_first_place_that_has_one_wins(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    assert finding.find(ONNX, environment) is None
    users = executable(tmp_path / ".local/share/tflite-converter/engines/onnx/bin/python")
    assert finding.find(ONNX, environment) == users
    other = executable(tmp_path / "data/tflite-converter/engines/onnx/bin/python")
    environment["XDG_DATA_HOME"] = str(tmp_path / "data")
    assert finding.find(ONNX, environment) == other
    named = executable(tmp_path / "named/python")
    environment[ENGINES_ENV] = f" onnx={named} ,"
    assert finding.find(ONNX, environment) == named


def test_none_is_a_reason_with_the_command_that_adds_it(tmp_path: Path) -> None:
    with pytest.raises(ConverterError) as raised:
        finding.found(ONNX, {"HOME": str(tmp_path)})
    assert raised.value.reason is FailureReason.ENGINE_NOT_FOUND
    assert "tflite-converter engines --install onnx" in raised.value.hint


def test_tensorflow_is_an_engine_that_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)

    def listed() -> str:
        app(["engines"], standalone_mode=False)
        return capsys.readouterr().out.splitlines()[0]

    finding.refuse_without_tensorflow(SourceFormat.KERAS)
    assert listed().startswith("tensorflow: reads KerasH5, Keras, SavedModel, part of the converter (")
    assert f"keras {importlib.metadata.version('keras')}" in listed()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert listed().startswith("tensorflow: not installed. To read KerasH5, Keras, SavedModel models: use")
    with pytest.raises(ConverterError) as raised:
        finding.refuse_without_tensorflow(SourceFormat.KERAS)
    assert raised.value.reason is FailureReason.ENGINE_NOT_FOUND
    assert raised.value.cause == "Keras models are read by TensorFlow, and this Python has none"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("onnx=/no/such/python", FailureReason.ENGINE_NOT_FOUND),
        ("onnx", FailureReason.INVALID_REQUEST),
        ("caffe=/usr/bin/python3", FailureReason.INVALID_REQUEST),
        ("onnx=python3", FailureReason.INVALID_REQUEST),
    ],
)
def test_a_variable_that_says_nothing_useful(value: str, reason: FailureReason) -> None:
    with pytest.raises(ConverterError) as raised:
        finding.find(ONNX, {ENGINES_ENV: value})
    assert raised.value.reason is reason


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "run/work").mkdir(parents=True)
    return Place(tmp_path / "python", tmp_path / "run/work", Watch(20, None))


def stand_in(place: Place, program: str) -> None:
    """Make an engine of one module's body; ``write(text)`` leaves it as the task's answer."""
    package = place.python.parent / "packages/onnx_engine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import os, sys, json, pathlib, signal\n"
        "task, folder = sys.argv[1], pathlib.Path(sys.argv[2])\n"
        "def write(text, kind='result'):\n"
        "    (folder / f'{task}.{kind}.json').write_text(text)\n" + program
    )
    paths = f"{package.parent}:{REPOSITORY / 'converter_image'}"
    place.python.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} "$@"\n')
    place.python.chmod(0o755)


def failure(place: Place) -> ConverterError:
    with pytest.raises(ConverterError) as raised:
        asking.convert(ONNX, Request("/m.onnx"), place)
    return raised.value


def test_a_sound_answer_is_taken(place: Place) -> None:
    stand_in(place, f"write({wire.dumped(SOUND)!r})")
    assert asking.convert(ONNX, Request("/m.onnx"), place) == SOUND
    info, _ = (*asking.tensor_infos(SOUND.inputs), *asking.tensor_infos(SOUND.outputs))
    assert (info.shape, info.source_shape, info.axes) == ([1, 4, 5, 3], [1, 3, 4, 5], [0, 2, 3, 1])
    assert info.layout == "NHWC (the source has NCHW)"


OLD = json.dumps({"contract": CONTRACT + 1, "something": "new"})
REFUSAL = {"reason": "EngineTooOld", "stage": "Load", "cause": "version 0", "hint": None}


@pytest.mark.parametrize(
    ("program", "reason", "says"),
    [
        ("", "EngineFailed", "ended without an answer"),
        ("sys.exit(3)", "EngineFailed", "ended with exit code 3"),
        ("import nonesuch", "EngineFailed", "is not whole"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "EngineFailed", "died of SIGSEGV"),
        ("write('{}')", "EngineFailed", "cannot be read"),
        (f"write({OLD!r})", "EngineTooOld", f"speaks version {CONTRACT + 1}"),
        (f"write({json.dumps(REFUSAL)!r}, 'error'); sys.exit(1)", "EngineTooOld", "version 0"),
        (
            f"write({json.dumps(REFUSAL | {'reason': 'PolicyViolation'})!r}, 'error'); sys.exit(1)",
            "EngineFailed",
            "version 0",
        ),
        (
            f"write({json.dumps(REFUSAL | {'reason': 'UnsupportedOperation'})!r}, 'error'); sys.exit(1)",
            "UnsupportedOperation",
            "version 0",
        ),
        ("(folder / 'convert.result.json').symlink_to('/etc/hostname')", "EngineFailed", "without an answer"),
        ("os.mkfifo(folder / 'convert.result.json')", "EngineFailed", "without an answer"),
    ],
)
def test_every_end_of_an_engine_has_a_reason(place: Place, program: str, reason: str, says: str) -> None:
    stand_in(place, program)
    error = failure(place)
    assert (error.reason.value, says in error.cause) == (reason, True), error.cause
    assert error.hint


def test_an_engine_that_cannot_be_started(place: Place) -> None:
    place.python.write_text("not a program")
    place.python.chmod(0o755)
    assert failure(place).reason is FailureReason.ENGINE_FAILED


def changed(**fields: Any) -> Tensor:
    return Tensor(**{**{name: getattr(TENSOR, name) for name in TENSOR.__slots__}, **fields})


@pytest.mark.parametrize(
    "description",
    [
        Description((), SOUND.outputs, "", {}),
        Description(SOUND.inputs, (), "", {}),
        Description((TENSOR, TENSOR), SOUND.outputs, "", {}),
        Description(SOUND.inputs, SOUND.outputs, "", {}, group=0),
        *(
            Description((changed(**fields),), SOUND.outputs, "", {})
            for fields in (
                {"name": ""},
                {"name": "x" * 1000},
                {"dtype": "object"},
                {"dtype": "O8"},
                {"order": (0, 1, 2)},
                {"order": (0, 1, 2, 2)},
                {"order": (1, 0, 2, 3)},
                {"file_shape": (1, 4, 5)},
                {"file_shape": (1, 4, 5, -7)},
                {"file_shape": (1, 4, 5, 1 << 40)},
            )
        ),
    ],
)
def test_a_description_that_cannot_be_is_refused(place: Place, description: Description) -> None:
    stand_in(place, f"write({wire.dumped(description)!r})")
    error = failure(place)
    assert error.reason is FailureReason.ENGINE_FAILED
    assert "describes a model that cannot be" in error.cause


def test_what_one_task_leaves_is_no_code_of_the_next(place: Place) -> None:
    """HOME is the work folder, and Python would read modules of a user's site there."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = place.folder / f".local/lib/{version}/site-packages"
    site.mkdir(parents=True)
    (site / "usercustomize.py").write_text("import sys; sys.exit('planted')")
    (place.folder / "conversion_engine.py").write_text("raise SystemExit('planted')")
    stand_in(place, f"import conversion_engine; write({wire.dumped(SOUND)!r})")
    assert asking.convert(ONNX, Request("/m.onnx"), place) == SOUND


def test_installing_says_what_is_missing(tmp_path: Path) -> None:
    bare = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    with pytest.raises(ConverterError, match="uv") as raised:
        installing.install(ONNX, bare, lambda _text: None, Path(sys.executable))
    assert raised.value.reason is FailureReason.ENGINE_NOT_FOUND
    fake = executable(tmp_path / "uv")
    fake.write_text("#!/bin/sh\necho 'error: Failed to fetch: dns error' >&2\nexit 2\n")
    with pytest.raises(ConverterError, match="dns error"):
        installing.install(ONNX, bare, lambda _text: None, Path(sys.executable))
    assert finding.find(ONNX, bare) is None


def test_what_comes_from_an_index_of_its_own_is_not_taken_from_the_lock(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    folder = finding.users_place(environment) / "pytorch"
    (folder / "lib/python3.12/site-packages").mkdir(parents=True)
    executable(tmp_path / "uv").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    for whole_lock in (False, True):
        installing.install(
            PYTORCH, environment, lambda _text: None, Path(sys.executable), whole_lock=whole_lock
        )
    first, second, third = (tmp_path / "said").read_text().splitlines()
    assert "--locked" in first
    assert "--no-install-package torch" in first
    assert second.startswith("pip install")
    assert second.endswith("engines/pytorch/torch-cpu.txt")
    assert "--no-install-package" not in third
    packages = folder / "lib/python3.12/site-packages"
    assert {path.name for path in packages.iterdir()} == {
        *("conversion_engine", "engine_tools", "pytorch_engine"),
    }


def test_torch_is_of_one_version_everywhere() -> None:
    project = installing.project_of(PYTORCH)
    (pinned,) = [line for line in (project / "torch-cpu.txt").read_text().splitlines() if "==" in line]
    lock = tomllib.loads((project / "uv.lock").read_text())
    (locked,) = [package["version"] for package in lock["package"] if package["name"] == "torch"]
    assert pinned == f"torch=={locked}+cpu"
    assert "torch==" not in (project / "requirements.txt").read_text().replace("litert-torch==", "")
