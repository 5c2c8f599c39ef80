"""Where snippets run; apart from what writes them, so that --help waits for nothing."""

from __future__ import annotations

from enum import StrEnum


class SnippetTarget(StrEnum):
    """Where the code runs."""

    ANDROID = "android"
    IOS = "ios"
    RASPBERRY_PI = "raspberry-pi"
    CORAL = "coral"
    MICROCONTROLLER = "microcontroller"
    BROWSER = "browser"
