"""Where drivers for Vulkan lie: a software driver, and those of a board; and the devices of accelerators."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from modelconversion_api.fields.boards import Accelerator

DRIVER_FILES_ENV: Final = "VK_DRIVER_FILES"
"""The Vulkan loader's own variable: a driver's manifest."""
_MANIFEST: Final = "vk_swiftshader_icd.json"
_FOLDERS: Final = (Path("/opt/vulkan"), Path("/usr/lib/chromium"))
"""Where the converter's image has SwiftShader, and where Debian's package chromium-common puts it."""
_LOADER: Final = "libvulkan.so.1"
_OF_SYSTEM: Final = (
    # Manifests; libraries lie in /usr, which is readable anyhow.
    *("/etc/vulkan", "/etc/glvnd", "/opt/vulkan"),
    # By these, drivers find out which device a node of /dev is.
    *("/sys/bus/pci", "/sys/class", "/sys/dev/char", "/sys/devices", "/proc/driver/nvidia"),
)
_DEVICES: Final = {
    Accelerator.CPU: (),
    Accelerator.GPU: ("dri", "nvidia*", "mali*", "kgsl*", "pvr*", "dma_heap"),
    Accelerator.EDGE_TPU: ("apex_*",),
}
"""Names below /dev: of Mesa's drivers, NVIDIA's, Arm's, Qualcomm's and Imagination's; of Coral's modules."""


def driver(environment: Mapping[str, str]) -> Path | None:
    """Return the manifest of the driver to use: the environment's, or SwiftShader's where it is installed."""
    if named := environment.get(DRIVER_FILES_ENV):
        return Path(named)
    return next((path for folder in _FOLDERS if (path := folder / _MANIFEST).is_file()), None)


def loader(manifest: Path) -> str:
    """Return the Vulkan loader to load: the one beside the driver, or the system's."""
    beside = manifest.with_name(_LOADER)
    return str(beside) if beside.is_file() else _LOADER


def loader_of_board(environment: Mapping[str, str]) -> str:
    """Return the Vulkan loader of a board: beside the driver that the environment names, or the system's.

    The converter's own image has one beside its software driver alone.
    """
    if named := environment.get(DRIVER_FILES_ENV):
        return loader(Path(named.split(os.pathsep)[0]))
    return str(path) if (path := _FOLDERS[0] / _LOADER).is_file() else _LOADER


def readable_for(accelerator: Accelerator, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield what of the system a process must read that uses an accelerator."""
    if accelerator is Accelerator.CPU:
        return
    yield from map(Path, _OF_SYSTEM)
    for named in filter(None, environment.get(DRIVER_FILES_ENV, "").split(os.pathsep)):
        yield Path(named).absolute().parent


def devices_of(accelerator: Accelerator, folder: Path = Path("/dev")) -> list[Path]:
    """Return the devices that there are of an accelerator."""
    return sorted(path for name in _DEVICES[accelerator] for path in folder.glob(name))
