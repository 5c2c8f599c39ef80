"""Profiles: what a platform or a team calls, say, ``doorbell-v2``, and what a conversion makes of one.

A profile says how models are made ready for one kind of device. A conversion that names one brings the model
and the data, and may ask for more than the profile does, never for less.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, ValidationError, WithJsonSchema

from .base import ApiModel, Fraction, Millis, cel
from .fields.boards import MAX_BOARDS
from .fields.compilers import NPU, EdgeTPU, EthosU, Microcontroller
from .fields.data import Validation
from .fields.recipes import MAX_RECIPES
from .fields.scheduling import JobDefaults, JobSpec, Name
from .methods import Target
from .spec import Benchmark, Methods, ModelConversionSpec, ProfileKind, Recipes, Tuning, Verifiers

PROFILE_PLURALS: Final = {
    "ConversionProfile": "conversionprofiles",
    "ClusterConversionProfile": "clusterconversionprofiles",
}
"""What the API server calls each kind."""


class ProfileValidation(ApiModel):
    """Gates for each artifact; a conversion may set tighter ones."""

    max_accuracy_drop: Fraction | None = None
    """Gate: largest loss of accuracy against the original model that passes, e.g. "0.02" for two points. Each
    conversion then needs labelled data."""
    min_accuracy: Fraction | None = None
    """Gate: smallest accuracy that passes, whatever the original's is, e.g. "0.35". Each conversion then
    needs labelled data."""
    min_agreement: Fraction | None = None
    """Gate: smallest agreement with the original model's outputs that passes, e.g. "0.98"."""
    floor: Fraction | None = None
    """Least agreement of each output with the original's: a file below it is unusable, never recommended."""
    max_size_bytes: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    """Gate: largest artifact that passes, in bytes."""
    max_latency_millis: Millis | None = None
    """Gate: longest median inference that passes, in milliseconds where the conversion runs, e.g. "12.5"."""


class ConversionProfileSpec(ApiModel):
    """How models are made ready for one kind of device."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!(has(self.methods) && has(self.target))",
                    "set either methods (e.g. [DynamicRange]) or target (e.g. RaspberryPi), and not both",
                ),
            ]
        }
    )

    methods: Methods | None = None
    """Quantization methods, one artifact each."""
    target: Target | None = None
    """Where models will run; chooses the methods."""
    recipes: Recipes = Field(default_factory=list)
    """Recipes beside the methods, one artifact each; a conversion may add more."""
    tuning: Tuning = Tuning()
    """What is tried when a method of integers misses its gates, or to find the best file."""
    validation: ProfileValidation = ProfileValidation()
    """Gates for each artifact; a conversion may set tighter ones."""
    benchmark: Benchmark = Benchmark()
    """How latency is measured; a conversion may add boards."""
    edge_tpu: Annotated[EdgeTPU | None, Field(alias="edgeTPU")] = None
    """Compiles the full-integer file for Coral's Edge TPU."""
    ethos_u: Annotated[EthosU | None, Field(alias="ethosU")] = None
    """Compiles the full-integer file for an Arm Ethos-U."""
    microcontroller: Microcontroller | None = None
    """Writes the full-integer file as C source, and estimates its memory under TFLite Micro."""
    npu: NPU | None = None
    """Compiles the files of FullInteger, Float32 and Float16 that pass, for NPUs of one vendor."""
    verify_on: Verifiers = Field(default_factory=list)
    """Runtimes on which each file is run too; a conversion may add more."""
    job: JobDefaults = JobDefaults()
    """How Jobs run, where a conversion does not say it itself. Held against the operator's policy, as a
    conversion's own words are."""


class ResolvedProfile(ApiModel):
    """A profile as it was when a run began: the run keeps to it, whatever becomes of the profile."""

    kind: ProfileKind
    """ConversionProfile or ClusterConversionProfile."""
    name: Name
    """Its name."""
    uid: Annotated[str, Field(max_length=64)]
    """Its UID: one that was deleted and made again is another one."""
    generation: Annotated[int, Field(ge=0)]
    """Its generation; another one has another spec."""
    spec: Annotated[
        dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    ] = Field(default_factory=dict)
    """Its spec at that time."""


class ProfileConflictError(ValueError):
    """A conversion asks for something else, or for less, than its profile says; the text says where."""


_LOWER_IS_TIGHTER: Final = frozenset(
    {
        "max_accuracy_drop",
        "max_size_bytes",
        "max_latency_millis",
        "max_arena_bytes",
        "max_partitions",
    }
)
_HIGHER_IS_TIGHTER: Final = frozenset(
    {"min_accuracy", "min_agreement", "floor", "min_mapped_fraction", "min_delegated_fraction"}
)
_NAMED_LISTS: Final = {"recipes": MAX_RECIPES, "boards": MAX_BOARDS}
"""Lists of things with names, to which a conversion may add, and the most that they may have."""
_REQUIRED: Final = object()
_NOT_MERGED: Final = ("methods", "target", "verify_on", "validation", "job")


def under_profile(own: ModelConversionSpec, profile: ResolvedProfile | None) -> ModelConversionSpec:
    """Return what a conversion and its profile ask for together.

    What the conversion leaves out, or leaves at its default, is the profile's; what the profile leaves out is
    the conversion's. Of two gates the conversion's must be the tighter one; lists of boards, recipes and
    runtimes are joined; anything else that both say must be the same. ``spec.job`` is different: there the
    profile gives defaults. The result names no profile: it stands for itself.

    Raises:
        ProfileConflictError: The conversion asks for something else, or for less.
        ValidationError: The profile is not one that this version can read.

    """
    if profile is None:
        return own
    theirs = ConversionProfileSpec.model_validate(profile.spec, extra="ignore")
    names = [name for name in ConversionProfileSpec.model_fields if name not in _NOT_MERGED]
    # The API server fills defaults in: an object that is as by default was not spoken of.
    said = [name for name in names if getattr(theirs, name) != _default(theirs, name)]
    changes: dict[str, Any] = {
        name: _merged(getattr(own, name), getattr(theirs, name), name, f"spec.{_wire(own, name)}")
        for name in said
    }
    changes |= _methods(own, theirs)
    changes["verify_on"] = list(dict.fromkeys([*theirs.verify_on, *own.verify_on]))
    gates = Validation.model_validate(dict(theirs.validation))
    if gates != Validation() or own.validation is not None:
        changes["validation"] = _object(own.validation or Validation(), gates, "spec.validation")
    changes["job"] = _defaulted(own.job, theirs.job)
    for recipe in own.recipes:  # one of the conversion's own is no way round the gates
        if recipe.gates is not None:
            _object(recipe.gates, theirs.validation, f"spec.recipes[{recipe.name}].gates")
    return own.changed(**changes, profile_ref=None)


def readable_profile(profile: ResolvedProfile) -> str | None:
    """Say what of a profile this version cannot read; None where all is well."""
    try:
        ConversionProfileSpec.model_validate(profile.spec, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        return f"spec.{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return None


def _methods(own: ModelConversionSpec, theirs: ConversionProfileSpec) -> dict[str, Any]:
    if theirs.methods is None and theirs.target is None:
        if own.methods is None and own.target is None:
            raise ProfileConflictError(
                "neither the profile nor the conversion says what to make: set spec.methods or spec.target"
            )
        return {"methods": own.methods, "target": own.target}
    for name in ("methods", "target"):
        mine, given = getattr(own, name), getattr(theirs, name)
        same = mine == given or (name == "methods" and given and mine and set(mine) == set(given))
        if mine is not None and not same:
            raise ProfileConflictError(f"spec.{name}: the profile chooses the methods; leave it out")
    return {"methods": theirs.methods, "target": theirs.target}


def _merged(mine: Any, theirs: Any, name: str, place: str) -> Any:
    """Return what two values of one field make together."""
    if theirs is None or theirs == [] or theirs == mine:
        return mine
    if mine is None:
        return theirs
    if name in _LOWER_IS_TIGHTER | _HIGHER_IS_TIGHTER:
        is_looser = (float(mine) > float(theirs)) == (name in _LOWER_IS_TIGHTER)
        if is_looser and float(mine) != float(theirs):
            raise ProfileConflictError(
                f"{place}: {mine} is looser than the profile's {theirs}; leave it out, or tighten it"
            )
        return mine
    if name in _NAMED_LISTS:
        return _joined(mine, theirs, _NAMED_LISTS[name], place)
    if isinstance(mine, ApiModel):
        return _object(mine, theirs, place)
    raise ProfileConflictError(f"{place}: the profile says {_shown(theirs)}; leave it out")


def _object(mine: ApiModel, theirs: ApiModel, place: str) -> ApiModel:
    changes = {}
    for name in type(mine).model_fields:
        value, given = getattr(mine, name), getattr(theirs, name)
        # What is as by default was not chosen, or cannot be told from it.
        is_chosen = value != _default(mine, name)
        changes[name] = _merged(value, given, name, f"{place}.{_wire(mine, name)}") if is_chosen else given
    return mine.changed(**changes)


def _joined(mine: list[Any], theirs: list[Any], most: int, place: str) -> list[Any]:
    given = {item.name: item for item in theirs}
    added = []
    for item in mine:
        if item.name not in given:
            added.append(item)
        else:
            given[item.name] = _object(item, given[item.name], f"{place}[{item.name}]")
    if len(given) + len(added) > most:
        raise ProfileConflictError(
            f"{place}: with the profile's {len(given)} there would be {len(given) + len(added)}, and {most}"
            " is the limit"
        )
    return [*given.values(), *added]


def _defaulted(mine: JobSpec, theirs: JobDefaults) -> JobSpec:
    left_out = [name for name in JobDefaults.model_fields if getattr(mine, name) == _default(mine, name)]
    return mine.model_copy(update={name: getattr(theirs, name) for name in left_out})


def _default(model: ApiModel, name: str) -> Any:
    """Return a field's default; of one that must be given, something that no value equals."""
    info = type(model).model_fields[name]
    return _REQUIRED if info.is_required() else info.get_default(call_default_factory=True)


def _wire(model: ApiModel, name: str) -> str:
    return type(model).model_fields[name].alias or name


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return "something else" if isinstance(value, ApiModel) else str(value)
