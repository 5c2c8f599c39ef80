"""Parts of a Job's result, with less to read in them, for a termination message has few bytes."""

from __future__ import annotations

import json
from typing import TypeVar

from ..fields.compilation import CompilerFigures, NPUFigures
from .board import BoardSummary

Figures = TypeVar("Figures", bound=CompilerFigures)


def shortened_board(board: BoardSummary, texts: int, *, bare: bool) -> BoardSummary:
    """Return a board's figures with shorter texts, and of each latency what the status takes.

    ``bare`` ones have no texts at all: the report has them.
    """
    texts = 0 if bare else texts
    files = tuple(
        file.model_copy(
            update={
                "message": cut(file.message or "", texts) or None,
                "latency": file.latency and file.latency.changed(p99_millis=None, throughput_per_second=None),
            }
        )
        for file in board.files
    )
    machine = board.machine
    machine = machine.model_copy(
        update={name: cut(getattr(machine, name), max(texts, 48)) for name in ("processor", "runtime")}
    )
    return board.model_copy(update={"files": files, "machine": machine})


def shortened_figures(figures: Figures, keep: int, texts: int, *, bare: bool) -> Figures:
    """Return a compiler's figures with fewer kinds of operators that fell back, and shorter texts.

    ``bare`` are those without the digest as well, which the report has.
    """
    fallbacks = tuple(
        f.model_copy(update={"operator": f.operator[:32], "reason": cut(f.reason, texts)})
        for f in figures.fallbacks[: keep // 4]
    )
    message = cut(figures.message or "", texts) or None
    update = {"fallbacks": fallbacks, "message": message} | ({"sha256": None} if bare else {})
    return figures.model_copy(update=update)


def shortened_chip(figures: NPUFigures, keep: int, texts: int, *, bare: bool) -> NPUFigures:
    """Return one chip's figures as :func:`shortened_figures` does; ``bare`` ones are counts only."""
    if not bare:
        return shortened_figures(figures, keep, texts, bare=bare)
    left_out = {"fallbacks": (), "message": None, "sha256": None, "size_bytes": None}
    return figures.model_copy(update=left_out)


def cut(text: str, limit_bytes: int) -> str:
    """Cut ``text`` to at most ``limit_bytes`` as a JSON string, without its quotes."""
    length = 0
    for index, character in enumerate(text):
        length += len(json.dumps(character, ensure_ascii=False).encode()) - 2
        if length > limit_bytes:
            return text[:index]
    return text
