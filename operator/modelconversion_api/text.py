"""Figures and texts as people read them."""

from __future__ import annotations


def human_size(size_bytes: int) -> str:
    """A size in binary units with one decimal, e.g. ``23.4KiB``."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f}{unit}" if unit == "B" else f"{size:.1f}{unit}"
        size /= 1024
    return f"{size:.1f}GiB"


def human_latency(millis: float) -> str:
    """A short time with three significant digits, e.g. ``2.13 µs`` or ``14.1 ms``."""
    return f"{millis * 1000:.3g} µs" if millis < 1 else f"{millis:.3g} ms"


def human_duration(seconds: float) -> str:
    """A duration in the two largest units, e.g. ``1m12s``."""
    whole = max(0, round(seconds))
    minutes, secs = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{secs}s" if minutes else f"{secs}s"


def printable(text: str) -> str:
    """``text`` without control characters: a model's names must not steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
