"""Which compiler plugin and which vendor's SDK an NPU needs, and where on this machine they are.

The plugins, and the program that applies them, are parts of LiteRT's package. What they call is the vendor's:
packages that promise it have been seen to install nothing, or files of no bytes, without a word. So every
library is looked at before anything is converted.
"""

from __future__ import annotations

import fnmatch
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.compilers import CPU_SOC, NPU, NPUVendor
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.files.names import for_shell

SDKS_ENV: Final = "TFLITE_CONVERTER_NPU_SDKS"
"""SDKs in other places: ``VENDOR=FOLDER``, several with commas between them."""
SYSTEM_PLACE: Final = Path("/opt/npu-sdk")
"""Where an image has them, a folder for each vendor."""
_ELF: Final = b"\x7fELF"
_ELF_CLASS: Final = 4
"""Where a file says whether it has 32 or 64 bits."""
_ELF_MACHINE: Final = slice(18, 20)
"""Where it says for which processor it is."""
_ELF_HEAD_BYTES: Final = 64
_THIS_PROCESS: Final = Path("/proc/self/exe")
"""A program that runs here; Python's own name may be a script's."""
_NPU_OF_INTEL: Final = "libopenvino_intel_npu_compiler_loader.so"


@dataclass(frozen=True, slots=True)
class _Vendor:
    """What LiteRT 2.3 has for a vendor, and what it lacks."""

    manufacturer: str
    """LiteRT's name of the vendor."""
    plugin: str
    """Folder of the vendor's plugins in LiteRT's package."""
    libraries: tuple[str, ...]
    """Patterns of libraries of the SDK; of each there must be one."""
    bring: str
    """What an operator has to bring, in words."""


_VENDORS: Final = {
    NPUVendor.QUALCOMM: _Vendor(
        "Qualcomm",
        "qualcomm",
        ("libQnnHtp.so", "libQnnIr.so", "libQnnLpai.so", "libQnnSaver.so", "libQnnSystem.so"),
        "bring the x86-64 libraries of Qualcomm's QAIRT 2.50, under its AI Stack License, which you accept by"
        " using them",
    ),
    NPUVendor.INTEL: _Vendor(
        "IntelOpenVINO",
        "intel_openvino",
        ("libopenvino.so.*", "libopenvino_tensorflow_lite_frontend.so.*"),
        "install the package openvino in the version that LiteRT was built with (pip install"
        " model-conversion-operator[npu-intel])",
    ),
    NPUVendor.MEDIATEK: _Vendor(
        "MediaTek",
        "mediatek",
        ("libneuron*_adapter*.so",),
        "bring the host libraries of MediaTek's NeuroPilot SDK 8, 9 or 10, under its own licence",
    ),
    NPUVendor.GOOGLE_TENSOR: _Vendor(
        "Google",
        "google_tensor",
        ("liblitert_plugin_compiler.so",),
        "bring the compiler of Google's Tensor ML SDK, under its own terms; they may not allow a service for"
        " others",
    ),
    NPUVendor.SAMSUNG: _Vendor(
        "Samsung",
        "samsung",
        ("*.so*",),
        "bring Samsung's Exynos AI LiteCore, under its own licence, and a LiteRT newer than 2.3.0, whose"
        " plugin for Samsung cannot be loaded",
    ),
}


class Toolkit(ApiModel):
    """What compiles for one vendor's NPUs, as found on this machine."""

    program: Path
    """LiteRT's program that applies a compiler plugin."""
    vendor_folder: Path
    """The vendor's folder in LiteRT's package: ``compiler`` has the plugin, ``dispatch`` what runs files."""
    sdk: Path
    """Folder of the vendor's own libraries."""

    @property
    def plugins(self) -> Path:
        """The folder with the compiler plugin."""
        return self.vendor_folder / "compiler"

    @property
    def programs(self) -> tuple[Path, ...]:
        """The folders that the compiler's child may run programs of, with what links lead to."""
        folders = (self.program.parent, self.vendor_folder, self.sdk)
        return tuple(dict.fromkeys((*folders, *(folder.resolve() for folder in folders))))


def manufacturer(vendor: NPUVendor) -> str:
    """Return LiteRT's name of a vendor."""
    return _VENDORS[vendor].manufacturer


def what_to_bring(vendor: NPUVendor) -> str:
    """Return what an operator has to bring for a vendor, and where to, as a hint."""
    known = _VENDORS[vendor]
    return (
        f"{known.bring}; put them into {SYSTEM_PLACE / vendor.value.lower()}, or name their folder:"
        f" {SDKS_ENV}={vendor.value.lower()}=FOLDER"
    )


def how_to_load(vendor: NPUVendor, unloaded: str) -> str:
    """Return what to do about a library that cannot be loaded, of which the loader says ``unloaded``."""
    name, _, _ = unloaded.partition(":")
    of_system = name.startswith("lib") and not any(
        fnmatch.fnmatch(name, pattern) for pattern in (*_VENDORS[vendor].libraries, _NPU_OF_INTEL)
    )
    if of_system:
        return f"{vendor.value}'s SDK links it: install the system's package that has it, or put it beside"
    return what_to_bring(vendor)


def toolkit(npu: NPU, given: Path | None, environment: Mapping[str, str]) -> Toolkit:
    """Find all that compiling for ``npu`` takes.

    ``given`` is the SDK's folder, if the user named one; otherwise the environment variable is asked, then
    the image's place, then, for Intel, the package ``openvino`` beside this program.

    Raises:
        ConverterError: CompilerNotFound, with what to bring; InvalidRequest for a variable that cannot be
            read.

    """
    vendor = npu.vendor
    program, folder = _of_litert(vendor)
    sdk = given or _named(environment.get(SDKS_ENV, "")).get(vendor) or _in_its_place(vendor)
    hint = what_to_bring(vendor)
    if not sdk.is_dir():
        raise _not_found(f"there is no SDK of {vendor.value} in {for_shell(sdk)}", hint)
    wanted = list(_VENDORS[vendor].libraries)
    if vendor is NPUVendor.INTEL and set(npu.socs) != {CPU_SOC}:
        wanted.append(_NPU_OF_INTEL)
        hint = (
            "bring the NPU compiler out of Intel's OpenVINO toolkit archive, of the same version; the package"
            f" openvino lacks it, and compiles for {CPU_SOC} only"
        )
    for pattern in wanted:
        # A link may lead out of the folder, and is followed: SDKs have links between versions.
        faults = [_fault(path) for path in sorted(sdk.glob(pattern))]
        if None not in faults:
            what = faults[0] if faults else "is not there"
            raise _not_found(f"{pattern} of {vendor.value}'s SDK in {for_shell(sdk)} {what}", hint)
    return Toolkit(program=program, vendor_folder=folder, sdk=sdk.absolute())


def _of_litert(vendor: NPUVendor) -> tuple[Path, Path]:
    """Return LiteRT's program and the vendor's folder in LiteRT's package."""
    found = importlib.util.find_spec("ai_edge_litert")
    package = Path((found and found.origin) or "ai_edge_litert/__init__.py").parent
    program, folder = package / "tools/apply_plugin_main", package / "vendors" / _VENDORS[vendor].plugin
    plugins = sorted((folder / "compiler").glob("libLiteRtCompilerPlugin_*.so"))
    for path in (program, *(plugins or [folder / "compiler"])):
        if (fault := _fault(path)) is not None:
            hint = (
                "use the npu variant of the converter image, or install ai-edge-litert for x86-64 anew; the"
                " other images have no compiler plugins"
            )
            raise _not_found(f"LiteRT's {path.name} {fault}", hint)
    return program, folder


def _in_its_place(vendor: NPUVendor) -> Path:
    """Return the folder where an SDK is looked for when nobody has named one."""
    place = SYSTEM_PLACE / vendor.value.lower()
    if vendor is NPUVendor.INTEL and not place.exists():
        found = importlib.util.find_spec("openvino")
        if found is not None and found.origin is not None:
            return Path(found.origin).parent / "libs"
    return place


def _fault(path: Path) -> str | None:
    """Why a file is no library or program of this machine; None where it is one."""
    try:
        first, ours = _head(path), _head(_THIS_PROCESS)
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not first:
        return "is empty"
    if not first.startswith(_ELF) or len(first) < _ELF_HEAD_BYTES:
        return "is no library"
    same = first[_ELF_CLASS] == ours[_ELF_CLASS] and first[_ELF_MACHINE] == ours[_ELF_MACHINE]
    return None if same else "is for another processor than this machine's"


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_ELF_HEAD_BYTES)


def _named(text: str) -> dict[NPUVendor, Path]:
    return dict(_entries(text))


def _entries(text: str) -> Iterator[tuple[NPUVendor, Path]]:
    known = {vendor.value.lower(): vendor for vendor in NPUVendor}
    for entry in filter(None, map(str.strip, text.split(","))):
        name, mark, folder = entry.partition("=")
        if not mark or name.lower() not in known or not Path(folder).is_absolute():
            cause = f"{SDKS_ENV} has the entry {for_shell(Path(entry))}"
            hint = f"write VENDOR=/PATH/TO/FOLDER, with a vendor of {', '.join(known)}"
            raise ConverterError(FailureReason.INVALID_REQUEST, Stage.LOAD, cause, hint=hint)
        yield known[name.lower()], Path(folder)


def _not_found(cause: str, hint: str) -> ConverterError:
    return ConverterError(FailureReason.COMPILER_NOT_FOUND, Stage.LOAD, cause, hint=hint)
