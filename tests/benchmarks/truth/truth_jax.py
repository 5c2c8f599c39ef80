"""Hold the files that come of functions of JAX against JAX.

``python tests/benchmarks/truth/truth_jax.py [--markdown docs/ENGINES.md] [NAME ...]`` writes the models of
``make_jax_models.py`` with samples and what JAX computes for them, converts each by every method, and runs
each file on the samples that did not calibrate it, on a LiteRT interpreter that is not the converter's.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from engine_table import TITLES, line, row, written

from support.engines.engines_of_tests import JAX, engine_python, write_models
from tflite_converter.engines.finding import ENGINES_ENV


def main() -> None:
    """Print the table, and write it into the page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    python = engine_python(JAX)
    os.environ[ENGINES_ENV] = f"jax={python}"
    lines = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_models(python, "make_jax_models.py", folder, *arguments.names)
        for path in sorted(folder.glob("*.jax")):
            lines.append(line((path.stem.replace("_", " "), *row(path).cells)))
            print(lines[-1], flush=True)  # noqa: T201 - it is what the program is for
    written(Path(__file__), arguments.markdown, ("model", *TITLES), lines)


if __name__ == "__main__":
    main()
