"""``job-publish`` believes nothing that it finds in the output folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from modelconversion_api.fields.compilation import CompiledFile, EdgeTPUReport, EthosUReport, NPUReport
from modelconversion_api.fields.compilers import NPU, EthosU, EthosUAccelerator, Microcontroller, NPUVendor
from modelconversion_api.fields.data import Task
from modelconversion_api.fields.recipes import Algorithm, LayerRule, Precision, Recipe
from modelconversion_api.limits import MAX_REPORT_BYTES
from modelconversion_api.methods import Method, Objective
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.calibration import DataInfo, DataRole
from modelconversion_api.reports.conversion import (
    ArtifactReport,
    ConversionReport,
    Evaluation,
    MethodFailure,
    Provenance,
    RecommendedMethod,
)
from modelconversion_api.reports.graph import GraphReport
from modelconversion_api.reports.measurements import AgreementMetric, Fidelity
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Output, Source, SourceFormat, Tuning
from modelconversion_api.status import SourceInfo
from tflite_converter.errors import ConverterError
from tflite_converter.job.environment import FetchedFile, FetchRecord
from tflite_converter.job.publish import _files, checked_report

METHODS = (Method.DYNAMIC_RANGE, Method.FLOAT16)
REQUEST = ConversionRequest(
    base_name="gesture",
    source=Source(uri="s3://models/gesture.h5"),
    output=Output(uri="s3://models/out/"),
    methods=METHODS,
)
RECORD = FetchRecord(source=FetchedFile(path="source", name="gesture.h5", sha256="a" * 64, size_bytes=1000))
CONTENT = b"\x1c\x00\x00\x00TFL3" + bytes(92)


def artifact(method: Method, /, **changes: object) -> ArtifactReport:
    honest = ArtifactReport(
        method=method,
        file_name=method.file_name("gesture"),
        size_bytes=len(CONTENT),
        size_fraction=0.1,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        agreement=1.0,
        passed=True,
    )
    return honest.model_copy(update=changes)


def report(*artifacts: ArtifactReport, failed: Sequence[Method] = ()) -> ConversionReport:
    return ConversionReport(
        request=REQUEST.model_copy(update={"base_name": "forged"}),
        source=SourceInfo(sha256="f" * 64, size_bytes=1, format=SourceFormat.KERAS_H5),
        artifacts=artifacts or tuple(artifact(m) for m in METHODS),
        recommended=RecommendedMethod(method=Method.FLOAT16, reason="forged"),
        evaluation=Evaluation(
            data=DataInfo(role=DataRole.RANDOM, samples=1, seed=0),
            task=Task.CLASSIFICATION,
            agreement_metric=AgreementMetric.TOP1,
        ),
        failed_methods=tuple(
            MethodFailure(method=m, reason=FailureReason.QUANTIZATION_FAILED, message="no range")
            for m in failed
        ),
        provenance=Provenance(base_name="forged"),
    )


def write_report(output: Path, *artifacts: ArtifactReport, failed: Sequence[Method] = ()) -> None:
    (output / "report.json").write_text(report(*artifacts, failed=failed).model_dump_json(by_alias=True))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    for method in METHODS:
        (folder / method.file_name("gesture")).write_bytes(CONTENT)
    write_report(folder)
    return folder


def test_what_is_known_better_is_replaced(output: Path) -> None:
    found = checked_report(output, REQUEST, RECORD)
    assert found.request == REQUEST
    assert (found.source.sha256, found.source.size_bytes) == ("a" * 64, 1000)
    assert found.recommended is not None
    assert found.recommended.reason != "forged"
    assert found.provenance is not None
    assert found.provenance.base_name == "gesture"


def test_a_method_that_failed_leaves_no_file_and_is_told(output: Path) -> None:
    (output / "gesture_float16.tflite").unlink()
    write_report(output, artifact(Method.DYNAMIC_RANGE), failed=[Method.FLOAT16])
    found = checked_report(output, REQUEST, RECORD)
    assert [a.method for a in found.artifacts] == [Method.DYNAMIC_RANGE]
    assert [f.method for f in found.failed_methods] == [Method.FLOAT16]


RECIPES = (
    Recipe(name="float-head", layers=[LayerRule(match="head", precision=Precision.FLOAT32)]),
    Recipe(name="octav", base=Method.DYNAMIC_RANGE, algorithm=Algorithm.OCTAV),
)


def of_recipe(recipe: Recipe, **changes: object) -> ArtifactReport:
    own = {"recipe_name": recipe.name, "file_name": recipe.file_name("gesture")}
    return artifact(recipe.base, **(own | changes))


@pytest.fixture
def with_recipes(output: Path) -> Path:
    for recipe in RECIPES:
        (output / recipe.file_name("gesture")).write_bytes(CONTENT)
    return output


def test_recipes_are_published_beside_the_methods(with_recipes: Path) -> None:
    request = REQUEST.model_copy(update={"recipes": RECIPES})
    plain = [artifact(method) for method in METHODS]
    write_report(with_recipes, *plain, *map(of_recipe, RECIPES))
    found = checked_report(with_recipes, request, RECORD)
    assert [a.made_by for a in found.artifacts] == [*METHODS, "float-head", "octav"]
    assert found.artifacts[2].file_name == "gesture_recipe-float-head.tflite"


@pytest.mark.parametrize(
    "claimed",
    [
        [],
        [of_recipe(RECIPES[0])],
        [*map(of_recipe, RECIPES), of_recipe(RECIPES[1])],
        [of_recipe(RECIPES[0]), of_recipe(RECIPES[1], recipe_name="other")],
        [of_recipe(RECIPES[0]), of_recipe(RECIPES[1], recipe_name=None)],
        [of_recipe(RECIPES[0]), of_recipe(RECIPES[1], method=Method.FULL_INTEGER)],
        [of_recipe(RECIPES[0]), of_recipe(RECIPES[1], file_name="gesture_recipe-float-head.tflite")],
    ],
)
def test_no_other_recipe_is_published(with_recipes: Path, claimed: list[ArtifactReport]) -> None:
    request = REQUEST.model_copy(update={"recipes": RECIPES})
    write_report(with_recipes, *(artifact(method) for method in METHODS), *claimed)
    with pytest.raises(ConverterError) as caught:
        checked_report(with_recipes, request, RECORD)
    assert caught.value.reason is FailureReason.ARTIFACT_INVALID


def test_what_was_tried_is_published_where_it_was_asked_for(output: Path) -> None:
    """One file of the methods to try, and only of those."""
    tuning = Tuning(objective=Objective.MOST_FAITHFUL, tries=[Method.INT4, Method.WEIGHT_ONLY_INT8])
    request = REQUEST.model_copy(update={"tuning": tuning})
    (output / Method.INT4.file_name("gesture")).write_bytes(CONTENT)
    made = (*METHODS, Method.INT4)
    write_report(output, *(artifact(m) for m in made))
    found = checked_report(output, request, RECORD)
    assert [a.method for a in found.artifacts] == list(made)
    assert found.recommended is not None
    assert found.recommended.reason.startswith("most faithful of 3")
    with pytest.raises(ConverterError):  # nobody asked for it
        checked_report(output, REQUEST, RECORD)
    (output / Method.WEIGHT_ONLY_INT8.file_name("gesture")).write_bytes(CONTENT)
    write_report(output, *(artifact(m) for m in (*made, Method.WEIGHT_ONLY_INT8)))
    with pytest.raises(ConverterError):  # only the best one is published
        checked_report(output, request, RECORD)


def _failed_and_there(output: Path) -> None:
    write_report(output, artifact(Method.DYNAMIC_RANGE), failed=[Method.FLOAT16])


def _failed_twice(output: Path) -> None:
    (output / "gesture_float16.tflite").unlink()
    write_report(output, artifact(Method.DYNAMIC_RANGE), failed=[Method.FLOAT16, Method.FLOAT16])


def _nothing_left(output: Path) -> None:
    for method in METHODS:
        (output / method.file_name("gesture")).unlink()
    document = json.loads(report(failed=METHODS).model_dump_json(by_alias=True)) | {"artifacts": []}
    (output / "report.json").write_text(json.dumps(document))


def test_without_an_artifact_that_passed_nothing_is_recommended(output: Path) -> None:
    """The artifacts are published all the same: their figures help to choose other gates."""
    write_report(output, *(artifact(m, passed=False) for m in METHODS))
    assert checked_report(output, REQUEST, RECORD).recommended is None


def _link(output: Path) -> None:
    path = output / "gesture_float16.tflite"
    path.rename(output.parent / "elsewhere")
    path.symlink_to(output.parent / "elsewhere")


def _link_report(output: Path) -> None:
    path = output / "report.json"
    path.rename(output.parent / "elsewhere")
    path.symlink_to(output.parent / "elsewhere")


def _pipe(output: Path) -> None:
    (output / "gesture_float16.tflite").unlink()
    os.mkfifo(output / "gesture_float16.tflite")


def _folder(output: Path) -> None:
    (output / "gesture_float16.tflite").unlink()
    (output / "gesture_float16.tflite").mkdir()


def _no_tflite(output: Path) -> None:
    wrong = bytes(100)
    (output / "gesture_float16.tflite").write_bytes(wrong)
    forged = artifact(Method.FLOAT16, sha256=hashlib.sha256(wrong).hexdigest())
    write_report(output, artifact(Method.DYNAMIC_RANGE), forged)


def _giant_report(output: Path) -> None:
    with (output / "report.json").open("ab") as stream:
        stream.truncate(MAX_REPORT_BYTES + 1)


TAMPERINGS: dict[str, Callable[[Path], object]] = {
    "symbolic link": _link,
    "report is a link": _link_report,
    "named pipe": _pipe,
    "folder in a file's place": _folder,
    "other bytes": lambda o: (o / "gesture_float16.tflite").write_bytes(CONTENT + b"x"),
    "no TFLite file": _no_tflite,
    "extra file": lambda o: (o / "gesture_int8.tflite").write_bytes(CONTENT),
    "hidden folder": lambda o: (o / ".conversion-x").mkdir(),
    "missing artifact": lambda o: (o / "gesture_float16.tflite").unlink(),
    "missing report": lambda o: (o / "report.json").unlink(),
    "broken report": lambda o: (o / "report.json").write_text("{}"),
    "giant report": _giant_report,
    "artifact not listed": lambda o: write_report(o, artifact(Method.FLOAT16)),
    "listed twice": lambda o: write_report(o, *map(artifact, METHODS), artifact(Method.FLOAT16)),
    "wrong name": lambda o: write_report(
        o, artifact(Method.DYNAMIC_RANGE), artifact(Method.FLOAT16, file_name="other.tflite")
    ),
    "method swapped": lambda o: write_report(
        o, artifact(Method.DYNAMIC_RANGE), artifact(Method.FLOAT16, method=Method.FULL_INTEGER)
    ),
    "failed method with a file": _failed_and_there,
    "failed method that is listed as made": lambda o: write_report(o, failed=[Method.FLOAT16]),
    "failed method that was not asked for": lambda o: write_report(o, failed=[Method.FULL_INTEGER]),
    "failed twice": _failed_twice,
    "every method failed": _nothing_left,
    "a page of its own": lambda o: (o / "report.html").write_text("<script>alert(1)</script>"),
    "a signature of its own": lambda o: (o / "model.sig").write_text("{}"),
    "wrong size": lambda o: write_report(
        o, artifact(Method.DYNAMIC_RANGE), artifact(Method.FLOAT16, size_bytes=99)
    ),
}


@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_tampered_folders_are_refused(output: Path, tamper: Callable[[Path], object]) -> None:
    tamper(output)
    with pytest.raises(ConverterError) as caught:
        checked_report(output, REQUEST, RECORD)
    assert caught.value.reason is FailureReason.ARTIFACT_INVALID


@pytest.mark.parametrize(
    "lie",
    [
        '"operators": 1000000000000000000000000000000',
        '"operators": -9223372036854775809',
        '"snrDb": NaN',
        '"snrDb": 1e999',
        '"operators": 1e30',
        f'"operators": {"9" * 400}',
        '"snrDb": -Infinity',
        '"latency": {"medianMillis": 1e12, "p90Millis": 1, "runs": 1, "threads": 1}',
        '"latency": {"medianMillis": -1, "p90Millis": 1, "runs": 1, "threads": 1}',
    ],
)
def test_numbers_that_no_status_takes_are_refused(output: Path, lie: str) -> None:
    """The operator could not write them, and would try for ever."""
    path = output / "report.json"
    text = report().to_json()
    path.write_text(text)
    assert checked_report(output, REQUEST, RECORD)
    path.write_text(text.replace('"agreement":1.0', f'"agreement":1.0,{lie}', 1))
    with pytest.raises(ConverterError, match=r"report\.json does not follow the contract") as caught:
        checked_report(output, REQUEST, RECORD)
    assert caught.value.reason is FailureReason.ARTIFACT_INVALID


def test_an_error_may_be_as_large_as_a_model_s_outputs(output: Path) -> None:
    write_report(output, *(artifact(method, fidelity=Fidelity(mse=1e30, mae=1e15)) for method in METHODS))
    assert checked_report(output, REQUEST, RECORD).artifacts[0].fidelity == Fidelity(mse=1e30, mae=1e15)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConverterError) as caught:
        checked_report(tmp_path / "nope", REQUEST, RECORD)
    assert caught.value.reason is FailureReason.ARTIFACT_INVALID


def graph_report(name: str, content: bytes = b"{}") -> GraphReport:
    sha256 = hashlib.sha256(content).hexdigest()
    return GraphReport(file_name=name, size_bytes=len(content), sha256=sha256, operators=0)


def test_graphs_are_published_beside_their_artifacts(output: Path) -> None:
    (output / "gesture_float16.graph.json").write_bytes(b"{}")
    with_graph = artifact(Method.FLOAT16, graph=graph_report("gesture_float16.graph.json"))
    write_report(output, artifact(Method.DYNAMIC_RANGE), with_graph)
    found = _files(checked_report(output, REQUEST, RECORD))
    assert list(found) == [*(m.file_name("gesture") for m in METHODS), "gesture_float16.graph.json"]
    assert found["gesture_float16.graph.json"].sha256 == hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize(
    ("written", "listed", "content"),
    [
        ("gesture_float16.graph.json", "gesture_float16.graph.json", b"[]"),
        ("gesture_float16.graph.json", "gesture_float16.graph.json", b"{} "),
        ("other.graph.json", "gesture_float16.graph.json", b"{}"),
        ("other.graph.json", "other.graph.json", b"{}"),
        ("gesture_dynamic_range.graph.json", "gesture_dynamic_range.graph.json", b"{}"),
        ("gesture_float16.graph.json", None, b"{}"),
    ],
)
def test_no_other_graph_is_published(output: Path, written: str, listed: str | None, content: bytes) -> None:
    (output / written).write_bytes(content)
    graph = None if listed is None else graph_report(listed)
    write_report(output, artifact(Method.DYNAMIC_RANGE), artifact(Method.FLOAT16, graph=graph))
    with pytest.raises(ConverterError) as caught:
        checked_report(output, REQUEST, RECORD)
    assert caught.value.reason is FailureReason.ARTIFACT_INVALID


INT8 = REQUEST.model_copy(
    update={
        "methods": (Method.FULL_INTEGER,),
        "ethos_u": EthosU(accelerator=EthosUAccelerator.U55_128),
        "microcontroller": Microcontroller(),
    }
)


def compiled_file(name: str, content: bytes = CONTENT) -> CompiledFile:
    return CompiledFile(file_name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def vela(*files: CompiledFile) -> EthosUReport:
    return EthosUReport(
        passed=True,
        compiled=True,
        operators=1,
        mapped_operators=1,
        accelerator="ethos-u55-128",
        files=files,
    )


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    folder = tmp_path / "compiled"
    folder.mkdir()
    for name in ("gesture_int8.tflite", "gesture_int8_vela.tflite"):
        (folder / name).write_bytes(CONTENT)
    whole = vela(compiled_file("gesture_int8_vela.tflite"))
    write_report(folder, artifact(Method.FULL_INTEGER, ethos_u=whole))
    return folder


def test_compiled_files_are_published_with_the_file_that_they_were_made_of(compiled: Path) -> None:
    found = checked_report(compiled, INT8, RECORD)
    assert list(_files(found)) == ["gesture_int8.tflite", "gesture_int8_vela.tflite"]


NPUS = REQUEST.model_copy(
    update={
        "methods": (Method.FLOAT32, Method.DYNAMIC_RANGE),
        "npu": NPU(vendor=NPUVendor.QUALCOMM, socs=["SM8650", "SM8750"]),
    }
)


def chip(soc: str, *names: str) -> NPUReport:
    figures = {"passed": True, "compiled": True, "operators": 1, "mapped_operators": 1, "partitions": 1}
    files = tuple(map(compiled_file, names))
    return NPUReport(vendor=NPUVendor.QUALCOMM, soc=soc, files=files, **figures)


def test_files_for_npus_are_published_beside_each_file_that_is_compiled_for_them(tmp_path: Path) -> None:
    names = [f"gesture_float32_qualcomm_{soc}.tflite" for soc in ("SM8650", "SM8750")]
    for name in ("gesture_float32.tflite", "gesture_dynamic_range.tflite", *names):
        (tmp_path / name).write_bytes(CONTENT)
    chips = (chip("SM8650", names[0]), chip("SM8750", names[1]))
    plain = artifact(Method.DYNAMIC_RANGE)
    write_report(tmp_path, artifact(Method.FLOAT32, npu=chips), plain)
    found = _files(checked_report(tmp_path, NPUS, RECORD))
    assert set(found) == {"gesture_float32.tflite", "gesture_dynamic_range.tflite", *names}
    # a file of a method that is not compiled, and one for a chip that nobody asked for
    other = "gesture_dynamic_range_qualcomm_SM8650.tflite"
    (tmp_path / other).write_bytes(CONTENT)
    write_report(tmp_path, artifact(Method.FLOAT32, npu=chips), plain.changed(npu=(chip("SM8650", other),)))
    with pytest.raises(ConverterError, match="that was not asked for"):
        checked_report(tmp_path, NPUS, RECORD)
    write_report(tmp_path, artifact(Method.FLOAT32, npu=chips), plain)
    (tmp_path / other).unlink()
    fewer = NPUS.model_copy(update={"npu": NPU(vendor=NPUVendor.QUALCOMM, socs=["SM8650"])})
    with pytest.raises(ConverterError, match="that was not asked for"):
        checked_report(tmp_path, fewer, RECORD)


def _other_content(folder: Path) -> None:
    (folder / "gesture_int8_vela.tflite").write_bytes(CONTENT + b"x")


def _a_link(folder: Path) -> None:
    (folder / "gesture_int8_vela.tflite").unlink()
    (folder / "gesture_int8_vela.tflite").symlink_to("/etc/passwd")


def _not_listed(folder: Path) -> None:
    write_report(folder, artifact(Method.FULL_INTEGER, ethos_u=vela()))


def _another_name(folder: Path) -> None:
    (folder / "other.tflite").write_bytes(CONTENT)
    both = vela(compiled_file("other.tflite"))
    write_report(folder, artifact(Method.FULL_INTEGER, ethos_u=both))


def _the_artifact_itself(folder: Path) -> None:
    itself = vela(compiled_file("gesture_int8.tflite"))
    write_report(folder, artifact(Method.FULL_INTEGER, ethos_u=itself))


def _not_asked_for(folder: Path) -> None:
    name = "gesture_int8_edgetpu.tflite"
    (folder / name).write_bytes(CONTENT)
    figures = {"passed": True, "compiled": True, "operators": 1, "mapped_operators": 1}
    tpu = EdgeTPUReport.model_validate(figures | {"files": (compiled_file(name),)})
    whole = vela(compiled_file("gesture_int8_vela.tflite"))
    write_report(folder, artifact(Method.FULL_INTEGER, ethos_u=whole, edge_tpu=tpu))


@pytest.mark.parametrize(
    "change",
    [_other_content, _a_link, _not_listed, _another_name, _the_artifact_itself, _not_asked_for],
)
def test_no_other_compiled_file_is_published(compiled: Path, change: Callable[[Path], None]) -> None:
    change(compiled)
    with pytest.raises(ConverterError) as caught:
        checked_report(compiled, INT8, RECORD)
    assert caught.value.reason is FailureReason.ARTIFACT_INVALID
