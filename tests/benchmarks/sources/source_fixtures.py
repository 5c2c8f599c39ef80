"""The few models of other TensorFlows that lie in the repository, for the tests that every run makes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from source_writers import Writer, write
from written_sources import Recorded

FIXTURES = {
    "2.3.4": ("simple_rnn.savedmodel", "mlp.graph"),
    "2.4.4": ("attention.h5",),
    "2.6.5": ("embedding.savedmodel",),
    "2.12.1": ("two_inputs.v3.keras",),
    "2.15.1": ("mixed_precision.keras", "mlp_legacy.keras"),
    "2.18.1": ("operators.h5",),
}
"""By writer: what differs most in how it is saved and read."""

_SAMPLES = 16


def write_fixtures(folder: Path, writers: Sequence[Writer], say: Callable[[str], None]) -> None:
    """Writes ``tfVERSION-NAME`` and its ``.npz`` for each fixture of ``writers``; SavedModels as .zip files.

    Raises:
        NotAvailableError: where this machine cannot have a writer.

    """
    folder.mkdir(parents=True, exist_ok=True)
    for writer in writers:
        names = FIXTURES.get(writer.version, ())
        if not names:
            continue
        library = write(writer, names, say, library="fixtures")
        for name in names:
            stem = str(folder / f"tf{writer.version}-{name}")
            source = library.folder / name
            made = shutil.make_archive(stem, "zip", source) if source.is_dir() else shutil.copy(source, stem)
            recorded = Recorded.read(library.recorded(name))
            arrays = {f"input/{key}": array[:_SAMPLES] for key, array in recorded.inputs.items()}
            arrays |= {f"output/{i}": array[:_SAMPLES] for i, array in enumerate(recorded.outputs)}
            np.savez_compressed(f"{stem}.npz", allow_pickle=False, **arrays)
            say(f"{Path(made).name}: {Path(made).stat().st_size:,} bytes")
