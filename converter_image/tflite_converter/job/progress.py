"""Says how far ``convert`` is to whoever asks the pod: a percentage from the conversion's steps, over HTTP.

Nobody has to ask. The answer is a stage and a number; the server has one connection at a time, and goes with
the process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import AF_INET, AF_INET6
from typing import Final

from modelconversion_api.reasons import Stage
from modelconversion_api.request import PROGRESS_PATH, PROGRESS_PORT, StageProgress
from tflite_converter.progress import Event

_logger = logging.getLogger(__name__)

_CLIENT_SECONDS: Final = 2.0
_TENSORFLOW: Final = {Stage.LOAD: (0, 25), Stage.CONVERT: (25, 40), Stage.EVALUATE: (40, 50)}
"""Percent at the beginning and at the end of each stage while the original model is read and run."""
_METHODS_BEGIN: Final = 50
_TRAINING: Final = (30, 80)
"""Percent at the beginning and at the end of training, where there is any."""
_OF_A_METHOD: Final = {
    Stage.QUANTIZE: (0.0, 0.3),
    Stage.CALIBRATE: (0.1, 0.3),
    Stage.EVALUATE: (0.3, 1.0),
}
"""Share of one method's work at the beginning and at the end of each stage."""


class Estimate:
    """Makes a percentage of the steps of a conversion into ``methods`` files. It never goes back.

    The original is read and run first; then each method is made and measured, one after another. Further
    tries of a method that misses its gates come after the last one, and move nothing. Where a model is
    trained (``trains``), all that is done twice, with the training in between.
    """

    def __init__(self, methods: int, *, trains: bool = False) -> None:
        self._methods = max(1, methods)
        self._trains = trains
        self._trained = False
        self._begun = 0
        self._stage = Stage.LOAD
        self._percent = 0
        self.latest = StageProgress(stage=Stage.LOAD, percent=0)

    def __call__(self, event: Event) -> None:
        """Take the next step."""
        if event.warning:
            return
        if event.stage is Stage.QUANTIZE and self._stage not in (Stage.QUANTIZE, Stage.CALIBRATE):
            self._begun += 1
        self._stage = event.stage
        share = min(max(event.fraction or 0.0, 0.0), 1.0)
        percent: float
        begin, end = (_TRAINING[1], 100) if self._trained else (0, _TRAINING[0] if self._trains else 100)
        if event.stage is Stage.TRAIN:
            self._trained, self._begun = True, 0
            begin, end = _TRAINING
            percent = 100.0 * share
        elif self._begun == 0:
            first, last = _TENSORFLOW.get(event.stage, (0, 0))
            percent = first + (last - first) * share
        else:
            low, high = _OF_A_METHOD.get(event.stage, (0.0, 0.0))
            done = min(self._begun, self._methods) - 1 + low + (high - low) * share
            percent = _METHODS_BEGIN + (100 - _METHODS_BEGIN) * done / self._methods
        percent = begin + (end - begin) * percent / 100
        self._percent = max(self._percent, min(int(percent), 99))
        self.latest = StageProgress(stage=event.stage, percent=self._percent)


@contextmanager
def serving(estimate: Estimate, address: str | None, port: int = PROGRESS_PORT) -> Iterator[int | None]:
    """Answer with the latest estimate while the block runs; gives the port, None where nobody can ask.

    A conversion does not fail because its progress cannot be served.
    """
    server = _bound(estimate, address, port) if address else None
    if server is None:
        yield None
        return
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="progress", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def _bound(estimate: Estimate, address: str, port: int) -> HTTPServer | None:
    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_SECONDS

        def do_GET(self) -> None:
            if self.path != PROGRESS_PATH:
                self.send_error(404)
                return
            body = estimate.latest.to_json().encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's parameter
            """Being asked is not worth a line of the log."""

    class Server(HTTPServer):
        address_family = AF_INET6 if ":" in address else AF_INET

        def server_bind(self) -> None:
            # HTTPServer's own asks the DNS for the machine's name, which can take seconds in a pod.
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()
            self.server_name, self.server_port = address, int(self.server_address[1])

    try:
        return Server((address, port), Handler)
    except OSError as error:
        _logger.warning("progress cannot be served on %s:%d: %s", address, port, error)
        return None
