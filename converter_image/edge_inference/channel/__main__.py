"""``python -m edge_inference.channel``: follows a channel, and says on standard output what becomes of it."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path

from ..errors import ChannelError
from .following import ModelChannel


def main(arguments: list[str] | None = None) -> int:
    """Follow a channel; gives the exit code: 0, or with ``--once`` 1 where the poll failed."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        channel = ModelChannel(
            given.url,
            name=given.name,
            public_key=given.public_key.read_bytes(),
            folder=given.folder,
            ca_file=given.ca_file,
        )
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    while True:
        well = _poll(channel)
        if given.once:
            return 0 if well else 1
        time.sleep(given.interval)


def _poll(channel: ModelChannel) -> bool:
    """Poll once, and print one line of JSON; gives whether the pointer was followed."""
    line: dict[str, object]
    try:
        update = channel.poll()
        line = {"outcome": str(update.outcome), "sequence": update.sequence, "sha256": update.sha256}
        if update.message:
            line["message"] = update.message
        well = True
    except (ChannelError, OSError) as error:
        line, well = {"outcome": type(error).__name__, "message": str(error)}, False
    line["runs"] = channel.model.sha256 if channel.has_model else None
    print(json.dumps(line), flush=True)  # noqa: T201 - it is what the program is for
    return well


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge_inference.channel",
        description="Follow a model channel: keep the file that its signed pointer names in a folder.",
    )
    parser.add_argument("url", help="of the pointer, e.g. https://models.example/stable/channel.json")
    parser.add_argument("--name", required=True, help="NAMESPACE/NAME of the channel")
    parser.add_argument("--public-key", required=True, type=Path, metavar="FILE", help="its key, in PEM")
    parser.add_argument("--folder", required=True, type=Path, help="where files and state are kept")
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="certificates to trust as well")
    parser.add_argument("--interval", type=float, default=60.0, metavar="SECONDS", help="between two polls")
    parser.add_argument("--once", action="store_true", help="poll once; 1 where that failed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
