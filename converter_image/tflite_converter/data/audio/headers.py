"""What the beginning of a WAV or FLAC file says of it, read without a decoder.

WAV is RIFF's, as in "Multimedia Programming Interface and Data Specifications 1.0", with Microsoft's
WAVE_FORMAT_EXTENSIBLE; FLAC's first block is STREAMINFO of RFC 9639, section 8.2.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Final, NamedTuple

_WAV_BYTES: Final = 12
_CHUNK_HEADER: Final = 8
_MAX_CHUNKS: Final = 1000
"""Before the samples; real files have a few."""
_STREAMED: Final = (0, 0xFFFFFFFF)
"""Sizes that a program writes which does not know the end yet."""
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_COMPRESSED: Final = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 85: "MP3"}
_WIDTHS: Final = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_SUBTYPE: Final = slice(24, 26)
"""Of an extensible format: the first bytes of its GUID are the number of the real one."""
_FLAC_MAGIC: Final = b"fLaC"
_FLAC_BYTES: Final = 42
_OTHERS: Final = (
    (b"ID3", "an MP3 file"),
    (b"OggS", "an Ogg file"),
    (b"FORM", "an AIFF file"),
    (b"RF64", "a WAV file of 64 bits (RF64)"),
    (b"caff", "a Core Audio file"),
)


class Sound(NamedTuple):
    """What a sound file says of itself."""

    form: str
    """``WAV`` or ``FLAC``."""
    rate: int
    """Samples a second of each channel."""
    channels: int
    samples: int
    """Of each channel."""


class SoundError(Exception):
    """What is wrong with a sound file, in words."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


SAVE_AS_WAV: Final = "save it as WAV (PCM) or FLAC"
COPY_AGAIN: Final = "copy it again, or leave it out"
_CHANGED: Final = "leave it out, or save it again"


def is_sound(head: bytes) -> bool:
    """Whether what begins with ``head`` (12 bytes) is a sound file of a format that is read here."""
    return head.startswith(_FLAC_MAGIC) or (head[:4] == b"RIFF" and head[8:_WAV_BYTES] == b"WAVE")


def read_header(path: Path) -> Sound:
    """Read what a file says of itself, and compare it with the file's size.

    Raises:
        SoundError: for a file that is truncated, of another format, or that no model was trained with.

    """
    with path.open("rb") as stream:
        head = stream.read(_FLAC_BYTES)
        if not head:
            raise SoundError("it is empty", COPY_AGAIN)
        if not is_sound(head[:_WAV_BYTES]):
            other = next((words for magic, words in _OTHERS if head.startswith(magic)), None)
            raise SoundError(f"it is {other}" if other else "it is no WAV or FLAC file", SAVE_AS_WAV)
        if head.startswith(_FLAC_MAGIC):
            sound = _flac(head)
        else:
            stream.seek(_WAV_BYTES)
            sound = _wav(stream, path.stat().st_size)
    if sound.channels == 0 or sound.rate == 0:
        raise SoundError(f"its header says {sound.channels} channels of {sound.rate} Hz", _CHANGED)
    if sound.samples == 0:
        raise SoundError("it holds no sample", _CHANGED)
    return sound


def _flac(head: bytes) -> Sound:
    if len(head) < _FLAC_BYTES:
        raise SoundError("it is truncated: it ends within its header", COPY_AGAIN)
    if head[4] & 0x7F:
        raise SoundError("its header is corrupt: it does not begin with a description", COPY_AGAIN)
    # 20 bits of the rate, 3 of the channels less one, 5 of the sample's size less one, 36 of the samples.
    packed = int.from_bytes(head[18:26])
    samples = packed & ((1 << 36) - 1)
    if not samples:
        raise SoundError("its header does not say how long it is", _CHANGED)
    return Sound("FLAC", packed >> 44, (packed >> 41 & 0x7) + 1, samples)


def _wav(stream: IO[bytes], size: int) -> Sound:
    sound: tuple[int, int, int] | None = None
    for _ in range(_MAX_CHUNKS):
        header = stream.read(_CHUNK_HEADER)
        if len(header) < _CHUNK_HEADER:
            raise SoundError("it is truncated: it holds no samples", COPY_AGAIN)
        name, length = header[:4], int.from_bytes(header[4:], "little")
        if name == b"data":
            if sound is None:
                raise SoundError("its header is corrupt: the samples come before their format", COPY_AGAIN)
            rate, channels, frame = sound
            there = size - stream.tell()
            if length in _STREAMED and there:
                return Sound("WAV", rate, channels, there // frame)
            if length > there:
                why = f"it is truncated: {length - there} of the {length} bytes of its samples are missing"
                raise SoundError(why, COPY_AGAIN)
            return Sound("WAV", rate, channels, length // frame)
        if name == b"fmt ":
            sound = _format(stream.read(min(length, 40)))
            length -= min(length, 40)
        stream.seek(length + (length & 1), 1)
    raise SoundError("its header is corrupt: no samples come after it", COPY_AGAIN)


def _format(content: bytes) -> tuple[int, int, int]:
    """Return rate, channels, and the bytes of a sample of all channels."""
    if len(content) < 16:
        raise SoundError("it is truncated: it ends within its header", COPY_AGAIN)
    tag, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", content[:16])
    if tag == _EXTENSIBLE and len(content) >= _SUBTYPE.stop:
        tag = int.from_bytes(content[_SUBTYPE], "little")
    if tag not in _WIDTHS:
        name = _COMPRESSED.get(tag, f"format {tag}, which is not known")
        raise SoundError(f"its samples are compressed by {name}", SAVE_AS_WAV)
    if bits not in _WIDTHS[tag]:
        raise SoundError(f"its samples have {bits} bits", "save it with 16, 24 or 32 bits")
    if channels and frame != channels * bits // 8:
        raise SoundError("its header is corrupt: samples have another size than their bits", COPY_AGAIN)
    return rate, channels, max(1, frame)
