"""The flags of ``convert`` as the options of a conversion.

Imported when a conversion runs: ``--help`` needs none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelconversion_api.fields.data import DEFAULT_CALIBRATION_SAMPLES, Validation
from modelconversion_api.methods import (
    DEFAULT_METHODS,
    Method,
    Target,
    artifact_base_name,
    methods_for_target,
)
from tflite_converter.cli import groups
from tflite_converter.cli.compilers import compilers_of
from tflite_converter.cli.data import data_files, decoding_of, detection_of
from tflite_converter.cli.given import Given
from tflite_converter.cli.training import training_of
from tflite_converter.conversion.options import Options
from tflite_converter.data.files import DataFiles
from tflite_converter.errors import UsageError
from tflite_converter.files.names import readable
from tflite_converter.measuring.gates import Gates
from tflite_converter.quantizing.recipe_files import recipes_of

_METHODS = {m.cli_name: m for m in Method}


def options_of(given: Given) -> Options:
    """Return the options of a conversion.

    Raises:
        UsageError: A value is out of its limits, or two do not fit together.

    """
    _refuse_other_encodings(given)
    source = given.build(groups.SOURCE)
    calibration = given.build_asked(groups.CALIBRATION)
    validation = given.build(groups.VALIDATION)
    decoding = decoding_of(given)
    target: Target | None = given.values.get("--target")
    limits = given.build(groups.LIMITS)
    seed = given.build(groups.DRAWS).seed
    methods, tuning = given.build(groups.METHODS), given.build(groups.TUNING)
    if tuning.tried and not tuning.budget_seconds:
        raise UsageError("--try without time", hint="raise --tuning-seconds, in which methods are tried")
    recipes, rules = recipes_of(methods.recipe)
    task, detection = validation.task, detection_of(given, validation)
    measured = data_files(
        given.build_asked(groups.VALIDATION_DATA),
        decoding,
        shared_column=True,
        task=task,
        detection=detection,
    )
    calibrating = data_files(calibration, decoding, shared_column=True, task=task, detection=detection)
    _check_accuracy_gate(validation, measured or calibrating)
    return Options(
        source=Path(source.uri),
        base_name=artifact_base_name(str(Path(source.uri).absolute())),
        methods=_methods(methods.method, target),
        source_format=source.format,
        expected_sha256=source.sha256,
        input_shapes={i.name: tuple(i.shape) for i in source.inputs},
        signature=source.signature,
        select_tensorflow_ops=source.select_tensorflow_ops,
        target=target,
        calibration=calibrating,
        require_data=methods.require_data,
        validation=measured,
        samples=DEFAULT_CALIBRATION_SAMPLES if calibration is None else calibration.samples,
        evaluation_samples=validation.samples,
        seed=seed,
        task=task,
        detection=detection,
        ignore_label=validation.ignore_label,
        gates=Gates.from_validation(validation),
        benchmark=given.build(groups.BENCHMARK),
        tuning_seconds=tuning.budget_seconds,
        objective=tuning.objective,
        tries=tuple(_METHODS[name.value] for name in tuning.tried),
        recipes=recipes,
        rules=rules,
        training=training_of(given, decoding),
        verify_on=given.values.get("--verify-on") or (),
        compilers=compilers_of(given),
        memory_limit_bytes=None if limits.memory_limit is None else limits.memory_limit << 20,
        step_timeout_seconds=limits.step_timeout,
    )


def _refuse_other_encodings(given: Given) -> None:
    """Refuse paths that the children would have to open and that no message to them can have in it."""
    flags = ["--model", "--output", "--distill", "--checkpoint"]
    if given.fields(groups.IMAGES) or given.fields(groups.AUDIO):
        flags += groups.IMAGES.asked_by
    paths = {"--output": ".", **{flag: str(given.values[flag]) for flag in flags if flag in given.values}}
    for flag, path in paths.items():
        try:
            str(Path(path).absolute()).encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{flag} {readable(path)}: the path is not UTF-8",
                hint="rename it, or give a symbolic link to it that has another name",
            ) from None


def _methods(names: Sequence[groups.MethodName], target: Target | None) -> tuple[Method, ...]:
    if target is not None:
        if names:
            raise UsageError("--method and --target exclude each other", hint="a target chooses the methods")
        return methods_for_target(target, has_calibration=True)
    chosen = [DEFAULT_METHODS if n.value == groups.ALL_METHODS else (_METHODS[n.value],) for n in names]
    return tuple(dict.fromkeys(method for some in chosen or [DEFAULT_METHODS] for method in some))


def _check_accuracy_gate(validation: Validation, data: DataFiles | None) -> None:
    """Refuse a gate on accuracy where the compared data has no labels; files have those of their folders."""
    labelled = data is not None and (data.labels or data.label_column or data.holds_files)
    gates = {
        "--max-accuracy-drop": validation.max_accuracy_drop,
        "--min-accuracy": validation.min_accuracy,
    }
    asked = [flag for flag, value in gates.items() if value is not None]
    if asked and not labelled:
        raise UsageError(
            f"{asked[0]} needs labels of the data that artifacts are compared on",
            hint="give --validation-labels (or --labels), or use --min-agreement",
        )
