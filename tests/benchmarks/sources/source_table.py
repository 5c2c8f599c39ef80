"""The rows of the sources' table, and how they are written down."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from written_sources import Closeness

from modelconversion_api.reasons import FailureReason

_INTRODUCTION = Path(__file__).with_name("source_introduction.md")
_FORMATS = {
    "h5": "Keras .h5",
    "keras": "Keras .keras",
    "savedmodel": "SavedModel",
    "zip": "SavedModel, .zip",
    "tar.gz": "SavedModel, .tar.gz",
    "positional": "SavedModel, unnamed inputs",
    "dictionary": "SavedModel, signature `predict`",
    "two_signatures": "SavedModel, two signatures",
    "graph": "SavedModel of a TensorFlow 1 graph",
    "unsigned": "SavedModel without signature",
    "truncated": "SavedModel, variables truncated",
    "v3.keras": "Keras .keras (`keras_v3`)",
    "weights.h5": "Keras weights .h5",
    "truncated.h5": "Keras .h5, truncated",
    "truncated.keras": "Keras .keras, truncated",
    "tflite": "TFLite, float",
    "quantized.tflite": "TFLite, quantized",
}
_COLUMNS = (
    "format",
    "written by",
    "model",
    "bytes: f32 / dyn / f16 / int8",
    "f32: greatest difference",
    "f32: SNR",
    "int8: SNR",
    "int8: R²",
    "notes",
)
_NOTHING = "-"
_METHODS = {"float32": "f32", "dynamic_range": "dyn", "float16": "f16", "full_integer": "int8"}


@dataclass(frozen=True)
class Row:
    """What came of one source."""

    suffix: str
    written_by: str
    architecture: str
    asked: str
    planned: FailureReason | None
    """Why it was to be refused; None where it was to convert."""
    outcome: str = ""
    """``converted``, ``refused`` or ``not written``."""
    as_planned: bool = True
    reason: FailureReason | None = None
    message: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes by method."""
    closeness: Mapping[str, Closeness] = field(default_factory=dict)
    """By method, against the outputs that the writer recorded."""
    seconds: float = 0.0

    def not_written(self, why: str) -> Row:
        """The writer itself could not."""
        return replace(self, outcome="not written", message=why, as_planned=False)

    def refused(self, reason: FailureReason, message: str, *, says_enough: bool) -> Row:
        """The converter would not."""
        planned = reason is self.planned and says_enough
        return replace(self, outcome="refused", reason=reason, message=message, as_planned=planned)

    def converted(
        self,
        sizes: Mapping[str, int],
        problems: Sequence[str],
        *,
        closeness: Mapping[str, Closeness] | None = None,
        flex: Sequence[str] = (),
        is_right: bool = True,
        is_whole: bool = True,
    ) -> Row:
        """There are files, though perhaps not by every method."""
        notes = [*problems, *([f"not run, for it needs {', '.join(flex)}"] if flex else [])]
        if not is_right:
            notes.insert(0, "the float file computes something else than its writer did")
        return replace(
            self,
            outcome="converted",
            as_planned=self.planned is None and is_right and is_whole,
            message="; ".join(notes),
            sizes=dict(sizes),
            closeness=dict(closeness or {}),
        )

    def taking(self, seconds: float) -> Row:
        """With the time that it took."""
        return replace(self, seconds=round(seconds, 1))

    @property
    def format(self) -> str:
        """The format in words."""
        return _FORMATS.get(self.suffix, self.suffix)

    def __str__(self) -> str:
        mark = "      " if self.as_planned else "WRONG "
        close = " ".join(f"{_METHODS[m]} {c.snr_db:.0f} dB" for m, c in self.closeness.items())
        said = self.reason.value if self.reason else self.outcome
        where = f"{self.written_by}: {self.architecture}.{self.suffix} {self.asked}".rstrip()
        return f"{mark}{where}: {said} {close} {self.message} [{self.seconds:.0f} s]"


def as_json(rows: Sequence[Row], missing: Mapping[str, str]) -> str:
    """All that is known, for programs."""
    return json.dumps({"rows": [asdict(row) for row in rows], "notAvailable": dict(missing)}, indent=1) + "\n"


def as_markdown(rows: Sequence[Row], missing: Mapping[str, str]) -> str:
    """The page: introduction, counts, and one line for each row."""
    lines = [_INTRODUCTION.read_text(), "## What was converted", "", _counts(rows), ""]
    for version, why in missing.items():
        lines += [f"TensorFlow {version} is not available here: {why}.", ""]
    lines += [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    lines += [_converted_line(row) for row in rows if row.outcome == "converted"]
    lines += ["", "## What was refused", "", "| format | written by | model | reason | message |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    lines += [_refused_line(row) for row in rows if row.outcome != "converted"]
    return "\n".join(lines) + "\n"


def _counts(rows: Sequence[Row]) -> str:
    counts = Counter(row.outcome for row in rows)
    integer = [row for row in rows if "full_integer" in row.closeness]
    writers = len({row.written_by for row in rows if row.written_by.startswith("TensorFlow")})
    text = f"{len(rows)} sources by {writers} versions of TensorFlow: {counts['converted']} converted,"
    text += f" {counts['refused']} refused with a reason"
    if counts["not written"]:
        text += f", {counts['not written']} that the writer itself could not write"
    half = [row for row in rows if row.architecture == "mixed_precision"]
    text += (
        f". {len(integer)} have a full-integer file. Against its writer's own outputs every float file has"
    )
    text += f" at least {_worst(rows, half)} where the writer computed in float32"
    if half:
        text += f", and {_worst(half)} where it computed in float16"
    return text + "."


def _worst(rows: Sequence[Row], but: Sequence[Row] = ()) -> str:
    """The smallest signal-to-noise ratio of a float file."""
    found = [row.closeness["float32"].snr_db for row in rows if "float32" in row.closeness and row not in but]
    return f"{min(found, default=0.0):.0f} dB"


def _converted_line(row: Row) -> str:
    sizes = " / ".join(f"{row.sizes[m]:,}" if m in row.sizes else _NOTHING for m in _METHODS)
    float32, int8 = row.closeness.get("float32"), row.closeness.get("full_integer")
    cells = [
        *_source(row),
        sizes,
        f"{float32.max_difference:.1e}" if float32 else _NOTHING,
        f"{float32.snr_db:.0f} dB" if float32 else _NOTHING,
        f"{int8.snr_db:.0f} dB" if int8 else _NOTHING,
        f"{int8.r2:.3f}" if int8 else _NOTHING,
        _cell(row.message),
    ]
    return _line(cells)


def _refused_line(row: Row) -> str:
    return _line([*_source(row), row.reason.value if row.reason else row.outcome, _cell(row.message)])


def _source(row: Row) -> list[str]:
    asked = f" ({row.asked})" if row.asked else ""
    return [row.format, row.written_by, row.architecture.replace("_", " ") + asked]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
