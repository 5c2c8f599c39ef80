"""What a user asks of the compilers that take the full-integer file on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator

from ..base import ApiModel, Fraction, cel
from ..methods import Method

EDGE_TPU_TIMEOUT_SECONDS: Final = 180
"""The Edge TPU compiler's own limit."""
ETHOS_U_TIMEOUT_SECONDS: Final = 600
MOST_SEGMENTS: Final = 16
NPU_TIMEOUT_SECONDS: Final = 600
MOST_SOCS: Final = 8
"""Chips of one conversion: each is a line for each file in the Job's termination message."""


class EdgeTPU(ApiModel):
    """Compile the full-integer file for Coral's Edge TPU, into NAME_int8_edgetpu.tflite beside it."""

    compile: bool = True
    """Run the Edge TPU compiler, which only the edgetpu variant of the converter image has. False predicts
    from its documented limits which operators would map, and compiles nothing."""
    min_runtime_version: Annotated[int, Field(ge=10, le=14)] | None = None
    """Lowest Edge TPU runtime that has to run the file; the compiler's own default is the newest, 14. Older
    ones map fewer operators."""
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = EDGE_TPU_TIMEOUT_SECONDS
    """Seconds that one run of the compiler may take."""
    search_delegate: bool = False
    """Look for the longest part that compiles where the compiler fails on the whole graph."""
    num_segments: Annotated[int, Field(ge=1, le=MOST_SEGMENTS)] = 1
    """Number of files that the model is cut into, one for each Edge TPU of a pipeline."""
    min_mapped_fraction: Fraction | None = None
    """Gate: smallest share of the file's operators that runs on the accelerator, e.g. "0.95"."""


class EthosUAccelerator(StrEnum):
    """An Arm Ethos-U core and its multiply-accumulate units."""

    U55_32 = "ethos-u55-32"
    U55_64 = "ethos-u55-64"
    U55_128 = "ethos-u55-128"
    U55_256 = "ethos-u55-256"
    U65_256 = "ethos-u65-256"
    U65_512 = "ethos-u65-512"
    U85_128 = "ethos-u85-128"
    U85_256 = "ethos-u85-256"
    U85_512 = "ethos-u85-512"
    U85_1024 = "ethos-u85-1024"
    U85_2048 = "ethos-u85-2048"


class EthosUMemoryMode(StrEnum):
    """Where weights and activations lie, as Vela's own configuration file has it."""

    SRAM_ONLY = "Sram_Only"
    SHARED_SRAM = "Shared_Sram"
    DEDICATED_SRAM = "Dedicated_Sram"
    DEDICATED_SRAM_256KB = "Dedicated_Sram_256KB"
    DEDICATED_SRAM_384KB = "Dedicated_Sram_384KB"
    DEDICATED_SRAM_512KB = "Dedicated_Sram_512KB"


class EthosUSystem(StrEnum):
    """Clock and memories around the core, as Vela's own configuration file has them."""

    U55_DEEP_EMBEDDED = "Ethos_U55_Deep_Embedded"
    U55_HIGH_END_EMBEDDED = "Ethos_U55_High_End_Embedded"
    U65_EMBEDDED = "Ethos_U65_Embedded"
    U65_MID_END = "Ethos_U65_Mid_End"
    U65_HIGH_END = "Ethos_U65_High_End"
    U65_CLIENT_SERVER = "Ethos_U65_Client_Server"
    U85_FLASH_LOW = "Ethos_U85_SYS_Flash_Low"
    U85_FLASH_HIGH = "Ethos_U85_SYS_Flash_High"
    U85_DRAM_LOW = "Ethos_U85_SYS_DRAM_Low"
    U85_DRAM_MID = "Ethos_U85_SYS_DRAM_Mid"
    U85_DRAM_HIGH = "Ethos_U85_SYS_DRAM_High"


class EthosUOptimise(StrEnum):
    """What Vela aims at."""

    PERFORMANCE = "Performance"
    SIZE = "Size"


_ANOTHER_CORE: Final = (
    "systemConfig is another core's: choose one that begins like accelerator, e.g."
    " Ethos_U55_High_End_Embedded for ethos-u55-128"
)


class EthosU(ApiModel):
    """Compile the full-integer file for an Arm Ethos-U with Vela, into NAME_int8_vela.tflite beside it."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!has(self.systemConfig) || self.systemConfig.lowerAscii().replace('_', '-')"
                    ".startsWith(self.accelerator.substring(0, 9))",
                    _ANOTHER_CORE,
                )
            ]
        }
    )

    accelerator: EthosUAccelerator
    """The core, e.g. ethos-u55-128."""
    system_config: EthosUSystem | None = None
    """Clock and memories that the figures are estimated for; Vela's default for the core otherwise."""
    memory_mode: EthosUMemoryMode | None = None
    """Where weights and activations lie; Vela's default for the core otherwise."""
    optimise: EthosUOptimise = EthosUOptimise.PERFORMANCE
    """Speed, or the least memory."""
    arena_cache_bytes: Annotated[int, Field(ge=1, le=1 << 32)] | None = None
    """Memory that the core may use as its cache, in bytes, where it is less than the memory mode's."""
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = ETHOS_U_TIMEOUT_SECONDS
    """Seconds that Vela may take."""
    min_mapped_fraction: Fraction | None = None
    """Gate: smallest share of the file's operators that runs on the accelerator, e.g. "0.95"."""

    @model_validator(mode="after")
    def _check_system(self) -> Self:
        if self.system_config is not None and not system_fits(self.accelerator, self.system_config):
            raise ValueError(_ANOTHER_CORE)
        return self


def system_fits(accelerator: EthosUAccelerator, system: EthosUSystem) -> bool:
    """Whether a system configuration is one of the core's own."""
    return system.value.lower().replace("_", "-").startswith(accelerator.value[: len("ethos-u55")])


class DenseWeights(StrEnum):
    """How many scales the weights of FULLY_CONNECTED have; convolutions have one for each channel always."""

    PER_CHANNEL = "PerChannel"
    PER_TENSOR = "PerTensor"


class Microcontroller(ApiModel):
    """Write the full-integer file as C source for TFLite Micro, and estimate the memory it takes there."""

    c_array: bool = True
    """Write NAME_int8.cc and NAME_int8.h beside the file: its bytes, arena size and operators."""
    dense_weights: DenseWeights = DenseWeights.PER_CHANNEL
    """PerTensor for a TFLite Micro from before October 2024, which refuses FULLY_CONNECTED by channel."""
    max_arena_bytes: Annotated[int, Field(ge=1, le=1 << 40)] | None = None
    """Gate: largest estimate of the tensor arena, in bytes."""


class NPUVendor(StrEnum):
    """Who makes an NPU, and the compiler for it."""

    QUALCOMM = "Qualcomm"
    INTEL = "Intel"
    MEDIATEK = "MediaTek"
    GOOGLE_TENSOR = "GoogleTensor"
    SAMSUNG = "Samsung"


CPU_SOC: Final = "CPU"
"""Intel's route without an NPU: OpenVINO's own plugin for CPUs, which runs where the converter does."""
NPU_SOCS: Final[dict[NPUVendor, tuple[str, ...]]] = {
    NPUVendor.QUALCOMM: (
        *("SA8255", "SA8295", "SM8350", "SM8450", "SM8475"),
        *("SM8550", "SM8650", "SM8750", "SM8845", "SM8850"),
    ),
    NPUVendor.INTEL: ("LNL", "PTL", CPU_SOC),
    NPUVendor.MEDIATEK: (
        *("MT6853", "MT6877", "MT6878", "MT6879", "MT6886", "MT6893", "MT6895", "MT6897", "MT6983"),
        *("MT6985", "MT6989", "MT6991", "MT6993", "MT8171", "MT8188", "MT8189"),
    ),
    NPUVendor.GOOGLE_TENSOR: ("Tensor_G3", "Tensor_G4", "Tensor_G5", "Tensor_G6"),
    NPUVendor.SAMSUNG: ("E9965",),
}
"""The chips that LiteRT 2.3 has a name for (``ai_edge_litert.aot.vendors``), and Intel's CPU route."""
NPU_METHODS: Final = (Method.FULL_INTEGER, Method.FLOAT32, Method.FLOAT16)
"""Files that are compiled for NPUs. The others keep weights in a form that kernels of CPUs widen as they
compute; vendors' compilers refuse that, or leave most operators behind."""
_ANOTHER_VENDOR: Final = "socs has a chip that is not the maker's: " + "; ".join(
    f"{vendor.value} has {', '.join(socs)}" for vendor, socs in NPU_SOCS.items()
)


class NPU(ApiModel):
    """Compile float and full-integer files for a vendor's NPU, into NAME_VENDOR_SOC.tflite beside each."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    " || ".join(
                        f"(self.vendor == '{vendor.value}' && self.socs.all(s, s in {list(socs)}))"
                        for vendor, socs in NPU_SOCS.items()
                    ),
                    _ANOTHER_VENDOR,
                )
            ]
        }
    )

    vendor: NPUVendor
    """Whose NPU. The converter must have the vendor's SDK; only Intel's for CPU is there by itself."""
    socs: Annotated[
        list[Annotated[str, Field(max_length=32, pattern=r"^[A-Za-z0-9_]+$")]],
        Field(min_length=1, max_length=MOST_SOCS, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Chips to compile for, a file for each, e.g. SM8750 or LNL. Intel's CPU is OpenVINO on an ordinary
    processor: that file is run as well, and compared."""
    min_delegated_fraction: Fraction | None = None
    """Gate: smallest share of the file's operators that the NPU takes, e.g. "0.95"."""
    max_partitions: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Gate: most parts that the graph may be cut into; between them data goes to the CPU and back."""
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = NPU_TIMEOUT_SECONDS
    """Seconds that the vendor's compiler may take for one file and chip."""

    @model_validator(mode="after")
    def _check_socs(self) -> Self:
        if not set(self.socs) <= set(NPU_SOCS[self.vendor]):
            raise ValueError(_ANOTHER_VENDOR)
        if len(set(self.socs)) < len(self.socs):
            raise ValueError("socs names a chip twice")
        return self


def npu_name(file_name: str, vendor: NPUVendor, soc: str) -> str:
    """Return the name of what is compiled of ``x_int8.tflite`` for one chip."""
    return f"{file_name.removesuffix('.tflite')}_{vendor.value.lower()}_{soc}.tflite"


def edge_tpu_names(int8_name: str, segments: int) -> tuple[str, ...]:
    """Return the Edge TPU compiler's names for the segments of ``x_int8.tflite``, in order."""
    stem = int8_name.removesuffix(".tflite")
    if segments == 1:
        return (f"{stem}_edgetpu.tflite",)
    return tuple(f"{stem}_segment_{i}_of_{segments}_edgetpu.tflite" for i in range(segments))


def ethos_u_name(int8_name: str) -> str:
    """Return the name that Vela gives its file for ``x_int8.tflite``."""
    return f"{int8_name.removesuffix('.tflite')}_vela.tflite"


def c_array_names(int8_name: str) -> tuple[str, str]:
    """Source and header of the C array for ``x_int8.tflite``."""
    stem = int8_name.removesuffix(".tflite")
    return f"{stem}.cc", f"{stem}.h"
