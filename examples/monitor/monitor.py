"""Serves a converted model over HTTP and exports how it does: time, confidence, classes, drift.

    python monitor.py --model gesture_classifier_int8.tflite --report report.json --budget-ms 5

``POST /predict`` takes one sample as a JSON array, or ``{"input": array, ...}`` for several inputs.
``GET /metrics`` is for Prometheus, ``GET /healthz`` for the kubelet. ``--replay`` predicts recorded samples
over and over, to look at the dashboard without any client.

Needs what edge_inference needs: numpy, ai-edge-litert and prometheus-client.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from edge_inference import EdgeInferenceError, TFLiteInference, edge_tpu, read_baseline
from edge_inference.metrics import InferenceMetrics

MOST_BYTES = 4 << 20
"""Of one request; a sample is smaller."""

log = logging.getLogger("monitor")


class Service:
    """The model, and what it says of a sample."""

    def __init__(self, options: argparse.Namespace) -> None:
        baseline = read_baseline(options.report, options.model)
        watch = InferenceMetrics().model(
            options.name or options.model.stem,
            classes=options.classes,
            baseline=baseline,
            budget_seconds=None if options.budget_ms is None else options.budget_ms / 1e3,
            window=options.window,
            least=min(200, options.window),
        )
        self.is_classifier = baseline.confidence is not None
        self.model = TFLiteInference(
            options.model,
            threads=options.threads,
            delegates=[edge_tpu()] if options.edge_tpu else [],
            observer=watch,
            logits=None if baseline.confidence is None else baseline.confidence.logits,
        )

    def answer(self, sample: Any) -> dict[str, Any]:
        """Class and confidence for a classifier, the outputs by name for other models.

        Raises ``ValueError`` for what the model cannot take.
        """
        named = sample if isinstance(sample, dict) else dict.fromkeys(list(self.model.inputs)[:1], sample)
        arrays = {name: _numbers(values) for name, values in named.items()}
        if self.is_classifier and arrays.keys() == self.model.inputs.keys() and len(arrays) == 1:
            label, confidence = self.model.predict_single(*arrays.values())
            return {"label": label, "confidence": round(confidence, 6)}
        outputs = self.model.predict(arrays)
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise ValueError("the model gives NaN or infinity for this sample")  # which JSON does not have
        return {name: values.tolist() for name, values in outputs.items()}


def _numbers(values: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError("a sample is an array of numbers")
    return array


class Handler(BaseHTTPRequestHandler):
    """One request; ``service`` is set by :func:`main`."""

    service: Service
    timeout = 10  # a client that says nothing must not hold a thread

    def do_GET(self) -> None:
        """Metrics and health."""
        if self.path == "/metrics":
            self._send(200, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
        elif self.path == "/healthz":
            self._send(200, b"ok\n", "text/plain")
        else:
            self._tell(404, {"error": "there are /predict, /metrics and /healthz"})

    def do_POST(self) -> None:
        """Answer with a prediction."""
        if self.path != "/predict":
            self._tell(404, {"error": "there are /predict, /metrics and /healthz"})
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            self.close_connection = True
            self._tell(413, {"error": f"a request has a Content-Length of at most {MOST_BYTES}"})
            return
        try:
            self._tell(200, self.service.answer(json.loads(self.rfile.read(int(length)))))
        except (ValueError, RecursionError, OverflowError) as error:
            self._tell(400, {"error": str(error)[:500]})
        except RuntimeError as error:
            log.exception("the model did not run")
            self._tell(500, {"error": str(error)[:500]})

    def log_message(self, text: str, *arguments: object) -> None:
        """Log nothing: requests are counted."""

    def _tell(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, json.dumps(document).encode() + b"\n", "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def replay(service: Service, samples: np.ndarray[Any, Any], rate: float, stop: threading.Event) -> None:
    """Asks the model for one sample after the other, ``rate`` a second, until ``stop``."""
    position = 0
    while not stop.wait(1 / rate):
        service.answer(samples[position % len(samples)])
        position += 1


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description="Serve a TFLite model and export how it does.")
    parser.add_argument("--model", type=Path, required=True, help="the .tflite file")
    parser.add_argument("--report", type=Path, required=True, help="report.json of its conversion")
    parser.add_argument("--name", help="the metrics' label (default: the file's name)")
    parser.add_argument("--classes", type=lambda text: text.split(","), default=[], help="names, with commas")
    parser.add_argument(
        "--budget-ms", type=float, help="time that a sample may take; for the alert InferenceSlow"
    )
    parser.add_argument("--window", type=int, default=1000, help="samples that drift looks back")
    parser.add_argument("--threads", type=int, default=1, help="threads of the CPU's kernels")
    parser.add_argument("--edge-tpu", action="store_true", help="run on Coral's Edge TPU")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--replay", type=Path, help="a .npy file of samples to predict again and again")
    parser.add_argument("--rate", type=float, default=20, help="samples a second of --replay")
    return parser.parse_args(arguments)


def main() -> int:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = parsed()
    try:
        service = Service(options)
        samples = None if options.replay is None else np.load(options.replay, allow_pickle=False)
    except (OSError, ValueError, EdgeInferenceError) as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence says it; a traceback would hide it
        return 1
    Handler.service = service
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    stop = threading.Event()

    def end(_number: int, _frame: object) -> None:
        stop.set()
        # Not in this thread: it is the one that serves, and would wait for itself.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    if samples is not None:
        threading.Thread(target=replay, args=(service, samples, options.rate, stop), daemon=True).start()
    log.info("serving %s on %s:%s", options.model.name, options.host, server.server_port)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
