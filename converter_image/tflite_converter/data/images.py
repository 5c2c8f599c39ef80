"""Folders of images: which files are samples, and which class each belongs to. Nothing is decoded here.

Where the folders of a folder are parts of a data set (``train``, ``val``, ``test``), one part is taken, and
its folders are the classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import IntArray
from tflite_converter.data.audio.headers import is_sound
from tflite_converter.data.conventions import choose_split, is_split, parts_of_a_set
from tflite_converter.data.errors import unreadable
from tflite_converter.errors import ConverterError
from tflite_converter.files.digests import file_sha256, folder_sha256
from tflite_converter.files.names import for_shell, is_plain, readable

MAX_IMAGES = 1_000_000

_IGNORED = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir"})
"""What macOS, Windows and Synology leave in folders; names with a leading dot are ignored as well."""
_OTHER_IMAGES: Final = (
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
    ".avif",
    ".jp2",
    ".ppm",
    ".pgm",
    ".pbm",
    ".ico",
    ".tga",
    ".svg",
)
_DATA: Final = (".npy", ".npz", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet", ".h5", ".pkl", ".mat")
_TIFF: Final = (b"II*\0", b"MM\0*")
_HEAD_BYTES = 12
_NAMES_SHOWN: Final = 3
_PART_FILES = 1000
"""After so many files progress is told."""


class ImageFolder(NamedTuple):
    """The images under a folder, in the order of their paths' bytes."""

    files: tuple[Path, ...]
    """Absolute."""
    digests: tuple[str, ...]
    """SHA-256 of each file's bytes."""
    sha256: str
    """Of the folder that was taken, with all its files, ignored ones too:
    :func:`~tflite_converter.files.digests.folder_sha256`."""
    labels: IntArray | None
    """Shape ``(n,)``: the places of the samples' folders in ``class_names``."""
    class_names: tuple[str, ...]
    """Names of the class folders, sorted as Keras's ``image_dataset_from_directory`` does. One without an
    image counts too: the others' numbers depend on it. Of a data set in parts, those of all its parts."""
    split: str | None = None
    """The folder of the part that was taken; None where there are no parts."""
    notes: tuple[str, ...] = ()
    """What was taken for what, where that could be another thing."""


class FileKind(NamedTuple):
    """What the files of a folder are."""

    word: str
    words: str
    check: Callable[[Path, str, str, Stage], None]
    """Refuse a file that is none, by its path, its path in the folder, the folder's name and the stage."""


def scan(
    folder: Path,
    name: str,
    stage: Stage,
    after_part: Callable[[float], None] = lambda _done: None,
    kind: FileKind | None = None,
) -> ImageFolder:
    """Find the images under ``folder``: directly in it, or each in the folder of its class.

    Args:
        folder: Where the images lie, or the parts of a data set, of which ``stage`` takes its own.
        name: What messages call it.
        stage: The stage to blame.
        after_part: Hears how many of the files were read, as a share.
        kind: What the files are where they are no images.

    Raises:
        ConverterError: DataUnreadable for links, special files, files that are no images, and images both
            beside and inside class folders; DataTooFew where there is none.

    """
    kind = kind or IMAGE_FILES
    root = _unwrapped(folder.resolve(), is_part=False)
    outer = root
    splits = _splits(root, name, stage)
    split = choose_split(splits, stage) if splits else None
    roots = [_unwrapped(root / part, is_part=True) for part in splits] or [root]
    if split is not None:
        outer = root / split
        root = roots[splits.index(split)]
    samples: list[tuple[str, ...]] = []
    digests: dict[str, str] = {}
    files = sorted(files_in(root, name, stage), key=lambda parts: "/".join(parts).encode())
    for number, parts in enumerate(files, 1):
        relative = "/".join(parts)
        digests[relative] = file_sha256(root / relative)
        if not is_ignored(parts):
            kind.check(root / relative, relative, name, stage)
            samples.append(parts)
        if number % _PART_FILES == 0:
            after_part(number / len(files))
    if not samples:
        raise ConverterError(FailureReason.DATA_TOO_FEW, stage, f"{name} holds no {kind.word}")
    class_names, labels = _classes(roots, samples, name, stage, kind)
    relatives = ["/".join(parts) for parts in samples]
    return ImageFolder(
        tuple(root / relative for relative in relatives),
        tuple(digests[relative] for relative in relatives),
        folder_sha256(digests),
        labels,
        class_names,
        split,
        _notes(root, folder.resolve() if split is None else outer, class_names, f"{kind.words} of {name}"),
    )


def expect_images(folder: Path, name: str, stage: Stage) -> None:
    """Refuse a folder whose first file, but for those that are left there by systems, is no image.

    Raises:
        ConverterError: DataTooFew where there is no file, DataUnreadable.

    """
    root = folder.resolve()
    files = sorted("/".join(parts) for parts in files_in(root, name, stage) if not is_ignored(parts))
    if not files:
        raise ConverterError(FailureReason.DATA_TOO_FEW, stage, f"{name} holds no file")
    if all(Path(relative).suffix.lower() in _DATA for relative in files):
        shown = ", ".join(map(readable, files[:_NAMES_SHOWN])) + (", …" if len(files) > _NAMES_SHOWN else "")
        why = f"it holds no image, but {shown}"
        raise unreadable(name, why, stage, hint="give one file of samples itself, not what holds it")
    with (root / files[0]).open("rb") as stream:
        if is_sound(stream.read(_HEAD_BYTES)):
            why = "it holds sounds, and nothing says how the model was trained to hear them"
            hint = "set --audio-sample-rate, --audio-clip-millis and --audio-features / audio, as in training"
            raise unreadable(name, why, stage, hint=hint)
    _check_image(root / files[0], files[0], name, stage)


def _unwrapped(root: Path, *, is_part: bool) -> Path:
    """Return the folder in ``root`` that holds more than one folder, or files: what wraps it is no class.

    A folder in which there is nothing but one folder with other folders, as archives and downloads have it,
    says nothing. Outside the parts of a data set, one that is called as a part is kept.
    """
    while len(entries := _entries(root)) == 1 and _is_folder(entries[0]):
        inner = _entries(entries[0])
        if not inner or not all(map(_is_folder, inner)) or (is_split(entries[0].name) and not is_part):
            break
        root = entries[0]
    return root


def _entries(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not is_ignored((path.name,))] if folder.is_dir() else []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _notes(root: Path, outer: Path, class_names: tuple[str, ...], files: str) -> tuple[str, ...]:
    """Say which folders were taken for the classes, and in which order, where that could be another."""
    notes: tuple[str, ...] = ()
    if class_names and root != outer:
        inside = readable(str(root.relative_to(outer)))
        notes = (f"all {files} lie in the folder {inside!r}: the folders in it are the classes",)
    if class_names and all(map(str.isdecimal, class_names)):
        by_number = sorted(class_names, key=int)
        if place := next((i for i, each in enumerate(class_names) if each != by_number[i]), 0):
            text = f"the classes of the {files} are in the order of their folders' names as text, as in Keras"
            notes += (f"{text}: class {place} is the folder {class_names[place]!r}",)
    return notes


def _splits(folder: Path, name: str, stage: Stage) -> list[str]:
    """Return the folders in ``folder`` that are parts of a data set; none where they are classes.

    Raises:
        ConverterError: DataUnreadable where parts lie beside other folders or images.

    """
    entries = _entries(folder)
    splits = sorted(path.name for path in entries if is_split(path.name) and path.is_dir())
    if len(splits) == len(entries):
        return splits
    names = sorted(path.name for path in entries)
    if all(map(_is_folder, entries)) and parts_of_a_set(names):
        return names
    kinds = {choose_split((split,), stage).lower()[:2] for split in splits}
    if len(kinds) < 2:
        return []  # a class may be called train, beside bus and car
    strange = readable(min(path.name for path in entries if path.name not in splits))
    why = f"it holds {' and '.join(splits)}, which look like parts of a data set, and {strange!r} beside them"
    split = choose_split(splits, stage)
    raise unreadable(name, why, stage, hint=f"give the folder of one part: {for_shell(folder / split)}")


def files_in(root: Path, name: str, stage: Stage) -> Iterator[tuple[str, ...]]:
    """Yield the parts of every file's path; follow no link, and refuse all but files and folders."""
    waiting: list[tuple[str, ...]] = [()]
    count = 0
    while waiting:
        folder = waiting.pop()
        with os.scandir(root.joinpath(*folder)) as entries:
            for entry in entries:
                parts = (*folder, entry.name)
                if not is_plain(entry.name):
                    shown = readable("/".join(parts))
                    why = f"it holds '{shown}', whose name is not UTF-8 or has control characters"
                    raise unreadable(name, why, stage, hint="rename it")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(parts)
                    continue
                if not entry.is_file(follow_symlinks=False):
                    kind = "a symbolic link" if entry.is_symlink() else "not a regular file"
                    raise unreadable(name, f"{'/'.join(parts)!r} in it is {kind}", stage, hint=_PLAIN)
                count += 1
                if count > MAX_IMAGES:
                    raise unreadable(name, f"it holds more than {MAX_IMAGES} files", stage, hint=_FEWER)
                yield parts


_PLAIN = "give a folder of plain files"
_FEWER = "give a part of it: a few hundred for each class are plenty"


def is_ignored(parts: tuple[str, ...]) -> bool:
    """Whether a path is of something that systems leave in folders."""
    return any(part.lower() in _IGNORED or part.startswith(".") for part in parts)


def _check_image(path: Path, relative: str, name: str, stage: Stage) -> None:
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if is_image(head):
        return
    if not head:
        raise unreadable(name, f"{relative!r} in it is empty", stage, hint="copy it again, or leave it out")
    why = f"{relative!r} in it is not a PNG, JPEG, BMP, GIF or WebP image"
    hint = "leave only sample images in the folder"
    if path.suffix.lower() in _OTHER_IMAGES or head[4:8] == b"ftyp" or head[:4] in _TIFF:
        hint = "save it as PNG or JPEG"
    raise unreadable(name, why, stage, hint=hint)


IMAGE_FILES: Final = FileKind("image", "images", _check_image)


def is_image(head: bytes) -> bool:
    """Whether what begins with ``head`` is an image of a format that is read here."""
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a")) or (
        head[:4] == b"RIFF" and head[8:_HEAD_BYTES] == b"WEBP"
    )


def _classes(
    roots: list[Path], samples: list[tuple[str, ...]], name: str, stage: Stage, kind: FileKind
) -> tuple[tuple[str, ...], IntArray | None]:
    loose = [parts for parts in samples if len(parts) == 1]
    if len(loose) == len(samples):
        return (), None
    if loose:
        why = f"there are {kind.words} beside the class folders in it, {loose[0][0]!r} for one"
        hint = f"put every {kind.word} into the folder of its class, or all into one folder"
        raise unreadable(name, why, stage, hint=hint)
    folders = {p.name for root in roots for p in root.iterdir() if p.is_dir() and not is_ignored((p.name,))}
    class_names = tuple(sorted(folders))
    number = {class_name: i for i, class_name in enumerate(class_names)}
    return class_names, np.array([number[parts[0]] for parts in samples], dtype=np.int64)
