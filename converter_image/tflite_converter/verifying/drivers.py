"""Where a software driver for Vulkan lies, on which shaders of a GPU run on this machine's processor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

DRIVER_FILES_ENV: Final = "VK_DRIVER_FILES"
"""The Vulkan loader's own variable: a driver's manifest."""
_MANIFEST: Final = "vk_swiftshader_icd.json"
_FOLDERS: Final = (Path("/opt/vulkan"), Path("/usr/lib/chromium"))
"""Where the converter's image has SwiftShader, and where Debian's package chromium-common puts it."""
_LOADER: Final = "libvulkan.so.1"


def driver(environment: Mapping[str, str]) -> Path | None:
    """Return the manifest of the driver to use: the environment's, or SwiftShader's where it is installed."""
    if named := environment.get(DRIVER_FILES_ENV):
        return Path(named)
    return next((path for folder in _FOLDERS if (path := folder / _MANIFEST).is_file()), None)


def loader(manifest: Path) -> str:
    """Return the Vulkan loader to load: the one beside the driver, or the system's."""
    beside = manifest.with_name(_LOADER)
    return str(beside) if beside.is_file() else _LOADER
