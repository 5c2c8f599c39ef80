"""Folders of Parquet or TFRecord files, which are the parts of one data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from modelconversion_api.reasons import Stage
from tflite_converter.data.conventions import part_of
from tflite_converter.data.errors import unreadable
from tflite_converter.data.images import files_in, is_ignored
from tflite_converter.data.records.footer import ENCRYPTED_MAGIC, MAGIC
from tflite_converter.data.records.frames import is_tfrecord
from tflite_converter.data.records.messages import Form
from tflite_converter.files.digests import file_sha256, folder_sha256
from tflite_converter.files.names import readable

_BESIDE: Final = (".json", ".txt", ".md", ".yaml", ".yml", ".crc")
"""What describes a data set and lies beside its parts."""


class Shards(NamedTuple):
    """Parts of one data set, in the order of their paths' bytes."""

    form: Form
    files: tuple[Path, ...]
    split: str | None
    """The part for training, validation or test that they are; None where their names do not say it."""
    sha256: str
    """Of the folder with all its files (:func:`~tflite_converter.files.digests.folder_sha256`)."""


def form_of(path: Path) -> Form | None:
    """Return the format of records that a file has, by its bytes; None where it has none."""
    with path.open("rb") as stream:
        head = stream.read(len(MAGIC))
    if head in (MAGIC, ENCRYPTED_MAGIC):
        return Form.PARQUET
    return Form.TFRECORD if is_tfrecord(path) else None


def shards_in(
    folder: Path, name: str, stage: Stage, after_part: Callable[[float], None] = lambda _done: None
) -> Shards | None:
    """Return the parts of a data set under ``folder``; None where its first file is none.

    Files that describe the data set are passed by. Of parts for training, validation and test, those that
    serve ``stage`` are taken.

    Raises:
        ConverterError: DataUnreadable for links, special files, and files of another format beside the parts.

    """
    root = folder.resolve()
    found = sorted("/".join(parts) for parts in files_in(root, name, stage))
    candidates = [relative for relative in found if not _describes(relative)]
    form = form_of(root / candidates[0]) if candidates else None
    if form is None:
        return None
    for relative in candidates[1:]:
        if form_of(root / relative) is not form:
            one = readable(candidates[0])
            why = f"{readable(relative)!r} in it is no {_WORDS[form]} file, and {one!r} is one"
            raise unreadable(name, why, stage, hint="leave files of one format in the folder")
    try:
        part = part_of(candidates, stage)
    except ValueError as error:
        why = f"it holds parts of a data set, and {readable(str(error))!r} beside them"
        raise unreadable(name, why, stage, hint="give the files of one part, or name every part") from error
    split, chosen = (None, tuple(candidates)) if part is None else part
    digests = {}
    for number, relative in enumerate(found, 1):
        digests[relative] = file_sha256(root / relative)
        after_part(number / len(found))
    return Shards(form, tuple(root / relative for relative in chosen), split, folder_sha256(digests))


_WORDS: Final = {Form.PARQUET: "Parquet", Form.TFRECORD: "TFRecord"}


def _describes(relative: str) -> bool:
    parts = Path(relative).parts
    return is_ignored(parts) or parts[-1].startswith("_") or parts[-1].lower().endswith(_BESIDE)
