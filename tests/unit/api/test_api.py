"""The contract: what is accepted, what it resolves to, and that reports fit where they must."""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
import json
import math
import subprocess
import sys
import zlib
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

import modelconversion_api
from modelconversion_api.base import fraction
from modelconversion_api.crd import custom_resource_definitions
from modelconversion_api.fields.compilation import (
    CompilerFigures,
    EdgeTPUFigures,
    EthosUFigures,
    MicrocontrollerFigures,
    NPUFigures,
    OperatorFallback,
)
from modelconversion_api.fields.compilers import MOST_SOCS, NPU_METHODS, NPU_SOCS, NPUVendor
from modelconversion_api.fields.optimization import OptimizationStep, OptimizationSummary
from modelconversion_api.fields.verification import VerificationFigures, VerificationOutcome, Verifier
from modelconversion_api.methods import (
    TARGET_PLANS,
    Method,
    Target,
    artifact_base_name,
    methods_for_target,
)
from modelconversion_api.reasons import (
    FAILURES,
    PERMANENT_EXIT_CODES,
    FailureReason,
    Stage,
    exit_code,
    known_of,
    reason_of_exit_code,
    retry_can_help,
)
from modelconversion_api.reports.conversion import (
    TERMINATION_MESSAGE_LIMIT,
    Alternative,
    ArtifactSummary,
    ConversionSummary,
    MethodFailure,
    RecommendedMethod,
    StageFailure,
    StageResult,
)
from modelconversion_api.reports.measurements import Latency
from modelconversion_api.request import ConversionRequest, request_from_spec
from modelconversion_api.spec import ModelConversionSpec, SourceFormat
from modelconversion_api.status import ModelConversionStatus, SourceInfo, TensorInfo
from modelconversion_api.text import human_duration, human_size, printable
from modelconversion_api.triggers import TRIGGER_KIND
from support.operator.objects import spec, summary
from support.paths import REPOSITORY
from tflite_converter.targets.flowchart import FLOWCHART, Question, drawn


def test_the_committed_crd_is_what_the_types_say():
    committed = [yaml.safe_load(path.read_text()) for path in (REPOSITORY / "crds").glob("*.yaml")]
    by_name = {crd["metadata"]["name"]: crd for crd in custom_resource_definitions()}
    assert {crd["metadata"]["name"]: crd for crd in committed} == by_name, "run `make generated` and commit"


def described(schema: dict[str, Any], where: str) -> list[str]:
    """Fields of a schema that kubectl explain would show without a word."""
    missing = []
    for name, child in schema.get("properties", {}).items():
        path = f"{where}.{name}"
        if not child.get("description"):
            missing.append(path)
        missing += described(child, path) + described(child.get("items", {}), path)
    return missing


def test_kubectl_explain_has_words_for_every_field_a_user_sets_or_reads():
    for crd in custom_resource_definitions():
        schema = copy.deepcopy(crd["spec"]["versions"][-1]["schema"]["openAPIV3Schema"])
        for name in ("apiVersion", "kind", "metadata", "spec", "status"):
            schema["properties"].get(name, {}).setdefault("description", "as everywhere")
        if crd["spec"]["names"]["kind"] == TRIGGER_KIND:
            template = schema["properties"]["spec"]["properties"]["template"]["properties"]
            for name, part in template.items():
                assert "kubectl explain" in part["description"]
                template[name] = {"description": "its own words are elsewhere"}
        assert described(schema, "") == []


@pytest.mark.parametrize(
    ("target", "calibrated", "methods"),
    [
        ("Mobile", False, ["DynamicRange", "Float16"]),
        ("MobileAccuracyCritical", True, ["Float16", "Float32"]),
        ("EdgeTPU", True, ["FullInteger"]),
        ("RaspberryPi", True, ["FullInteger", "DynamicRange"]),
        ("RaspberryPi", False, ["DynamicRange"]),
        ("Cloud", False, ["Float32"]),
        ("Microcontroller", True, ["FullInteger"]),
        ("GPU", False, ["Float16"]),
    ],
)
def test_the_deployment_flowchart(target, calibrated, methods):
    assert [*methods_for_target(Target(target), has_calibration=calibrated)] == methods


def test_every_target_has_a_plan():
    assert set(TARGET_PLANS) == set(Target)
    assert all(plan.methods and plan.why for plan in TARGET_PLANS.values())


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://models/gesture_classifier.h5", "gesture_classifier"),
        ("s3://models/a/b/saved_model/", "saved_model"),
        ("models/net.v2.keras", "net.v2"),
        ("s3://m/net.tar.gz", "net"),
        ("s3://m/net.tflite", "net"),
        ("s3://m/net.StableHLO", "net"),
        ("s3://m/Ünï côdé.h5", "_n__c_d_"),
        ("s3://m/.h5", "model"),
    ],
)
def test_artifacts_are_named_after_the_source(uri, name):
    assert artifact_base_name(uri) == name


@given(st.text(max_size=300))
def test_any_source_gives_a_safe_name(source):
    request = ConversionRequest.model_validate(
        {
            "baseName": artifact_base_name(source),
            "source": {"uri": "s3://models/a"},
            "output": {"uri": "s3://models/b"},
            "methods": ["Float32"],
        }
    )
    assert "/" not in request.base_name


def test_file_names():
    assert [m.file_name("g") for m in Method] == [
        "g_float32.tflite",
        "g_dynamic_range.tflite",
        "g_float16.tflite",
        "g_int8.tflite",
        "g_int16_activations.tflite",
        "g_weight_only_int8.tflite",
        "g_int4.tflite",
    ]
    assert [m.cli_name for m in Method] == [
        *("float32", "dynamic_range", "float16", "full_integer"),
        *("int16_activations", "weight_only_int8", "int4"),
    ]


def test_every_reason_has_a_hint_and_every_exit_code_one_reason():
    assert set(FAILURES) == set(FailureReason)
    codes = [f.exit_code for f in FAILURES.values() if f.exit_code is not None]
    assert len(codes) == len(set(codes))
    assert all(10 <= code < 80 for code in codes)
    assert all(f.hint for f in FAILURES.values())
    for reason in FailureReason:
        if FAILURES[reason].exit_code is not None:
            assert reason_of_exit_code(exit_code(reason)) is reason
            assert retry_can_help(reason) == (exit_code(reason) not in PERMANENT_EXIT_CODES)


@pytest.mark.parametrize("uri", ["s3://models", "s3://models/", "http://x/y", "s3://m/../x", "s3://AB/x", ""])
def test_uris_that_are_no_objects_are_refused(uri):
    with pytest.raises(ValidationError):
        ModelConversionSpec.model_validate(spec(source={"uri": uri}))


def test_unknown_fields_are_refused():
    with pytest.raises(ValidationError, match="methds"):
        ModelConversionSpec.model_validate(spec(methds=["Float32"]))


FULL_SPEC = spec(
    source={
        "uri": "s3://models/net.zip",
        "format": "SavedModel",
        "inputs": [{"name": "image", "shape": [1, 96, 96, 3]}],
        "selectTensorFlowOps": True,
        "signature": "serving_default",
    },
    output={"uri": "s3://models/out/", "signing": {"secretRef": {"name": "signing-key"}}},
    calibration={"uri": "s3://models/images/", "images": {"scaling": "ZeroToOne", "resize": "Crop"}},
    validation={
        "uri": "s3://models/test.csv",
        "labelColumn": "label",
        "task": "Classification",
        "samples": 50,
        "maxAccuracyDrop": "0.02",
        "minAgreement": "0.98",
        "maxSizeBytes": 1000,
        "maxLatencyMillis": "12.5",
    },
    benchmark={"threads": 2, "runs": 10, "batchSize": 4},
    tuning={"budgetSeconds": 0},
)
"""Every field outside spec.job that a conversion can have, where they go together."""


def test_every_field_of_the_spec_reaches_the_job():
    wire = request_from_spec(ModelConversionSpec.model_validate(FULL_SPEC)).to_wire()
    for name in ("source", "calibration", "validation", "benchmark", "tuning"):
        assert FULL_SPEC[name].items() <= wire[name].items()
    assert wire["output"]["signing"] == {"secretRef": {"name": "signing-key", "key": "private.pem"}}


def test_the_request_carries_everything_but_the_secret():
    request = request_from_spec(ModelConversionSpec.model_validate(spec()))
    assert request.base_name == "gesture"
    assert request.methods == (Method.FLOAT32, Method.FULL_INTEGER)
    assert "secretRef" not in request.storage.to_wire()
    assert ConversionRequest.model_validate_json(request.model_dump_json(by_alias=True)) == request


def texts(limit: int) -> st.SearchStrategy[str]:
    """Texts up to the contract's limit, and such as take most bytes on the wire."""
    return st.text(max_size=limit) | st.sampled_from(["\0" * limit, "ü" * limit, "\U0001f600" * limit])


figures = st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0, 1)
times = st.floats(0, 1e9)
millis = st.none() | times
latencies = st.builds(
    lambda **fields: Latency(**fields),
    median_millis=times,
    p90_millis=times,
    p99_millis=millis,
    runs=st.integers(1, 10**4),
    warm_up_runs=st.integers(0, 100),
    threads=st.integers(1, 64),
    batch_size=st.integers(1, 1024),
    throughput_per_second=millis,
)


def compiled(text: str, count: int) -> dict[str, Any]:
    """What the compilers say of a file, at its longest."""
    reason = max(FailureReason, key=len)
    fallbacks = [OperatorFallback(operator="X" * 64, count=count + 1, reason=text or "none")] * 16
    common = {
        "passed": False,
        "compiled": False,
        "operators": count,
        "mapped_operators": count,
        "size_bytes": count + 1,
        "sha256": "c" * 64,
        "fallbacks": fallbacks,
        "reason": reason,
        "message": text,
    }
    return {
        "edge_tpu": EdgeTPUFigures(
            **common,
            predicted_operators=count,
            segments=16,
            subgraphs=count,
            on_chip_bytes=count,
            off_chip_bytes=count,
        ),
        "ethos_u": EthosUFigures(
            **common,
            sram_bytes=count,
            dram_bytes=count,
            flash_bytes=count,
            inferences_per_second="1" * 13 + ".11",
        ),
        "microcontroller": MicrocontrollerFigures(
            passed=False, arena_bytes=count, flash_bytes=count + 1, message=text
        ),
    }


def chips(text: str, count: int) -> tuple[NPUFigures, ...]:
    """The same of the most chips of one conversion, whose texts differ."""
    common = compiled(text, count)["ethos_u"]
    return tuple(
        NPUFigures(
            **{name: getattr(common, name) for name in CompilerFigures.model_fields}
            | {
                "sha256": hashlib.sha256(soc.encode()).hexdigest(),
                "size_bytes": count + place * 7919 + 1,
                "mapped_operators": count + place * 31,
            },
            vendor=NPUVendor.QUALCOMM,
            soc=soc,
            partitions=place * 13,
        )
        for place, soc in enumerate(NPU_SOCS[NPUVendor.QUALCOMM][:MOST_SOCS])
    )


def npus() -> st.SearchStrategy[tuple[NPUFigures, ...]]:
    return st.just(()) | st.builds(chips, texts(500), st.integers(0, 2**33))


def compilations() -> st.SearchStrategy[dict[str, Any]]:
    return st.just({}) | st.builds(compiled, texts(500), st.integers(0, 2**33))


verifications = st.lists(
    st.builds(
        VerificationFigures,
        name=st.sampled_from(Verifier),
        outcome=st.sampled_from(VerificationOutcome),
        agreement=st.none() | shares,
        accuracy=st.none() | shares,
        memory_bytes=st.none() | st.integers(0, 2**33),
        identical=st.none() | st.booleans(),
        fallback_operators=st.none() | st.integers(0, 2**20),
        message=st.none() | texts(512),
    ),
    max_size=len(Verifier),
    unique_by=lambda check: check.name,
).map(tuple)
optimizations = st.builds(
    OptimizationSummary,
    steps=st.just(tuple(OptimizationStep)),
    methods=st.sampled_from([(), tuple(Method)]),
    message=texts(256),
)


@st.composite
def summaries(draw: st.DrawFn) -> ConversionSummary:
    """Summaries with everything that may be in one; a method gave an artifact or failed."""
    made = draw(st.integers(0, len(Method)))
    base = draw(st.sampled_from(["gesture", "n" * 128]))
    artifacts = tuple(
        ArtifactSummary(
            method=method,
            file_name=method.file_name(base),
            size_bytes=draw(st.integers(1, 2**31)),
            size_fraction=draw(figures),
            sha256="b" * 64,
            agreement=draw(shares),
            accuracy=draw(st.none() | shares),
            snr_db=draw(st.none() | figures),
            latency=draw(st.none() | latencies),
            passed=draw(st.booleans()),
            message=draw(st.none() | texts(512)),
            verifications=draw(verifications),
            **(draw(compilations()) if method is Method.FULL_INTEGER else {}),
            npu=draw(npus()) if method in NPU_METHODS else (),
        )
        for method in list(Method)[len(Method) - made :]
    )
    recommended = RecommendedMethod(
        method=Method.FULL_INTEGER,
        reason=draw(texts(512)),
        alternatives=[Alternative(method=m, trade=draw(texts(256))) for m in Method],
    )
    failed = [
        MethodFailure(method=m, reason=draw(st.sampled_from(FailureReason)), message=draw(texts(2048)))
        for m in list(Method)[: len(Method) - made]
    ]
    tensor = TensorInfo(name=draw(texts(256)), shape=[2**31] * 16, dtype="float32")
    tensors = [tensor] * draw(st.integers(0, 64))
    source = SourceInfo(
        sha256="a" * 64, size_bytes=6 << 30, format=SourceFormat.SAVED_MODEL, inputs=tensors, outputs=tensors
    )
    return ConversionSummary(
        source=source,
        artifacts=artifacts,
        recommended=draw(st.none() | st.just(recommended)),
        failed_methods=draw(st.sampled_from([(), failed])),
        stage_seconds={stage: draw(figures) for stage in Stage},
        optimization=draw(st.none() | optimizations),
    )


def largest() -> ConversionSummary:
    """All that a conversion can have to say, in the figures and characters that take most bytes."""
    figure, text = -1.2345678901234567e-300, "\0" * 500
    others = (-math.sqrt(number) * 10.0 ** -(100 + 3 * number) for number in itertools.count(2))
    latency = Latency(
        median_millis=-figure,
        p90_millis=-figure,
        p99_millis=-figure,
        runs=10**4,
        warm_up_runs=100,
        threads=64,
        batch_size=1024,
        throughput_per_second=-figure,
    )
    artifacts = tuple(
        ArtifactSummary(
            method=method,
            file_name=method.file_name("n" * 128),
            size_bytes=2**31,
            size_fraction=figure,
            sha256=hashlib.sha256(method.encode()).hexdigest(),
            agreement=-next(others),
            accuracy=-next(others),
            snr_db=next(others),
            latency=latency.model_copy(update={"median_millis": -next(others), "p90_millis": -next(others)}),
            passed=False,
            message=text,
            verifications=tuple(
                VerificationFigures(
                    name=name,
                    outcome=VerificationOutcome.NOT_VERIFIED,
                    agreement=-next(others),
                    accuracy=-next(others),
                    memory_bytes=2**31 - number,
                    identical=False,
                    fallback_operators=2**20 - number,
                    message=text,
                )
                for name in Verifier
            ),
            **(compiled(text, 2**33) if method is Method.FULL_INTEGER else {}),
        )
        for number, method in enumerate(Method)
    )
    return ConversionSummary(
        source=SourceInfo(sha256="a" * 64, size_bytes=6 << 30, format=SourceFormat.SAVED_MODEL),
        artifacts=artifacts,
        recommended=RecommendedMethod(method=Method.DYNAMIC_RANGE, reason=text),
        stage_seconds=dict.fromkeys(Stage, figure),
        optimization=OptimizationSummary(
            steps=tuple(OptimizationStep), methods=tuple(Method), message=text[:256]
        ),
    )


def approx(value: Any) -> Any:
    """Equal in six digits, which the last resort keeps."""
    return None if value is None else pytest.approx(value, rel=1e-5, abs=0.0)


@example(largest())
@given(summaries())
def test_a_summary_always_fits_a_termination_message_with_all_that_programs_read(summary):
    text = StageResult(summary=summary).encode()
    assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
    result = StageResult.decode(text)
    assert result is not None
    found = result.summary
    assert found is not None
    for before, after in zip(summary.artifacts, found.artifacts, strict=True):
        assert (after.latency and after.latency.median_millis) == approx(
            before.latency and before.latency.median_millis
        )
        for mine, its in zip(before.verifications, after.verifications, strict=True):
            assert (its.name, its.outcome) == (mine.name, mine.outcome)
            assert (mine.message or "").startswith(its.message or "")
            kept = its.model_dump(exclude_none=True, exclude={"message"})
            if len(kept) > 2:  # its figures are the last that go, and go together
                figures = mine.model_dump(exclude_none=True, exclude={"message"})
                assert kept == {n: approx(v) if isinstance(v, float) else v for n, v in figures.items()}
        if before.npu and not after.npu:
            assert after.message == "npu: see report.json"
        else:
            assert (before.message or "").startswith(after.message or "")
            counts = {"message": None, "fallbacks": (), "sha256": None, "size_bytes": None}
            assert [chip.model_copy(update=counts) for chip in after.npu] == [
                chip.model_copy(update=counts) for chip in before.npu
            ]
        for mine, its in ((before.edge_tpu, after.edge_tpu), (before.ethos_u, after.ethos_u)):
            same = {"message": None, "fallbacks": (), "sha256": None}
            assert (its and its.model_copy(update=same)) == (mine and mine.model_copy(update=same))
        figures_of = ("size_fraction", "agreement", "accuracy", "snr_db")
        for name in figures_of:
            assert getattr(after, name) == approx(getattr(before, name))
        texts_aside = {
            name: getattr(before, name)
            for name in (
                "message",
                "latency",
                "edge_tpu",
                "ethos_u",
                "microcontroller",
                "npu",
                "verifications",
                *figures_of,
            )
        }
        assert after.model_copy(update=texts_aside) == before
    assert [(f.method, f.reason) for f in found.failed_methods] == [
        (f.method, f.reason) for f in summary.failed_methods
    ]
    assert (found.recommended and found.recommended.method) == (
        summary.recommended and summary.recommended.method
    )
    assert found.stage_seconds == approx(summary.stage_seconds)
    mine, its = summary.optimization, found.optimization
    if its is not None:  # the least of what is told: it goes first where nothing else can
        assert mine is not None
        assert (its.steps, its.methods) == (mine.steps, mine.methods)


def test_figures_of_the_most_chips_are_in_the_status_unless_nothing_else_is_left_to_cut():
    """Three files for eight chips each, as compilers give them: their figures are alike."""

    def chip(soc: str, size_bytes: int, message: str | None) -> NPUFigures:
        counts = {"operators": 31, "mapped_operators": 31 if message is None else 4, "partitions": 1}
        figures = {"passed": message is None, "compiled": True, "size_bytes": size_bytes, "sha256": "d" * 64}
        return NPUFigures(**counts, **figures, message=message, vendor=NPUVendor.QUALCOMM, soc=soc)

    socs = NPU_SOCS[NPUVendor.QUALCOMM][:MOST_SOCS]
    missed = "4 of 31 operators map to Qualcomm SM8750, less than 95%; behind stay CONV_2D (14x)"
    (plain,) = summary(without=(Method.FLOAT16,)).artifacts
    made = [
        plain.model_copy(
            update={
                "method": method,
                "npu": tuple(
                    chip(soc, 345_472 + 4096 * place, missed if place == 1 else None)
                    for place, soc in enumerate(socs)
                ),
            }
        )
        for method in NPU_METHODS
    ]
    whole = summary().model_copy(update={"artifacts": tuple(made)})
    text = StageResult(summary=whole).encode()
    assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
    found = StageResult.decode(text)
    assert found is not None
    assert found.summary is not None
    for artifact in found.summary.artifacts:
        assert [(one.soc, one.passed, one.mapped_operators, one.partitions) for one in artifact.npu] == [
            (soc, place != 1, 4 if place == 1 else 31, 1) for place, soc in enumerate(socs)
        ]


def test_a_usual_summary_is_not_shortened():
    usual = StageResult(summary=summary(without=(Method.FLOAT16,)))
    assert StageResult.decode(usual.encode()) == usual


@given(texts(2048))
def test_a_failure_always_fits_a_termination_message(message):
    failure = StageFailure(stage=Stage.LOAD, reason=FailureReason.UNREADABLE_MODEL, message=message)
    text = StageResult(failure=failure).encode()
    assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
    result = StageResult.decode(text)
    assert result is not None
    assert result.failure is not None
    assert printable(message).startswith(result.failure.message)
    assert len(result.failure.message) >= min(len(message), 90)


def test_a_result_of_a_newer_converter_is_read_as_far_as_it_is_known():
    newer = json.loads(StageResult(summary=summary(without=(Method.FLOAT16,))).encode())
    newer["audit"] = {"by": "somebody"}
    newer["summary"] |= {"carbonGrams": 3, "stageSeconds": {"Fetch": 0.2, "Verify": 9.0}}
    newer["summary"]["artifacts"][0] |= {"watts": 2.5, "minRuntimeVersion": ["2", "20"]}
    newer["summary"]["failedMethods"][0]["reason"] = "TooHot"
    result = StageResult.decode(json.dumps(newer))
    assert result is not None
    assert result.summary is not None
    assert result.summary.stage_seconds == {Stage.FETCH: 0.2}
    (artifact,) = result.summary.artifacts
    assert artifact == summary().artifacts[0]
    (failed,) = result.summary.failed_methods
    assert (str(failed.reason), failed.reason.is_known) == ("TooHot", False)


def test_an_unknown_stage_is_left_out_of_a_failure_that_is_shown():
    text = '{"version":"v1alpha1","failure":{"stage":"Verify","reason":"SourceNotFound","message":"m"}}'
    result = StageResult.decode(text)
    assert result is not None
    assert result.failure == StageFailure(reason=FailureReason.SOURCE_NOT_FOUND, message="m")


@pytest.mark.parametrize("word", ["x", "lower", "Two Words", "A" * 65, "Line\nBreak", "", 3, None])
def test_what_is_no_word_is_no_reason(word):
    with pytest.raises(ValueError, match="FailureReason"):
        FailureReason(word)


def test_a_reason_that_is_not_known_has_words_and_no_exit_code_of_its_own():
    unknown = FailureReason("TooHot")
    assert unknown == "TooHot"
    assert unknown not in set(FailureReason)
    assert FailureReason("SourceNotFound") is FailureReason.SOURCE_NOT_FOUND
    assert exit_code(unknown) == 70
    assert "upgrade" in known_of(unknown).hint


def test_a_packed_message_is_not_inflated_without_end():
    bomb = "z:" + base64.b85encode(zlib.compress(b" " * (1 << 24))).decode()
    assert StageResult.decode(bomb) is None
    assert StageResult.decode("z:not base 85 at all \N{SNOWMAN}") is None


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", '{"version": "v2"}', "Traceback (most recent call last)"]
)
def test_what_is_no_result_decodes_to_nothing(text):
    assert StageResult.decode(text) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_share_is_written_in_the_form_the_crd_accepts(value):
    ModelConversionSpec.model_validate(
        spec(validation={"uri": "s3://models/v.npy", "minAgreement": fraction(value)})
    )


def test_a_status_of_a_newer_operator_can_be_read():
    raw = {"phase": "Running", "somethingNew": {"a": 1}}
    assert ModelConversionStatus.model_validate(raw, extra="ignore").phase == "Running"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (24576, "24.0KiB"), (5 * 2**20, "5.0MiB"), (3 * 2**30, "3.0GiB")],
)
def test_human_sizes(size, text):
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0s"), (0.4, "0s"), (59.6, "1m0s"), (72, "1m12s"), (3700, "1h1m")]
)
def test_human_durations(seconds, text):
    assert human_duration(seconds) == text


def test_the_guide_has_the_flowchart_as_the_contract_draws_it():
    assert f"```\n{drawn()}\n```" in (REPOSITORY / "docs" / "TFLITE_CONVERSION_GUIDE.md").read_text()


def test_every_target_is_at_the_end_of_one_path_of_the_flowchart():
    def ends(question):
        for answer in question.answers:
            yield from ends(answer.leads_to) if isinstance(answer.leads_to, Question) else [answer.leads_to]

    assert sorted(ends(FLOWCHART)) == sorted(Target)


def test_the_troubleshooting_page_explains_every_reason_as_the_contract_does():
    guide = (REPOSITORY / "docs" / "TROUBLESHOOTING.md").read_text()
    for reason, failure in FAILURES.items():
        code = "-" if failure.exit_code is None else failure.exit_code
        again = "yes" if retry_can_help(reason) else "no"
        assert f"| `{reason}` | {code} | {again} | {failure.hint} |" in guide


def test_the_contract_s_roots_are_exported_and_cost_nothing_until_they_are_used():
    assert all(getattr(modelconversion_api, name) is not None for name in modelconversion_api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = modelconversion_api.Nothing
    program = "import modelconversion_api, sys; print('pydantic' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
