"""Conversion reports for the tests of the HTML page: ordinary, meagre, huge and hostile."""

from __future__ import annotations

from collections.abc import Sequence

from modelconversion_api.fields.compilation import (
    CompiledFile,
    EdgeTPUReport,
    EthosUReport,
    MicrocontrollerReport,
    NPUReport,
    NPURun,
    OperatorFallback,
)
from modelconversion_api.fields.compilers import NPUVendor
from modelconversion_api.fields.data import Task
from modelconversion_api.methods import Method, Target
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.calibration import (
    CalibrationReport,
    ClassCount,
    DataInfo,
    DataRole,
    InputCoverage,
    Stability,
    UnstableTensor,
)
from modelconversion_api.reports.conversion import (
    Alternative,
    ArtifactReport,
    ConversionReport,
    Evaluation,
    MethodFailure,
    Provenance,
    RecommendedMethod,
)
from modelconversion_api.reports.measurements import (
    AccuracyMetric,
    AgreementMetric,
    Attempt,
    ClassResult,
    ConfidenceRecord,
    Confusion,
    Fidelity,
    Inventory,
    Latency,
    LayerError,
    OperatorCount,
    OutputRecord,
    Performance,
    Scores,
    TargetCheck,
    TensorDetail,
)
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import SourceInfo, TensorInfo

CLASSES = ("fist", "open palm", "pinch", "point", "wave")


def confusion(size: int, names: Sequence[str] = ()) -> Confusion:
    """Mostly right; a class is sometimes taken for the next one."""
    counts = [
        [180 - 7 * (i % 5) if i == j else (7 * (i % 5) if j == (i + 1) % size else 0) for j in range(size)]
        for i in range(size)
    ]
    return Confusion(
        against="Labels",
        labels=tuple(range(size)),
        names=tuple(names),
        counts=tuple(map(tuple, counts)),
    )


def layers(count: int) -> tuple[LayerError, ...]:
    """Errors that grow along the graph, with a few layers that stand out."""
    return tuple(
        LayerError(
            tensor=f"functional/block_{i // 6}/conv_{i % 6}/BiasAdd;functional/block_{i // 6}/relu",
            operator="CONV_2D" if i % 2 else "DEPTHWISE_CONV_2D",
            snr_db=(9.5 if i % 29 == 13 else 44.0 - 14.0 * i / count + 3.0 * ((i * 7) % 5 - 2)),
        )
        for i in range(count)
    )


def inventory(dtype: str, names: Sequence[str] = ("FULLY_CONNECTED", "SOFTMAX")) -> Inventory:
    """Operators of one dtype."""
    integer = dtype == "int8"
    scale, zero_point = (0.0312, -3) if integer else (None, None)
    return Inventory(
        inputs=(
            TensorDetail(name="features", shape=[-1, 46], dtype=dtype, scale=scale, zero_point=zero_point),
        ),
        outputs=(
            TensorDetail(
                name="gesture",
                shape=[-1, 5],
                dtype=dtype,
                scale=1 / 256 if integer else None,
                zero_point=-128 if integer else None,
            ),
        ),
        operators=tuple(
            OperatorCount(operator=name, dtype=dtype, count=4 - 3 * (i % 2)) for i, name in enumerate(names)
        ),
        tensor_dtypes={dtype: 12},
        constant_bytes={"int8": 15_000, "int32": 900} if integer else {dtype: 61_000},
        per_channel_tensors=4 if integer else 0,
    )


def compiled() -> dict[str, object]:
    """What every compiler says of a file, one of them that it failed."""
    fallback = OperatorFallback(operator="SOFTMAX", count=1, reason="the Edge TPU does not have it")
    file = CompiledFile(file_name="gesture_classifier_int8_vela.tflite", size_bytes=9000, sha256="e" * 64)
    return {
        "edge_tpu": EdgeTPUReport(
            passed=False,
            compiled=False,
            operators=9,
            mapped_operators=0,
            fallbacks=(fallback,),
            reason=FailureReason.COMPILATION_FAILED,
            message="internal error of the compiler",
            compiler="edgetpu_compiler 16.0",
        ),
        "ethos_u": EthosUReport(
            passed=True,
            compiled=True,
            operators=9,
            mapped_operators=8,
            fallbacks=(fallback,),
            files=(file,),
            accelerator="ethos-u55-128",
            sram_bytes=40_000,
            flash_bytes=12_000,
            inferences_per_second="2263.78",
        ),
        "npu": (
            NPUReport(
                passed=True,
                compiled=True,
                operators=9,
                mapped_operators=8,
                partitions=2,
                vendor=NPUVendor.INTEL,
                soc="CPU",
                fallbacks=(OperatorFallback(operator="UNPACK", count=1, reason="Intel does not take it"),),
                files=(
                    CompiledFile(
                        file_name="gesture_classifier_int8_intel_CPU.tflite", size_bytes=9, sha256="f" * 64
                    ),
                ),
                run=NPURun(runtime="r", samples=8, max_difference=0.0039, output_range=0.95, snr_db=48.0),
                compiler="LiteRT 2.3.0",
            ),
            NPUReport(
                passed=False,
                compiled=False,
                operators=9,
                mapped_operators=0,
                vendor=NPUVendor.INTEL,
                soc="LNL",
                reason=FailureReason.COMPILER_NOT_FOUND,
                message="bring the NPU compiler",
            ),
        ),
        "microcontroller": MicrocontrollerReport(
            passed=True,
            arena_bytes=50_000,
            activation_bytes=40_000,
            flash_bytes=22_000,
            operators=("AddFullyConnected", "AddSoftmax"),
        ),
    }


def artifact(
    method: Method, size_bytes: int, accuracy: float | None, *, passed: bool = True, seed: int = 0
) -> ArtifactReport:
    """A file with everything that can be measured on it."""
    latency = Latency(
        median_millis=0.0012 + seed / 4000,
        p90_millis=0.0015 + seed / 4000,
        p99_millis=0.0031,
        runs=50,
        warm_up_runs=5,
        threads=1,
        throughput_per_second=810_000.0,
    )
    integer = method is Method.FULL_INTEGER
    caution = "FULLY_CONNECTED (4x): weights have a scale for each output; quantize by tensor"
    problem = "5 operators run in float: FULLY_CONNECTED (4x), SOFTMAX; make it full integer"
    checks = (
        TargetCheck(target=Target.MOBILE, suitable=True),
        TargetCheck(
            target=Target.MICROCONTROLLER, suitable=integer, problems=(caution if integer else problem,)
        ),
        TargetCheck(target=Target.GPU, suitable=True),
    )
    return ArtifactReport(
        method=method,
        file_name=method.file_name("gesture_classifier"),
        size_bytes=size_bytes,
        size_fraction=size_bytes / 80_000,
        sha256=f"{seed + 1:064x}",
        agreement=0.9990 - seed / 300,
        accuracy=accuracy,
        snr_db=None if method is Method.FLOAT32 else 61.2 - 8 * seed,
        latency=latency,
        passed=passed,
        message=None if passed else "accuracy fell by 0.0240, more than 0.02",
        fidelity=Fidelity(
            top1=0.999 - seed / 300, top5=1.0, kl_divergence=2.1e-4 * (1 + seed), confidence_drift=0.0031
        ),
        scores=None
        if accuracy is None
        else Scores(metric=AccuracyMetric.TOP1, accuracy=accuracy, top5=1.0, macro_f1=accuracy - 0.002),
        worst_class=None
        if accuracy is None
        else ClassResult(
            label=3, name="point", samples=180, accuracy=0.87, original_accuracy=0.91, agreement=0.96
        ),
        confusion=None if accuracy is None else confusion(5, CLASSES),
        performance=Performance(
            single=latency,
            batch=Latency(
                median_millis=0.021,
                p90_millis=0.024,
                runs=50,
                threads=1,
                batch_size=32,
                throughput_per_second=1_520_000.0,
            ),
            load_millis=0.41,
            peak_memory_bytes=1_310_720,
        ),
        inventory=inventory("int8" if integer else "float32"),
        targets=checks,
        baseline=OutputRecord(
            samples=900,
            confidence=ConfidenceRecord(edges=(0.0, 0.5, 0.9, 1.0), counts=(20, 180, 700), mean=0.912),
        ),
        layers=layers(9) if integer else (),
        **(compiled() if integer else {}),
        recipe="int8 weights by channel, int8 activations, ranges by the 99.9th percentile"
        if integer
        else None,
        attempts=(
            Attempt(
                recipe="ranges by extremes",
                size_bytes=22_100,
                agreement=0.951,
                accuracy=0.918,
                snr_db=18.2,
                float_operators=0,
                passed=False,
                seconds=1.7,
                message="accuracy fell by 0.0290, more than 0.02",
            ),
            Attempt(
                recipe="ranges by the 99.9th percentile",
                size_bytes=22_400,
                agreement=0.989,
                accuracy=0.942,
                snr_db=29.0,
                float_operators=0,
                passed=True,
                chosen=True,
                seconds=1.9,
            ),
            Attempt(
                recipe="last layer in float",
                size_bytes=26_900,
                agreement=0.992,
                accuracy=0.943,
                snr_db=31.5,
                float_operators=1,
                passed=True,
                seconds=2.2,
            ),
        )
        if integer
        else (),
    )


def data(role: DataRole = DataRole.VALIDATION, **more: object) -> DataInfo:
    """A manifest."""
    values: dict[str, object] = {
        "role": role,
        "name": "test_features.npy",
        "format": "npy",
        "sha256": "c" * 64,
        "labels_sha256": "d" * 64,
        "samples": 1000,
        "available": 4500,
        "seed": 7,
        "stratified": True,
    }
    return DataInfo.model_validate(values | more)


def calibration(classes: int = 5) -> CalibrationReport:
    """Enough samples, but for two activations."""
    return CalibrationReport(
        data=data(
            DataRole.CALIBRATION, name="val_features.npy", samples=200, preprocessing={"scaling": "ZeroToOne"}
        ),
        classes=tuple(
            ClassCount(label=i, name=CLASSES[i] if classes == 5 else None, available=90 + i, drawn=40 - i % 3)
            for i in range(classes)
        ),
        inputs=(
            InputCoverage(
                name="features",
                minimum=-3.91,
                maximum=4.2,
                mean=0.013,
                deviation=0.99,
                constant_features=2,
                outside=0.0042,
            ),
        ),
        stability=Stability(
            threshold=0.2,
            tensors=12,
            unstable=2,
            worst=(
                UnstableTensor(tensor="functional/dense_1/Relu", difference=0.31),
                UnstableTensor(tensor="functional/dense_2/Relu", difference=0.22),
            ),
        ),
    )


def report(artifacts: Sequence[ArtifactReport] | None = None, **more: object) -> ConversionReport:
    """An ordinary report with four files."""
    if artifacts is None:
        artifacts = [
            artifact(Method.FLOAT32, 64_000, 0.9470),
            artifact(Method.DYNAMIC_RANGE, 19_900, 0.9450, seed=1),
            artifact(Method.FLOAT16, 34_000, 0.9470, seed=2),
            artifact(Method.FULL_INTEGER, 22_400, 0.9420, seed=3),
        ]
    values: dict[str, object] = {
        "source": SourceInfo(
            sha256="a" * 64,
            size_bytes=80_000,
            format=SourceFormat.KERAS_H5,
            inputs=[TensorInfo(name="features", shape=[-1, 46], dtype="float32")],
            outputs=[TensorInfo(name="gesture", shape=[-1, 5], dtype="float32")],
        ),
        "artifacts": tuple(artifacts),
        "recommended": RecommendedMethod(
            method=artifacts[-1].method,
            reason="smallest that agrees with the original: 98.9% agreement at 28% of its size",
            alternatives=(
                Alternative(
                    method=Method.DYNAMIC_RANGE,
                    trade="2.4KiB smaller, 0.3 points more accurate, 1.4 times slower",
                ),
                Alternative(method=Method.FLOAT16, trade="11.3KiB larger, 0.5 points more accurate"),
            ),
        ),
        "failed_methods": (),
        "calibration": calibration(),
        "evaluation": Evaluation(
            data=data(),
            task=Task.CLASSIFICATION,
            agreement_metric=AgreementMetric.TOP1,
            original_accuracy=0.9470,
            overlap=12,
        ),
        "provenance": Provenance(
            base_name="gesture_classifier",
            options={"max-accuracy-drop": "0.02", "threads": "1"},
            isolation=("no-network", "read-only-root", "no-new-privileges"),
            platform="x86_64, Intel Xeon, 2 cores",
        ),
        "warnings": ("only 12 of 46 features differ between the calibration samples of class wave",),
        "stage_seconds": {
            Stage.LOAD: 0.31,
            Stage.CONVERT: 6.2,
            Stage.CALIBRATE: 1.1,
            Stage.QUANTIZE: 2.4,
            Stage.EVALUATE: 3.7,
        },
        "tool_versions": {
            "tensorflow": "2.21.0",
            "keras": "3.12.0",
            "litert-quantizer": "0.11.0",
            "ai-edge-litert": "2.3.0",
        },
    }
    return ConversionReport.model_validate(values | more)


def huge() -> ConversionReport:
    """A thousand classes and three hundred layers."""
    files = [
        artifact(Method.FLOAT32, 14_200_000, 0.7190, passed=False),
        artifact(Method.FULL_INTEGER, 3_900_000, 0.6950, passed=False, seed=3),
    ]
    files[1] = files[1].model_copy(
        update={
            "confusion": confusion(
                1000, tuple(f"n{i:08d} a class with a long name {i}" for i in range(1000))
            ),
            "layers": layers(300),
            "inventory": inventory("int8", [f"OPERATOR_{i}" for i in range(28)]),
        }
    )
    return report(
        files,
        recommended=None,
        calibration=calibration(1000),
        failed_methods=(
            MethodFailure(
                method=Method.DYNAMIC_RANGE,
                reason=FailureReason.QUANTIZATION_FAILED,
                message="tensor conv1 has no int8 kernel. Hint: try another method; the log names the tensor",
            ),
        ),
    )


def meagre() -> ConversionReport:
    """One file, random inputs, no labels, no calibration, nothing optional."""
    bare = ArtifactReport(
        method=Method.DYNAMIC_RANGE,
        file_name="model_dynamic_range.tflite",
        size_bytes=19_900,
        size_fraction=0.24,
        sha256="b" * 64,
        agreement=0.97,
        snr_db=33.1,
        passed=True,
    )
    return ConversionReport(
        source=SourceInfo(sha256="a" * 64, size_bytes=80_000, format=SourceFormat.SAVED_MODEL),
        artifacts=(bare,),
        recommended=RecommendedMethod(method=Method.DYNAMIC_RANGE, reason="the only one"),
        evaluation=Evaluation(
            data=DataInfo(role=DataRole.RANDOM, samples=32, seed=0),
            task=Task.REGRESSION,
            agreement_metric=AgreementMetric.R2,
        ),
    )
