"""A client of container registries that pushes: the OCI distribution specification 1.1.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md. Blobs go up in one piece each, and
none that the registry has. What is pushed is byte by byte what was read, so that its digest is known before.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self
from urllib.parse import urljoin, urlsplit

import httpx

from devcluster.errors import ReleaseError
from devcluster.release.credentials import Credentials

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_CERTIFICATES: Final = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))
_CHUNK_BYTES: Final = 1 << 20
_TIMEOUT: Final = httpx.Timeout(30, read=600, write=600)  # a registry may store a large blob while one waits
_HOST: Final = re.compile(r"[a-zA-Z0-9.-]+(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")
_PATH: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_CREATED: Final = 201
_ERROR: Final = 400


def parsed(registry: str) -> tuple[str, str]:
    """Return the host, with its port, and the path of ``HOST[:PORT][/PREFIX]``.

    Raises:
        ReleaseError: It is something else, such as a URL.

    """
    host, _, path = registry.rstrip("/").partition("/")
    named = "." in host or ":" in host or host == "localhost"  # as container engines tell a host from a path
    if not (named and _HOST.fullmatch(host)) or (path and not _PATH.fullmatch(path)):
        raise ReleaseError(
            f"REGISTRY={registry} is no registry: write HOST[:PORT]/PREFIX, as in registry.example.com/edge,"
            " without a scheme and in small letters"
        )
    return host, path


def is_loopback(host: str) -> bool:
    """Whether a host, with or without port, is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def authorities(host: str) -> Path | None:
    """Return the certificate authorities that container engines are told to trust for a host, if any."""
    files = (folder / host / "ca.crt" for folder in _CERTIFICATES)
    return next((file for file in files if file.is_file()), None)


class Registry:
    """A registry, for as long as the context is open.

    Args:
        host: With its port.
        plain_http: Speak HTTP without TLS.
        credentials: Who one is there; None to come as nobody.

    """

    def __init__(self, host: str, *, plain_http: bool, credentials: Credentials | None) -> None:
        self.host = host
        self.plain_http = plain_http
        self._credentials = credentials
        self._authorization: dict[str, str] = {}
        context = ssl.create_default_context()
        if file := authorities(host):
            context.load_verify_locations(file)
        self._http = httpx.Client(
            base_url=f"{'http' if plain_http else 'https'}://{host}",
            timeout=_TIMEOUT,
            verify=context,
            trust_env=not is_loopback(host),  # no proxy leads to this machine
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def check_push(self, repository: str) -> None:
        """Ask whether one may push, by an upload that is begun and given up.

        Raises:
            ReleaseError: The registry is not there, is none, or does not let one.

        """
        place = self._begin(repository, {})
        self._send("DELETE", place, repository)  # a registry that cannot give up forgets it by itself

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob."""
        answer = self._send("HEAD", f"/v2/{repository}/blobs/{digest}", repository)
        return answer.status_code < _ERROR  # some send one on to the store that has it

    def push_blob(
        self,
        repository: str,
        digest: str,
        size: int,
        opened: Callable[[], BinaryIO],
        *,
        also_in: str | None = None,
    ) -> None:
        """Push a blob unless it is there; link one from ``also_in`` where the registry does that.

        Args:
            repository: Where it goes.
            digest: ``sha256:...`` of the content.
            size: Bytes of the content.
            opened: Opens the content.
            also_in: Another repository of the registry.

        """
        if self.has_blob(repository, digest):
            return
        if also_in and self._mounted(repository, digest, also_in):
            return
        place = self._begin(repository, {})
        separator = "&" if "?" in place else "?"
        with opened() as content:
            answer = self._send(
                "PUT",
                f"{place}{separator}digest={digest}",
                repository,
                content=_chunks(content),
                headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
            )
        self._expect(answer, f"did not take a blob of {repository}")

    def push_bytes(self, repository: str, content: bytes) -> str:
        """Push a small blob; return its digest."""
        digest = sha256(content)
        if not self.has_blob(repository, digest):
            place = self._begin(repository, {})
            separator = "&" if "?" in place else "?"
            headers = {"Content-Type": "application/octet-stream"}
            answer = self._send(
                "PUT", f"{place}{separator}digest={digest}", repository, content=content, headers=headers
            )
            self._expect(answer, f"did not take a blob of {repository}")
        return digest

    def push_manifest(self, repository: str, reference: str, media_type: str, content: bytes) -> None:
        """Push a manifest or an index as a tag, or by its digest."""
        answer = self._send(
            "PUT",
            f"/v2/{repository}/manifests/{reference}",
            repository,
            content=content,
            headers={"Content-Type": media_type},
        )
        self._expect(answer, f"did not take {repository}:{reference}")

    def digest_of(self, repository: str, tag: str) -> str | None:
        """Return the digest that a tag has now; None where there is no such tag."""
        content = self.manifest(repository, tag)
        return None if content is None else sha256(content)

    def manifest(self, repository: str, tag: str) -> bytes | None:
        """Return the manifest or index that a tag has now; None where there is no such tag."""
        headers = {"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}"}
        answer = self._send("GET", f"/v2/{repository}/manifests/{tag}", repository, headers=headers)
        if answer.status_code == _NOT_FOUND:
            return None
        self._expect(answer, f"did not say what {repository}:{tag} is")
        return answer.content

    # Internals.

    def _begin(self, repository: str, parameters: Mapping[str, str]) -> str:
        answer = self._send("POST", f"/v2/{repository}/blobs/uploads/", repository, parameters=parameters)
        self._expect(answer, f"does not let one push to {repository}")
        return self._location(answer)

    def _mounted(self, repository: str, digest: str, other: str) -> bool:
        parameters = {"mount": digest, "from": other}
        answer = self._send("POST", f"/v2/{repository}/blobs/uploads/", repository, parameters=parameters)
        if answer.status_code >= _ERROR:
            return False
        if answer.status_code != _CREATED:
            self._send("DELETE", self._location(answer), repository)
        return answer.status_code == _CREATED

    def _location(self, answer: httpx.Response) -> str:
        location = answer.headers.get("Location")
        if not location:
            raise ReleaseError(f"{self.host} is no registry: it does not say where uploads go")
        return urljoin(str(answer.request.url), str(location))

    def _send(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        content: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request; one without a stream again, with credentials, where the registry asks for these."""
        for attempt in range(2):
            request = self._http.build_request(
                method, url, params=parameters or None, content=content, headers=dict(headers or {})
            )
            own = request.url.netloc == self._http.base_url.netloc  # uploads may go to a store elsewhere
            if own and repository in self._authorization:
                request.headers["Authorization"] = self._authorization[repository]
            answer = self._answer(request)
            repeatable = content is None or isinstance(content, bytes)
            if answer.status_code != _UNAUTHORIZED or attempt or not repeatable or not own:
                break
            if not self._authorize(repository, answer):
                break
        return answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._http.send(request)
        except httpx.HTTPError as error:
            raise ReleaseError(f"{self.host} does not answer: {error}.{self._hint(str(error))}") from error

    def _hint(self, words: str) -> str:
        if "CERTIFICATE_VERIFY_FAILED" in words:
            return f" Put its authority into {_CERTIFICATES[0]}/{self.host}/ca.crt."
        if "WRONG_VERSION_NUMBER" in words or "record layer" in words:
            return " It may speak HTTP without TLS: PLAIN_HTTP=1."
        if self.plain_http:
            return " HTTP without TLS was spoken; PLAIN_HTTP=0 speaks TLS."
        return " Is REGISTRY right, and the registry reached from here?"

    def _authorize(self, repository: str, answer: httpx.Response) -> bool:
        """Keep what the registry asks for; whether there is something to try again with."""
        challenge = answer.headers.get("WWW-Authenticate", "")
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic" and self._credentials:
            self._authorization[repository] = f"Basic {self._credentials.basic}"
            return True
        if scheme.lower() != "bearer":
            return False
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        parameters = {"scope": f"repository:{repository}:pull,push"}
        parameters |= {"service": asked["service"]} if "service" in asked else {}
        headers = {"Authorization": f"Basic {self._credentials.basic}"} if self._credentials else {}
        request = self._http.build_request("GET", asked.get("realm", ""), params=parameters, headers=headers)
        given = self._answer(request)
        if given.status_code >= _ERROR:
            self._refuse(given, f"gives no token for {repository}")
        document = given.json()
        self._authorization[repository] = f"Bearer {document.get('token') or document.get('access_token')}"
        return True

    def _expect(self, answer: httpx.Response, words: str) -> None:
        if answer.status_code >= _ERROR:
            self._refuse(answer, words)

    def _refuse(self, answer: httpx.Response, words: str) -> None:
        """Raise what the registry says, and what to do about it."""
        said = f"{self.host} {words}: {answer.status_code} {_errors(answer)}".rstrip()
        if answer.status_code == _UNAUTHORIZED and self._credentials is None:
            raise ReleaseError(f"{said}. It wants credentials: `buildah login {self.host}` keeps them.")
        if answer.status_code == _UNAUTHORIZED:
            user = self._credentials.user if self._credentials else ""
            raise ReleaseError(f"{said}. The credentials of {user} do not hold: `buildah login {self.host}`.")
        if answer.status_code == _FORBIDDEN:
            raise ReleaseError(f"{said}. Whoever is logged in may not push there: ask for the right to.")
        if answer.status_code == _NOT_FOUND:
            raise ReleaseError(f"{said}. Some registries want a repository to be made first; and is it one?")
        raise ReleaseError(said)


def sha256(content: bytes) -> str:
    """Return the digest of a content, as registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _chunks(content: BinaryIO) -> Iterator[bytes]:
    while chunk := content.read(_CHUNK_BYTES):
        yield chunk


def _errors(answer: httpx.Response) -> str:
    """Return what a registry says in its answer, on one short line."""
    try:
        errors = answer.json()["errors"]
        text = "; ".join(f"{e.get('code', '')} {e.get('message', '')}".strip() for e in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        text = answer.reason_phrase
    return " ".join(text.split())[:300]
