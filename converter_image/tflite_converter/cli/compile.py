"""``tflite-converter compile``, and the options that it shares with ``convert``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelconversion_api.compilers import (
    EDGE_TPU_TIMEOUT_SECONDS,
    MOST_SEGMENTS,
    DenseWeights,
    EdgeTPU,
    EthosU,
    EthosUAccelerator,
    EthosUMemoryMode,
    EthosUOptimise,
    EthosUSystem,
    Microcontroller,
    system_fits,
)
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.cli.errors import ends_with_a_message
from tflite_converter.errors import ConverterError, UsageError

if TYPE_CHECKING:
    from tflite_converter.compilers.options import Compilers

_PANEL = "Compilers and C source, of the full-integer file"

EdgeTPUFlag = Annotated[
    bool,
    typer.Option(
        "--edgetpu",
        help="Compile for Coral's Edge TPU; needs edgetpu_compiler on the PATH.",
        rich_help_panel=_PANEL,
    ),
]
EdgeTPUPredict = Annotated[
    bool,
    typer.Option(
        "--edgetpu-predict",
        help="Do not compile for the Edge TPU: say what would map, by its documented limits.",
        rich_help_panel=_PANEL,
    ),
]
EdgeTPURuntime = Annotated[
    int | None,
    typer.Option(
        min=10,
        max=14,
        help="Oldest Edge TPU runtime that must run the file.",
        show_default="the newest, 14",
        rich_help_panel=_PANEL,
    ),
]
EdgeTPUSegments = Annotated[
    int,
    typer.Option(
        min=1,
        max=MOST_SEGMENTS,
        help="Files to cut the model into, for a pipeline of Edge TPUs.",
        rich_help_panel=_PANEL,
    ),
]
EdgeTPUSearch = Annotated[
    bool,
    typer.Option(
        "--edgetpu-search",
        help="Where the whole graph does not compile, look for the longest part that does.",
        rich_help_panel=_PANEL,
    ),
]
EdgeTPUTimeout = Annotated[
    int,
    typer.Option(
        min=1, max=86400, help="Seconds that the Edge TPU compiler may take.", rich_help_panel=_PANEL
    ),
]
EthosUOption = Annotated[
    EthosUAccelerator | None,
    typer.Option(
        case_sensitive=False,
        metavar="CORE",
        help="Compile with Vela for this Arm Ethos-U, e.g. ethos-u55-128.",
        rich_help_panel=_PANEL,
    ),
]
EthosUSystemOption = Annotated[
    EthosUSystem | None,
    typer.Option(
        metavar="NAME",
        help="Clock and memories around the core, by Vela's names, e.g. Ethos_U55_Deep_Embedded.",
        show_default="Vela's for the core",
        rich_help_panel=_PANEL,
    ),
]
EthosUMemoryOption = Annotated[
    EthosUMemoryMode | None,
    typer.Option(
        metavar="NAME",
        help="Where weights and activations lie, by Vela's names, e.g. Sram_Only.",
        show_default="Vela's for the core",
        rich_help_panel=_PANEL,
    ),
]
EthosUOptimiseOption = Annotated[
    EthosUOptimise, typer.Option(help="What Vela aims at.", rich_help_panel=_PANEL)
]
MinMapped = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Gate: smallest share of operators that must run on the accelerator, e.g. 0.95.",
        rich_help_panel=_PANEL,
    ),
]
CArray = Annotated[
    bool,
    typer.Option(
        "--c-array",
        help="Write C source for TFLite Micro: NAME_int8.cc and .h, with arena size and operators.",
        rich_help_panel=_PANEL,
    ),
]
MaxArena = Annotated[
    int | None,
    typer.Option(
        min=1, help="Gate: largest estimate of TFLite Micro's arena, in bytes.", rich_help_panel=_PANEL
    ),
]
DensePerTensor = Annotated[
    bool,
    typer.Option(
        "--dense-per-tensor",
        help="One scale for the weights of each FULLY_CONNECTED: for TFLite Micro before October 2024.",
        rich_help_panel=_PANEL,
    ),
]


def compilers_of(
    *,
    edgetpu: bool,
    edgetpu_predict: bool,
    edgetpu_runtime: int | None,
    edgetpu_segments: int,
    edgetpu_search: bool,
    edgetpu_timeout: int,
    ethos_u: EthosUAccelerator | None,
    ethos_u_system: EthosUSystem | None,
    ethos_u_memory: EthosUMemoryMode | None,
    ethos_u_optimise: EthosUOptimise,
    min_mapped: float | None,
    c_array: bool,
    max_arena: int | None,
    dense_per_tensor: bool,
) -> Compilers:
    """What the options ask for.

    Raises:
        UsageError: for options that belong to a compiler that is not asked for.

    """
    from tflite_converter.compilers.options import Compilers

    if edgetpu and edgetpu_predict:
        raise UsageError("--edgetpu and --edgetpu-predict exclude each other", hint="leave one out")
    for option, given, needed, there in (
        ("--edgetpu-runtime", edgetpu_runtime is not None, "--edgetpu", edgetpu),
        ("--edgetpu-segments", edgetpu_segments > 1, "--edgetpu", edgetpu),
        ("--edgetpu-search", edgetpu_search, "--edgetpu", edgetpu),
        ("--ethos-u-system", ethos_u_system is not None, "--ethos-u", ethos_u is not None),
        ("--ethos-u-memory", ethos_u_memory is not None, "--ethos-u", ethos_u is not None),
        (
            "--min-mapped",
            min_mapped is not None,
            "--edgetpu, --edgetpu-predict or --ethos-u",
            edgetpu or edgetpu_predict or ethos_u is not None,
        ),
    ):
        if given and not there:
            raise UsageError(f"{option} without {needed}", hint=f"add {needed}")
    if ethos_u is not None and ethos_u_system is not None and not system_fits(ethos_u, ethos_u_system):
        raise UsageError(
            f"{ethos_u_system.value} is no system of {ethos_u.value}",
            hint="choose one that begins like the core, e.g. Ethos_U55_Deep_Embedded for ethos-u55-128",
        )
    fraction = None if min_mapped is None else f"{min_mapped:.6f}".rstrip("0").rstrip(".")
    tpu = npu = micro = None
    if edgetpu or edgetpu_predict:
        tpu = EdgeTPU(
            compile=edgetpu,
            min_runtime_version=edgetpu_runtime,
            timeout_seconds=edgetpu_timeout,
            search_delegate=edgetpu_search,
            num_segments=edgetpu_segments,
            min_mapped_fraction=fraction,
        )
    if ethos_u is not None:
        npu = EthosU(
            accelerator=ethos_u,
            system_config=ethos_u_system,
            memory_mode=ethos_u_memory,
            optimise=ethos_u_optimise,
            min_mapped_fraction=fraction,
        )
    if c_array or max_arena is not None or dense_per_tensor:
        micro = Microcontroller(
            c_array=c_array,
            dense_weights=DenseWeights.PER_TENSOR if dense_per_tensor else DenseWeights.PER_CHANNEL,
            max_arena_bytes=max_arena,
        )
    return Compilers(tpu, npu, micro)


def compile_file(
    file: Annotated[Path, typer.Argument(help="A full-integer .tflite file.")],
    output: Annotated[Path, typer.Option(help="Folder for what is compiled.")] = Path("converted_models"),
    edgetpu: EdgeTPUFlag = False,
    edgetpu_predict: EdgeTPUPredict = False,
    edgetpu_runtime: EdgeTPURuntime = None,
    edgetpu_segments: EdgeTPUSegments = 1,
    edgetpu_search: EdgeTPUSearch = False,
    edgetpu_timeout: EdgeTPUTimeout = EDGE_TPU_TIMEOUT_SECONDS,
    ethos_u: EthosUOption = None,
    ethos_u_system: EthosUSystemOption = None,
    ethos_u_memory: EthosUMemoryOption = None,
    ethos_u_optimise: EthosUOptimiseOption = EthosUOptimise.PERFORMANCE,
    min_mapped: MinMapped = None,
    c_array: CArray = False,
    max_arena: MaxArena = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; progress goes to stderr.")
    ] = False,
) -> None:
    """Compile a full-integer TFLite file for an Edge TPU, an Ethos-U or a microcontroller.

    For files that are there already; convert takes the same options. Says how many operators run on the
    accelerator, what memory they take, and why each other operator stays on the CPU.

    Examples:
      compile model_int8.tflite --ethos-u ethos-u55-128

      compile model_int8.tflite --edgetpu --min-mapped 0.9

      compile model_int8.tflite --c-array --max-arena 131072

    """
    with ends_with_a_message():
        compilers = compilers_of(
            edgetpu=edgetpu,
            edgetpu_predict=edgetpu_predict,
            edgetpu_runtime=edgetpu_runtime,
            edgetpu_segments=edgetpu_segments,
            edgetpu_search=edgetpu_search,
            edgetpu_timeout=edgetpu_timeout,
            ethos_u=ethos_u,
            ethos_u_system=ethos_u_system,
            ethos_u_memory=ethos_u_memory,
            ethos_u_optimise=ethos_u_optimise,
            min_mapped=min_mapped,
            c_array=c_array,
            max_arena=max_arena,
            dense_per_tensor=False,
        )
        if not compilers:
            raise UsageError(
                "nothing to compile for", hint="give --edgetpu, --edgetpu-predict, --ethos-u or --c-array"
            )
        _compile(file, output, compilers, as_json=as_json)


def _compile(file: Path, output: Path, compilers: Compilers, *, as_json: bool) -> None:
    from tflite_converter.compilers.compiling import compile_alone
    from tflite_converter.console.compilers import show_compilation
    from tflite_converter.console.report import ProgressView, open_console, stream_fd
    from tflite_converter.files.workspace import workspace

    console = open_console(stream_fd(json=as_json))
    with ProgressView(console) as view, workspace(output) as work:
        made = compile_alone(file, compilers, work, view)
        files = work.publish()
    if as_json:
        sys.stdout.write(f"{made.to_json(indent=2)}\n")
    else:
        show_compilation(console, made)
        for written in files:
            console.print(str(written), markup=False, highlight=False)
    if not made.passed:
        raise ConverterError(
            made.reason or FailureReason.GATES_NOT_MET, Stage.COMPILE, made.message or "a gate was missed"
        )
