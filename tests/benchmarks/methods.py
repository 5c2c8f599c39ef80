"""What every method and some recipes give on real models, as a table for the guide.

``python tests/benchmarks/methods.py [--shared FOLDER] [NAME ...]`` trains the models of
``training/training_models.py``, converts each by all of them with its calibration data, and prints a table of
Markdown: size, accuracy and agreement on test samples, signal-to-noise ratio, latency and what was tried.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "training"), str(HERE.parent)]

from training_models import CASES, Case  # noqa: E402

from modelconversion_api.fields.recipes import Algorithm, LayerRule, Precision, Recipe  # noqa: E402
from modelconversion_api.methods import Method  # noqa: E402
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport  # noqa: E402
from modelconversion_api.text import human_latency  # noqa: E402
from support.converter.converting import convert_into  # noqa: E402 - after the path to it

_FOUR_BITS = [LayerRule(match=".", precision=Precision.INT4)]
RECIPES = (
    Recipe(name="int8-mse", algorithm=Algorithm.MSE),
    Recipe(name="int8-gptq", algorithm=Algorithm.GPTQ),
    Recipe(name="int4-minmax", base=Method.DYNAMIC_RANGE, layers=_FOUR_BITS),
    Recipe(name="int4-octav", base=Method.DYNAMIC_RANGE, algorithm=Algorithm.OCTAV, layers=_FOUR_BITS),
    Recipe(name="int4-gptq", base=Method.DYNAMIC_RANGE, algorithm=Algorithm.GPTQ, layers=_FOUR_BITS),
    Recipe(name="relu-float", layers=[LayerRule(match="Relu", precision=Precision.FLOAT32)]),
    Recipe(name="relu-wide", layers=[LayerRule(match="Relu", precision=Precision.INT16)]),
)


def converted(case: Case, folder: Path) -> ConversionReport:
    """Convert a case by every method and recipe, without gates."""
    return convert_into(
        folder / f"{case.name}-out",
        case.model,
        *Method,
        recipes=RECIPES,
        calibration=case.calibration,
        validation=case.test,
        validation_labels=case.test_labels,
    ).report


def row(artifact: ArtifactReport) -> str:
    """One file as a line of the table."""
    latency, accuracy = artifact.latency, artifact.accuracy
    cells = [
        f"`{artifact.made_by}`",
        f"{artifact.size_bytes:,} B",
        "-" if accuracy is None else f"{accuracy:.1%}",
        "-" if artifact.agreement is None else f"{artifact.agreement:.1%}",
        "equal" if artifact.snr_db is None else f"{artifact.snr_db:.1f} dB",
        "-" if latency is None else human_latency(latency.median_millis),
        artifact.min_runtime_version or "-",
        artifact.recipe or "",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path(), help="folder of the MLPerf Tiny models")
    parser.add_argument("names", nargs="*", metavar="NAME", default=["gesture", "digits"])
    given = parser.parse_args()
    for name in given.names:
        with tempfile.TemporaryDirectory() as place:
            report = converted(CASES[name](Path(place), given.shared), Path(place))
        original = report.evaluation.original_accuracy
        columns = ["method", "size", "accuracy", "agreement", "SNR", "latency", "runs since", "recipe"]
        lines = [f"\n**{name}**" + ("" if original is None else f" (original: {original:.1%})")]
        lines += [f"\n| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
        lines += map(row, report.artifacts)
        lines += [
            f"| `{f.made_by}` | no file: {f.reason.value}: {f.message} |" for f in report.failed_methods
        ]
        sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
