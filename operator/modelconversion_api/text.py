"""Figures and texts as people read them."""

from __future__ import annotations


def human_size(size_bytes: int) -> str:
    """Return a size in binary units with one decimal, e.g. ``23.4KiB``."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f}{unit}" if unit == "B" else f"{size:.1f}{unit}"
        size /= 1024
    return f"{size:.1f}GiB"


def human_latency(millis: float) -> str:
    """Return a short time with three significant digits, e.g. ``2.13 µs`` or ``14.1 ms``."""
    return f"{millis * 1000:.3g} µs" if millis < 1 else f"{millis:.3g} ms"


def human_duration(seconds: float) -> str:
    """Return a duration in the two largest units, e.g. ``1m12s``."""
    whole = max(0, round(seconds))
    minutes, secs = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{secs}s" if minutes else f"{secs}s"


def shortened(text: str, length: int) -> str:
    """Return the beginning of ``text``, at most ``length`` characters; an ellipsis stands for the rest."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def printable(text: str) -> str:
    """Return ``text`` on one line without control characters: a model's names must not steer a terminal.

    Line breaks and tabs become blanks, and everything else that cannot be printed U+FFFD.
    """
    if text.isprintable():  # nearly all are, and a status is full of them
        return text
    return "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
