"""A server of MLflow, as far as a conversion needs it: its REST API.

https://mlflow.org/docs/latest/api_reference/rest-api.html. Whoever writes a conversion chooses the server: it
is looked at as web servers are, no redirect is followed, and the login is shown to it alone. MLflow's own
client would bring 70 MB and seconds of imports into the container that has the credentials (decision 0034).
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode, urlsplit

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError, quoted
from tflite_converter.job.stores.connections import (
    PASSING,
    REDIRECTS,
    BrokenError,
    ForbiddenError,
    Line,
    again,
    chunks,
    server_errors,
)

_API: Final = "/api/2.0/mlflow"
_ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts/"
_PROXIED: Final = "mlflow-artifacts"
"""Scheme of artifacts that the server itself keeps."""
_MOST_BYTES: Final = 4 << 20
_EXISTS, _ABSENT = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run of MLflow's."""

    run_id: str
    artifact_uri: str


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a registered model, before it is made."""

    source: str
    run_id: str
    description: str
    tags: Mapping[str, str]


class Tracking:
    """A server of MLflow.

    Args:
        uri: Its address.
        authorization: What is sent in the header of that name; nothing where empty.
        trust: Whose certificates count.

    """

    def __init__(self, uri: str, authorization: str, trust: ssl.SSLContext) -> None:
        self._uri, self._authorization = uri.rstrip("/"), authorization
        self._name = f"MLflow at {urlsplit(uri).netloc}"
        self._line = Line(uri, trust)

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, which is made where there is none.

        Raises:
            ConverterError: RegistrationRefused, RegistryUnavailable. So do all others.

        """
        query = urlencode({"experiment_name": name})
        found = self._call("GET", f"/experiments/get-by-name?{query}", allowed=(_ABSENT,))
        if found is None:
            made = self._call("POST", "/experiments/create", {"name": name}, allowed=(_EXISTS,))
            if made is not None:
                return str(self._at(made, "experiment_id"))
            found = self._call("GET", f"/experiments/get-by-name?{query}")  # another Job was faster
        return str(self._at(found, "experiment", "experiment_id"))

    def find_run(self, experiment: str, tag: str, value: str) -> TrackedRun | None:
        """Return the run with this tag; None where there is none."""
        wanted = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{tag}` = '{value}'",
            "max_results": 1,
        }
        runs = self._get(self._call("POST", "/runs/search", wanted), "runs")
        return self._run(runs[0]) if runs else None

    def make_run(self, experiment: str, name: str, millis: int, tags: Mapping[str, str]) -> TrackedRun:
        """Begin a run."""
        body = {"experiment_id": experiment, "run_name": name, "start_time": millis, "tags": _pairs(tags)}
        return self._run(self._at(self._call("POST", "/runs/create", body), "run"))

    def log(self, run_id: str, millis: int, metrics: Mapping[str, float], params: Mapping[str, str]) -> None:
        """Write figures and parameters of a run."""
        values = [
            {"key": key, "value": value, "timestamp": millis, "step": 0} for key, value in metrics.items()
        ]
        self._call("POST", "/runs/log-batch", {"run_id": run_id, "metrics": values, "params": _pairs(params)})

    def finish(self, run_id: str, millis: int) -> None:
        """End a run well."""
        self._call("POST", "/runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": millis})

    def upload(self, run: TrackedRun, path: Path) -> bool:
        """Upload a file to a run's artifacts; gives False where they lie elsewhere than at the server."""
        place = urlsplit(run.artifact_uri)
        if place.scheme != _PROXIED:
            return False
        target = f"{_ARTIFACTS}{quote(place.path.lstrip('/'))}/{path.name}"
        again(partial(self._put, target, path))
        return True

    def make_model(self, name: str) -> None:
        """Make a registered model, unless there is one."""
        self._call("POST", "/registered-models/create", {"name": name}, allowed=(_EXISTS,))

    def find_version(self, model: str, tags: Mapping[str, str]) -> str | None:
        """Return the version with these tags; None where there is none."""
        parts = [f"name = '{model}'", *(f"tags.`{key}` = '{value}'" for key, value in tags.items())]
        query = urlencode({"filter": " and ".join(parts), "max_results": 1})
        found = self._get(self._call("GET", f"/model-versions/search?{query}"), "model_versions")
        return str(self._at(found[0], "version")) if found else None

    def make_version(self, model: str, version: Version) -> str:
        """Make a version of a registered model; gives its number."""
        body = {
            "name": model,
            "source": version.source,
            "run_id": version.run_id,
            "description": version.description,
            "tags": _pairs(version.tags),
        }
        return str(self._at(self._call("POST", "/model-versions/create", body), "model_version", "version"))

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """Give an alias to a version; the one that had it before loses it."""
        self._call("POST", "/registered-models/alias", {"name": model, "alias": alias, "version": version})

    # How it is asked.

    def _call(
        self, method: str, path: str, body: Json | None = None, allowed: Sequence[str] = ()
    ) -> Json | None:
        """Return an answer; None for one of the errors that are ``allowed``."""
        content = b"" if body is None else json.dumps(body).encode()
        return again(partial(self._call_once, method, path, content, allowed))

    def _call_once(self, method: str, path: str, content: bytes, allowed: Sequence[str]) -> Json | None:
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        status, answer = self._send(method, f"{self._uri}{_API}{path}", headers, [content])
        document = _object(answer)
        if status == HTTPStatus.OK and document is not None:
            return document
        code = "" if document is None else str(document.get("error_code", ""))
        if code not in allowed:
            self._refuse(status, document)
        return None

    def _put(self, path: str, file: Path) -> None:
        headers = {"Content-Length": str(file.stat().st_size)}
        with file.open("rb") as stream:
            status, answer = self._send("PUT", f"{self._uri}{path}", headers, stream)
        if status != HTTPStatus.OK:
            self._refuse(status, _object(answer))

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Any) -> tuple[int, bytes]:
        more = {"Authorization": self._authorization} if self._authorization else {}
        try:
            with (
                server_errors(Stage.PUBLISH, self._name),
                closing(self._line.ask(method, url, {**headers, **more}, body)) as answer,
            ):
                read = bytearray()
                for chunk in chunks(answer):
                    read += chunk
                    if len(read) > _MOST_BYTES:
                        raise ForbiddenError(f"it answers with more than {_MOST_BYTES} bytes")
                return answer.status, bytes(read)
        except BrokenError as error:
            cause = error.failure.cause
            raise BrokenError(_unavailable(cause)) from error
        except ConverterError as error:
            raise _of_registry(error) from error

    def _refuse(self, status: int, document: Json | None) -> NoReturn:
        """Say what an answer means that is not the one that was hoped for."""
        known = {each.value: each.phrase for each in HTTPStatus}
        said = f"{self._name} answers {status} {known.get(status, '')}".rstrip()
        if document is not None and "error_code" in document:
            said += f": {quoted(str(document['error_code']))}: {quoted(str(document.get('message', '')))}"
        elif status == HTTPStatus.OK:
            said += ", and not as MLflow does"
        elif status in REDIRECTS:
            said += ", which is not followed"
        if status in PASSING:
            raise BrokenError(_unavailable(said))
        raise ConverterError(FailureReason.REGISTRATION_REFUSED, Stage.PUBLISH, said)

    def _run(self, document: Any) -> TrackedRun:
        return TrackedRun(
            str(self._at(document, "info", "run_id")), str(self._at(document, "info").get("artifact_uri", ""))
        )

    def _get(self, document: Json | None, name: str) -> list[Any]:
        found = (document or {}).get(name, [])
        if not isinstance(found, list):
            raise self._odd(name)
        return found

    def _at(self, document: Any, *names: str) -> Any:
        """Return what lies at a path of an answer."""
        for name in names:
            if not isinstance(document, dict) or name not in document:
                raise self._odd(name)
            document = document[name]
        return document

    def _odd(self, name: str) -> ConverterError:
        cause = f"{self._name} does not answer as MLflow does: {name} is missing, or is something else"
        return ConverterError(FailureReason.REGISTRATION_REFUSED, Stage.PUBLISH, cause)


def bearer(token: str) -> str:
    """Return the header of a token."""
    return f"Bearer {token}"


def basic(username: str, password: str) -> str:
    """Return the header of a user and their password."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def _unavailable(cause: str) -> ConverterError:
    return ConverterError(FailureReason.REGISTRY_UNAVAILABLE, Stage.PUBLISH, cause)


def _of_registry(error: ConverterError) -> ConverterError:
    """Return a failure of a store as what it is here."""
    is_down = error.reason is FailureReason.STORAGE_UNAVAILABLE
    reason = FailureReason.REGISTRY_UNAVAILABLE if is_down else FailureReason.REGISTRATION_REFUSED
    return ConverterError(reason, Stage.PUBLISH, error.cause)


def _pairs(values: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _object(content: bytes) -> Json | None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
