"""The entries of a .pt2 file from a stranger: each is known by its name, or the file is refused.

Nothing is loaded here, and nothing is unpickled anywhere: of what is pickled in a file only the names are
read (:mod:`pytorch_engine.pickles`). torch stores its entries as they are, so that an archive has no more in
it than bytes in the file.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from conversion_engine.messages import EngineError, Reason, Stage
from pytorch_engine.pickles import check_tensors

EXPORT_AGAIN: Final = (
    "export it again, in inference mode and with tensors alone: ep = torch.export.export(model.eval(),"
    ' (example,)); torch.export.save(ep, "model.pt2")'
)
_MOST_BYTES: Final = 2 << 30
_MOST_ENTRIES: Final = 100_000
_MOST_JSON_BYTES: Final = 256 << 20
_MODEL: Final = re.compile(r"models/(?P<name>\w+)\.json")
_TENSORS: Final = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_PLAIN: Final = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|\.format_version"
    r"|\.storage_alignment|extra/.*"
)
"""Entries that say nothing of the model; what a user has added is among them."""
_OBJECTS: Final = re.compile(r"data/constants/(custom|opaque)_obj_")
_COMPILED: Final = re.compile(r"data/(aotinductor|executorch|mtia)/")
_OLD: Final = re.compile(r"data/(weights|constants)/\w+\.pt")
_STORAGE_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2, 28: 2, 34: 4, 35: 8}
"""Bytes of a value, by the file's number of its type."""


class Archive:
    """A .pt2 file whose entries are those of an exported program."""

    def __init__(self, path: Path) -> None:
        """Look at all of its entries.

        Raises:
            EngineError: UnreadableModel, UnsafeModel, UnsupportedFormat, SourceTooLarge.

        """
        self.name = path.name
        size = path.stat().st_size
        if size > _MOST_BYTES:
            cause = f"{path.name} has {size >> 20} MiB, and a TFLite file ends at 2 GiB"
            raise EngineError(Reason.SOURCE_TOO_LARGE, Stage.LOAD, cause)
        try:
            self._zip = zipfile.ZipFile(path)
            infos = self._zip.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise self._unreadable(f"is truncated or corrupt: {error}") from error
        self._check_container(infos, size)
        root = next((i.filename for i in infos if i.filename.endswith("archive_format")), "archive_format")
        self._root = root.removesuffix("archive_format")
        self._entries = {info.filename.removeprefix(self._root): info for info in infos}
        if self._text("archive_format") != "pt2":
            raise self._unreadable("is no archive of torch.export.save")
        self._check_entries()
        self.model = self._only_model()

    def read(self, entry: str) -> bytes:
        """Return an entry's bytes.

        Raises:
            EngineError: UnreadableModel.

        """
        info = self._entries.get(entry)
        if info is None:
            raise self._unreadable(f"has no {entry}")
        try:
            return self._zip.read(info)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
            raise self._unreadable(f"is truncated or corrupt in {entry}: {error}") from error

    def document(self, entry: str) -> Any:
        """Return what JSON an entry holds.

        Raises:
            EngineError: UnreadableModel, SourceTooLarge.

        """
        info = self._entries.get(entry)
        if info is not None and info.file_size > _MOST_JSON_BYTES:
            cause = f"{entry} in {self.name} has {info.file_size >> 20} MiB, more than any graph"
            raise EngineError(Reason.SOURCE_TOO_LARGE, Stage.LOAD, cause)
        try:
            return json.loads(self.read(entry))
        except (ValueError, RecursionError) as error:
            raise self._unreadable(f"has a {entry} that is no JSON") from error

    def payload(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return what a file says of its weights (``weights``) or constants, by their names.

        Each lies as plain numbers in an entry that is large enough.

        Raises:
            EngineError: UnsafeModel for one that is pickled; UnreadableModel.

        """
        entry = f"data/{kind}/{self.model}_{kind}_config.json"
        document = self.document(entry)
        config = document.get("config") if isinstance(document, dict) else None
        if not isinstance(config, dict):
            raise self._unreadable(f"has a {entry} that says nothing")
        return {name: self._tensor(name, kind, item) for name, item in config.items()}

    def _tensor(self, name: str, kind: str, item: Any) -> dict[str, Any]:
        shown = repr(name[:80])
        if not isinstance(item, Mapping) or not isinstance(item.get("path_name"), str):
            raise self._unreadable(f"does not say where {shown} is")
        entry = f"data/{kind}/{item['path_name']}"
        if item.get("use_pickle") is not False:
            cause = f"{self.name} has {shown} as a pickled object, which is never loaded"
            raise EngineError(Reason.UNSAFE_MODEL, Stage.LOAD, cause, hint=EXPORT_AGAIN)
        if not _TENSORS.fullmatch(entry) or entry not in self._entries:
            raise self._unreadable(f"has no entry for {shown}")
        try:
            meta = item["tensor_meta"]
            sizes: list[int] = [int(size["as_int"]) for size in meta["sizes"]]
            strides = [int(stride["as_int"]) for stride in meta["strides"]]
            offset = int(meta["storage_offset"]["as_int"])
            width = _STORAGE_BYTES[meta["dtype"]]
            reach = offset + sum((s - 1) * t for s, t in zip(sizes, strides, strict=True)) + 1
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable(f"does not say what {shown} is") from error
        if min([*sizes, *strides, offset], default=0) < 0 or (
            0 not in sizes and reach * width > self._size(entry)
        ):
            raise self._unreadable(f"has too few bytes for {shown} of the sizes {sizes}")
        return {
            "path_name": item["path_name"],
            "is_param": bool(item.get("is_param")),
            "use_pickle": False,
            "tensor_meta": {**meta, "device": {"type": "cpu", "index": None}, "requires_grad": False},
        }

    def _size(self, entry: str) -> int:
        return self._entries[entry].file_size

    def _check_container(self, infos: list[zipfile.ZipInfo], size: int) -> None:
        names = [info.filename for info in infos]
        if len(names) > _MOST_ENTRIES or len(set(names)) != len(names):
            raise self._unsafe("has too many entries, or two of one name")
        for info in infos:
            name = info.filename
            parts = name.split("/")
            if name.startswith("/") or "\\" in name or ".." in parts or not name.isprintable():
                raise self._unsafe(f"has an entry that leads out of it: {name[:80]!r}")
            if info.flag_bits & 1 or info.compress_type != zipfile.ZIP_STORED:
                raise self._unsafe(
                    f"has the entry {name[:80]!r} compressed or encrypted, as torch writes none"
                )
        if sum(max(info.file_size, info.compress_size) for info in infos) > size:
            raise self._unsafe("has entries of more bytes than the file")

    def _check_entries(self) -> None:
        for entry in self._entries:
            if _OBJECTS.match(entry):
                raise self._unsafe(f"has {entry[:80]!r}, a pickled object, which is never loaded")
            if _COMPILED.match(entry):
                raise self._unsafe(f"has compiled code in {entry[:80]!r}, which is never run")
            if _OLD.fullmatch(entry):
                cause = f"{self.name} was exported by torch 2.8 or older: its weights are pickled"
                hint = f"with torch 2.9 or newer, {EXPORT_AGAIN}"
                raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)
            if entry.startswith("data/sample_inputs/"):
                check_tensors(self.read(entry), f"{entry} in {self.name}", EXPORT_AGAIN)
            elif not self._is_known(entry):
                raise self._unsafe(f"has {entry[:80]!r}, which no exported program has")
        if "byteorder" in self._entries and self._text("byteorder") != "little":
            raise self._unreadable("was written on a machine of another byte order")

    def _is_known(self, entry: str) -> bool:
        config = re.fullmatch(r"data/(weights|constants)/\w+_(weights|constants)_config\.json", entry)
        return any((config, _MODEL.fullmatch(entry), _TENSORS.fullmatch(entry), _PLAIN.fullmatch(entry)))

    def _only_model(self) -> str:
        names = [found["name"] for entry in self._entries if (found := _MODEL.fullmatch(entry))]
        if len(names) != 1:
            cause = f"{self.name} holds {len(names)} programs, and one is converted"
            raise EngineError(Reason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=EXPORT_AGAIN)
        return names[0]

    def _text(self, entry: str) -> str:
        return self.read(entry)[:80].decode(errors="replace").strip()

    def _unreadable(self, what: str) -> EngineError:
        return EngineError(Reason.UNREADABLE_MODEL, Stage.LOAD, f"{self.name} {what}", hint=EXPORT_AGAIN)

    def _unsafe(self, what: str) -> EngineError:
        return EngineError(Reason.UNSAFE_MODEL, Stage.LOAD, f"{self.name} {what}", hint=EXPORT_AGAIN)
