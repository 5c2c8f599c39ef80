"""A software driver for Vulkan, from Debian's package, for the checks on LiteRT's GPU accelerator."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devcluster.errors import PackageUnavailableError
from devcluster.tools.debian import files_of_package
from tflite_converter.verifying.drivers import driver

_FILES = ("libvk_swiftshader.so", "libvulkan.so.1", "vk_swiftshader_icd.json")


def software_driver() -> Path:
    """Return the manifest of SwiftShader; skip the test where there is none and it cannot be downloaded."""
    if installed := driver(os.environ):
        return installed
    try:
        folder = files_of_package("chromium-common", [f"usr/lib/chromium/{name}" for name in _FILES])
    except PackageUnavailableError as error:
        pytest.skip(str(error))
    return folder / _FILES[-1]
