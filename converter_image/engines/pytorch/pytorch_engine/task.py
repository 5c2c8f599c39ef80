"""The tasks ``convert`` and ``run``: the file is looked at first, and torch is there only after that."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from conversion_engine.files import FLOAT_FILE
from conversion_engine.messages import Description, Outputs, Request, Stage
from conversion_engine.process import Process
from engine_tools import running
from engine_tools.sizes import Edge, check_bounds, chosen_sizes, open_size
from pytorch_engine.loading import read
from pytorch_engine.program import Input


def run(request: Request, process: Process) -> Outputs:
    """Run the original on the samples.

    Raises:
        EngineError: for each reason of the contract.

    """

    def load(asked: Request, _description: Description) -> running.Original:
        archive, program = read(Path(asked.source))
        from pytorch_engine.original import opened

        return opened(archive, program, process.folder)

    return running.run(request, process, load, "torch")


def convert(request: Request, process: Process, versions: dict[str, str]) -> Description:
    """Write the float file of ``request.source`` into the folder of ``process``.

    Raises:
        EngineError: for each reason of the contract.

    """
    started = time.monotonic()
    process.say(Stage.LOAD, "looking at the PyTorch file")
    archive, program = read(Path(request.source))
    edges = [_edge(given) for given in program.inputs if not given.is_constant]
    outputs = [output.symbols for output in program.outputs if output.name is not None]
    sizes = chosen_sizes(edges, outputs, request.input_shapes)
    if (error := open_size(sizes)) is not None:
        raise error
    process.say(Stage.LOAD, "starting PyTorch, and loading the model")
    from pytorch_engine.making import made
    from pytorch_engine.original import opened

    original = opened(archive, program, process.folder)
    loaded = time.monotonic()
    process.say(Stage.CONVERT, "writing the float file")
    found = made(original, edges, sizes)
    (process.folder / FLOAT_FILE).write_bytes(found.content)
    return Description(
        inputs=found.inputs,
        outputs=found.outputs,
        writer=f"torch {program.torch_version}",
        versions=versions,
        group=found.group,
        warnings=found.warnings,
        seconds={
            Stage.LOAD.value: loaded - started,
            Stage.CONVERT.value: time.monotonic() - loaded,
        },
        isolation=process.isolation,
    )


def _edge(given: Input) -> Edge:
    check_bounds(given.name, given.sizes)
    # numpy has no bfloat16; what matters here is that it is a float.
    dtype: np.dtype[np.generic] = np.dtype("float32" if given.dtype == "bfloat16" else given.dtype)
    return Edge(given.name, dtype, given.sizes, given.symbols)
