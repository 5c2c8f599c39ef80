"""What libraries that read Parquet cost: the size of their files, the import, and reading 100 MB.

``python tests/benchmarks/parquet_readers.py`` installs each into a folder of its own, with uv.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

READERS = {
    "arro3": (
        ["arro3-core", "arro3-io"],
        "import arro3.io",
        "list(arro3.io.read_parquet(path, batch_size=65536))",
    ),
    "pyarrow": (
        ["pyarrow"],
        "import pyarrow.parquet as pq",
        "list(pq.ParquetFile(path).iter_batches(65536))",
    ),
    "fastparquet": (
        ["fastparquet"],
        "import fastparquet",
        "list(fastparquet.ParquetFile(path).iter_row_groups())",
    ),
    "polars": (["polars"], "import polars", "polars.read_parquet(path)"),
    "duckdb": (["duckdb", "numpy"], "import duckdb", "duckdb.sql(f\"select * from '{path}'\").fetchnumpy()"),
}
BESIDE = ("google-crc32c", "soundfile")
"""What else came into the image with decision 0024, without what it needs, which is there."""
PROBE = """
import sys, time
path = sys.argv[1]
start = time.perf_counter(); IMPORT; imported = time.perf_counter() - start
start = time.perf_counter(); READ; took = time.perf_counter() - start
print(f"{imported * 1000:.0f} {took:.2f}")
"""


def installed(target: Path, *arguments: str) -> float:
    """Install packages into a folder; return its size in MB."""
    command = ["uv", "pip", "install", "-q", "--target", str(target), "--python", sys.executable]
    subprocess.run([*command, *arguments], check=True)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "x.parquet"
        values = np.random.default_rng(0).normal(size=(250_000, 100)).astype(np.float32)
        table = pa.table({f"c{i}": values[:, i] for i in range(values.shape[1])})
        pq.write_table(table, data, row_group_size=50_000)
        sys.stdout.write(f"{'':12} unpacked MB  import ms  read s\n")
        for reader, (packages, imports, reads) in READERS.items():
            target = folder / reader
            size = installed(target, *packages)
            code = PROBE.replace("IMPORT", imports).replace("READ", reads)
            ran = [
                subprocess.run(
                    [sys.executable, "-S", "-c", code, str(data)],
                    env={"PYTHONPATH": str(target)},
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.split()
                for _ in range(3)
            ]
            imported, took = min(ran, key=lambda row: float(row[1]))
            sys.stdout.write(f"{reader:12} {size:11.0f}  {imported:>9}  {took:>6}\n")
        for package in BESIDE:
            size = installed(folder / package, "--no-deps", package)
            sys.stdout.write(f"{package:12} {size:11.1f}\n")


if __name__ == "__main__":
    main()
