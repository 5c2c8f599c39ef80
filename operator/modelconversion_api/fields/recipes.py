"""Recipes of a user's own: a method, and what certain layers get instead; or a file of rules."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator

from ..base import ApiModel, Fraction, Millis, Sha256, cel
from ..methods import Method
from ..uris import DataUri

MAX_RECIPES: Final = 8
MAX_RULES_BYTES: Final = 256 << 10
"""Largest file of an ai-edge-quantizer recipe."""

RecipeName = Annotated[str, Field(max_length=32, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
"""Lower case, as no method's name is: it stands in the file's name and beside the methods' in tables."""

BASES: Final = (Method.DYNAMIC_RANGE, Method.WEIGHT_ONLY_INT8, Method.FULL_INTEGER, Method.INT16_ACTIVATIONS)
"""The methods that a recipe may change."""
_CALIBRATED: Final = [method.value for method in BASES if method.needs_calibration]


class Precision(StrEnum):
    """What a layer is computed in, or its weights are stored in."""

    FLOAT32 = "Float32"
    INT16 = "Int16"
    INT8 = "Int8"
    INT4 = "Int4"


class Algorithm(StrEnum):
    """How the scales of weights are found, or the weights themselves."""

    MIN_MAX = "MinMax"
    MSE = "MSE"
    OCTAV = "OCTAV"
    GPTQ = "GPTQ"


class LayerRule(ApiModel):
    """What certain layers get instead of what the base method gives them."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel("has(self.precision) || has(self.algorithm)", "set precision, algorithm, or both")
            ]
        }
    )

    # Compiled by the converter alone: 256 expressions would cost the operator a tenth of a second a look.
    match: Annotated[str, Field(min_length=1, max_length=256)]
    """Regular expression (Python's) that is searched for in the names of the layers' output tensors, as
    inspect --layers lists those of the float file, e.g. "head/". It must be found in one at least."""
    precision: Precision | None = None
    """Float32 leaves layers in float. Int16 and Int8 are the bits of activations, of FullInteger and
    Int16Activations; Int4 those of weights, of DynamicRange and WeightOnlyInt8."""
    algorithm: Algorithm | None = None
    """How the scales of these layers' weights are found, or with GPTQ, which is for dense layers and needs
    calibration data, their values."""

    @model_validator(mode="after")
    def _check_that_it_says_something(self) -> Self:
        if self.precision is None and self.algorithm is None:
            raise ValueError("set precision, algorithm, or both")
        return self


class RulesFile(ApiModel):
    """A recipe in ai-edge-quantizer's JSON."""

    uri: DataUri
    """Object key of the file: a list of rules with regex, operation, algorithm_key and op_config."""
    sha256: Sha256 | None = None
    """Expected SHA-256 digest of the file."""


class RecipeGates(ApiModel):
    """Gates of one recipe; one that is set here counts instead of validation's."""

    max_accuracy_drop: Fraction | None = None
    """Largest loss of accuracy against the original model that passes, e.g. "0.02" for two points."""
    min_accuracy: Fraction | None = None
    """Smallest accuracy that passes, whatever the original's is, e.g. "0.35"."""
    min_agreement: Fraction | None = None
    """Smallest agreement with the original model's outputs that passes, e.g. "0.98"."""
    max_size_bytes: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    """Largest artifact that passes, in bytes."""
    max_latency_millis: Millis | None = None
    """Longest median inference that passes, in milliseconds where the conversion runs, e.g. "12.5"."""


class Recipe(ApiModel):
    """A way of quantizing of the user's own, which gives one more artifact."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!has(self.rules) || !(has(self.algorithm)"
                    " || (has(self.layers) && self.layers.size() > 0))",
                    "rules say all that layers and algorithm would: set either rules or layers",
                ),
                cel(
                    "!has(self.layers) || self.base in ['FullInteger', 'Int16Activations']"
                    " || !self.layers.exists(l, has(l.precision) && l.precision == 'Int16')",
                    "Int16 is for activations, which are floats in DynamicRange and WeightOnlyInt8: take"
                    " base FullInteger or Int16Activations",
                ),
                cel(
                    "!has(self.layers) || !(self.base in ['FullInteger', 'Int16Activations'])"
                    " || !self.layers.exists(l, has(l.precision) && l.precision == 'Int4')",
                    "Int4 weights have kernels beside float activations only: take base DynamicRange or"
                    " WeightOnlyInt8",
                ),
            ]
        }
    )

    name: RecipeName
    """Name of the recipe and of its artifact: NAME_recipe-<name>.tflite."""
    base: Annotated[
        Method,
        Field(json_schema_extra={"enum": [method.value for method in BASES]}),
    ] = Method.FULL_INTEGER
    """The method that is changed. FullInteger and Int16Activations need calibration data."""
    algorithm: Algorithm | None = None
    """The same for all layers that bear it; MinMax unless given."""
    layers: Annotated[list[LayerRule], Field(max_length=32)] = Field(default_factory=list)
    """What certain layers get instead; of rules that match one layer, the last counts."""
    rules: RulesFile | None = None
    """Takes all rules from a file instead; base then says what kind of file it gives."""
    gates: RecipeGates | None = None
    """Gates of this artifact."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        # The CRD says so too; the command line reads recipes without an API server.
        if self.base not in BASES:
            raise ValueError(f"base must be one of {', '.join(BASES)}")
        if self.rules is not None and (self.layers or self.algorithm is not None):
            raise ValueError("rules say all that layers and algorithm would: set either rules or layers")
        has_integers = self.base.needs_calibration
        for layer in self.layers:
            if layer.precision is Precision.INT16 and not has_integers:
                raise ValueError("precision Int16 needs base FullInteger or Int16Activations")
            if layer.precision is Precision.INT4 and has_integers:
                raise ValueError("precision Int4 needs base DynamicRange or WeightOnlyInt8")
        return self

    @property
    def needs_calibration(self) -> bool:
        """Whether calibration samples are needed; a file of rules may need them as well."""
        algorithms = {self.algorithm, *(layer.algorithm for layer in self.layers)}
        return self.base.needs_calibration or Algorithm.GPTQ in algorithms

    @property
    def identity(self) -> OfMethod:
        """What its artifact, or its failure, is known by."""
        return OfMethod(method=self.base, recipe_name=self.name)

    def file_name(self, base_name: str) -> str:
        """Return the artifact's file name, e.g. ``gesture_recipe-float-head.tflite``."""
        return f"{base_name}_recipe-{self.name}.tflite"


CALIBRATION_FOR_RECIPES = cel(
    f"!has(self.recipes) || has(self.calibration) || !self.recipes.exists(r, r.base in {_CALIBRATED}"
    " || (has(r.algorithm) && r.algorithm == 'GPTQ')"
    " || (has(r.layers) && r.layers.exists(l, has(l.algorithm) && l.algorithm == 'GPTQ')))",
    "a recipe with base FullInteger or Int16Activations, or with GPTQ, needs calibration data: set"
    " calibration.uri",
)


class OfMethod(ApiModel):
    """What came of one method, or of one of the user's recipes, which begins with a method."""

    method: Method
    """How it was made; of a recipe, its base."""
    recipe_name: RecipeName | None = None
    """The recipe of spec.recipes; not given for the method itself."""

    @property
    def made_by(self) -> str:
        """The recipe's name, or the method's, e.g. ``FullInteger``."""
        return self.recipe_name or self.method.value

    @property
    def cli_name(self) -> str:
        """The recipe's name, or the method's as the command line has it, e.g. ``full_integer``."""
        return self.recipe_name or self.method.cli_name

    def is_as(self, other: OfMethod | None) -> bool:
        """Whether another one is of the same method and recipe."""
        return other is not None and self.made_by == other.made_by
