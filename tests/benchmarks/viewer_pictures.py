"""Draws docs/images/viewer-*.png: ``python tests/benchmarks/viewer_pictures.py``.

A real browser shows the real pages; the objects are made up, and the report is drawn by the converter.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from aiohttp import web

from modelconversion_client.resources import Conversion
from modelconversion_client.viewer.app import Viewer, limits
from modelconversion_client.viewer.listing import CONVERSIONS
from support.client.browser import browsing, find_browser
from support.client.objects import artifact, condition, conversion
from support.converter.html_reports import report
from support.paths import REPOSITORY
from tflite_converter.report.page import render

_IMAGES = REPOSITORY / "docs" / "images"
_NOW = datetime.now(UTC).replace(microsecond=0)
_PICTURES = (
    ("list", "?namespace=", 1180, 690, False),
    ("compare", "compare?c=vision/gesture-v1&c=vision/gesture-v2", 1180, 1220, True),
    ("report", "report?namespace=vision&name=gesture-v2", 1180, 900, False),
)


def _ago(**before: float) -> str:
    return (_NOW - timedelta(**before)).isoformat().replace("+00:00", "Z")


def _ended(accuracy: str, agreement: str, size: int, digest: str) -> dict[str, Any]:
    figures = {"latencyMillis": "0.0016", "accuracy": accuracy, "agreement": agreement}
    return {
        "phase": "Succeeded",
        "observedGeneration": 1,
        "duration": "48s",
        "completionTime": _ago(minutes=2),
        "conditions": [condition("Converted", "2 artifacts", "True")],
        "artifacts": [
            artifact(
                "DynamicRange", sizeBytes=18700, accuracy="0.9430", agreement="0.9970", latencyMillis="0.0010"
            ),
            artifact("FullInteger", sizeBytes=size, sizeFraction="0.2960", **figures),
        ],
        "recommended": {
            "method": "FullInteger",
            "name": "FullInteger",
            "uri": "s3://models/gesture/gesture_int8.tflite",
            "reason": "smallest that meets its gates",
            "size": f"{size / 1024:.1f}KiB",
        },
        "source": {"sha256": digest * 16, "sizeBytes": 80240, "format": "KerasH5"},
        "reportUri": "s3://models/gesture/report.json",
    }


def _objects() -> dict[str, dict[str, Any]]:
    running = {"phase": "Running", "progress": {"stage": "Quantize", "percent": 42}}
    failed = {"phase": "Failed", "conditions": [condition("GatesNotMet", "", "False")]}
    rows = (
        ("vision", "gesture-v2", "minutes", 4, _ended("0.9460", "0.9980", 23696, "5be0")),
        ("vision", "gesture-v1", "days", 6, _ended("0.9420", "0.9930", 23912, "81d7")),
        ("audio", "keyword-spotting", "seconds", 40, running),
        ("vision", "doorbell", "hours", 5, failed),
        ("audio", "anomaly", "seconds", 9, {"phase": "Pending", "conditions": [condition("Queued", "")]}),
    )
    return {
        name: conversion(
            name,
            status,
            metadata={"namespace": namespace, "creationTimestamp": _ago(**{unit: count})},
            source={"uri": f"s3://models/{name}.h5"},
        )
        for namespace, name, unit, count, status in rows
    }


class _Remembering:
    """An API server that only remembers, and a store with one report."""

    def __init__(self) -> None:
        self._objects = _objects()

    async def read(self, path: str, what: str, query: Mapping[str, str], accept: str) -> dict[str, Any]:
        if "Table" not in accept:
            return self._objects[path.rpartition("/")[2]]
        columns = [{"name": name} for name in CONVERSIONS.columns]
        return {"columnDefinitions": columns, "rows": [_row(body) for body in self._objects.values()]}


def _row(body: dict[str, Any]) -> dict[str, Any]:
    status = body["status"]
    best = status.get("recommended", {})
    cells = {
        "Phase": status["phase"],
        "Percent": status.get("progress", {}).get("percent"),
        "Recommended": best.get("name"),
        "Size": best.get("size"),
        "Duration": status.get("duration"),
        "Reason": next((one["reason"] for one in status.get("conditions", [])), None),
    }
    return {
        "cells": [cells.get(name) for name in CONVERSIONS.columns],
        "object": {"metadata": body["metadata"]},
    }


class _Reports:
    def where(self, found: Conversion) -> str | None:
        return "AWS S3" if found.status.report_uri else None

    async def read(self, found: Conversion) -> bytes:
        return render(report()).encode()


async def _draw(program: str) -> None:
    server = _Remembering()
    runner = web.AppRunner(Viewer(lambda _: server, reports=_Reports()).application(), **limits())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with browsing(program) as page:
        for name, address, width, height, dark in _PICTURES:
            await page.open(f"{url}{address}")
            picture = await page.look(width=width, height=height, dark=dark)
            _save(_IMAGES / f"viewer-{name}.png", picture)
    await runner.cleanup()


def _save(path: Path, picture: bytes) -> None:
    path.write_bytes(picture)
    sys.stdout.write(f"{path.relative_to(REPOSITORY)}\n")


def main() -> int:
    """Draw them."""
    program = find_browser()
    if program is None:
        sys.stderr.write("there is no browser: install chromium\n")
        return 1
    asyncio.run(_draw(program))
    return 0


if __name__ == "__main__":
    sys.exit(main())
