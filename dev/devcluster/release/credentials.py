"""Who one is at a registry: what ``buildah login``, ``podman login`` and ``docker login`` have written.

The files and the order in which their entries count are those of containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from devcluster.errors import ReleaseError

Json = dict[str, Any]

_LEGACY_HUB: Final = "https://index.docker.io/v1/"
"""What Docker's own registry is called in these files."""
_HUB: Final = "docker.io"
_TOKEN_USER: Final = "<token>"  # noqa: S105 - a name
"""The user name by which a credential helper says that the secret is a token of OAuth."""


@dataclass(frozen=True)
class Credentials:
    """A user and what proves it."""

    user: str
    secret: str = field(repr=False)

    @property
    def basic(self) -> str:
        """As HTTP's header ``Authorization`` has it after ``Basic``, and the files after ``auth``."""
        return base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


def auth_files(environment: Mapping[str, str]) -> list[Path]:
    """Return the files that may hold credentials, the first that counts first."""
    if named := environment.get("REGISTRY_AUTH_FILE"):
        return [Path(named)]
    home = Path(environment.get("HOME") or "/root")
    folders = [
        environment.get("XDG_RUNTIME_DIR"),
        environment.get("XDG_CONFIG_HOME") or str(home / ".config"),
    ]
    docker = environment.get("DOCKER_CONFIG") or str(home / ".docker")
    return [
        *(Path(folder, "containers", "auth.json") for folder in folders if folder),
        Path(f"/run/containers/{os.getuid()}/auth.json"),
        Path(docker, "config.json"),
    ]


def find_credentials(host: str, path: str, environment: Mapping[str, str]) -> Credentials | None:
    """Return the credentials for repositories below ``host/path``; None where no file has any.

    Raises:
        ReleaseError: A file cannot be read, or a credential helper fails.

    """
    for file in auth_files(environment):
        if not file.is_file():
            continue
        try:
            document = json.loads(file.read_text() or "{}")
            found = _of_file(document, host, path)
        except (OSError, ValueError, AttributeError, TypeError, binascii.Error) as error:
            raise ReleaseError(f"{file} is no file of credentials for registries: {error}") from error
        if found:
            return found
    return None


def _of_file(document: Json, host: str, path: str) -> Credentials | None:
    auths: Json = document.get("auths") or {}
    for name in _names(host, path):
        helper = (document.get("credHelpers") or {}).get(name)
        if helper and (found := _helped(helper, name)):
            return found
        entry = auths.get(name) or {}
        if entry.get("auth"):
            user, _, secret = base64.b64decode(entry["auth"]).decode().partition(":")
            return Credentials(user, secret.rstrip("\0"))
        if name in auths and document.get("credsStore") and (found := _helped(document["credsStore"], name)):
            return found
    return None


def _names(host: str, path: str) -> Iterator[str]:
    """Yield what an entry for a repository may be called: the longest path first, then the host."""
    parts = [host, *(part for part in path.split("/") if part)]
    while parts:
        yield "/".join(parts)
        parts.pop()
    yield f"https://{host}"
    if host == _HUB:
        yield _LEGACY_HUB


def _helped(helper: str, name: str) -> Credentials | None:
    """Ask a credential helper (https://github.com/docker/docker-credential-helpers)."""
    program = shutil.which(f"docker-credential-{helper}")
    if program is None:
        raise ReleaseError(
            f"credentials for {name} are kept by docker-credential-{helper}, which is not on PATH: install"
            " it, or log in with `buildah login`"
        )
    done = subprocess.run([program, "get"], input=name, capture_output=True, text=True, check=False)
    if done.returncode:
        if "credentials not found" in done.stdout + done.stderr:
            return None
        raise ReleaseError(f"docker-credential-{helper} failed for {name}: {done.stderr.strip()[-200:]}")
    answer = json.loads(done.stdout)
    if answer["Username"] == _TOKEN_USER:
        raise ReleaseError(
            f"docker-credential-{helper} gives a token for {name}, which cannot be used here: log in with"
            " `buildah login` and a user name"
        )
    return Credentials(answer["Username"], answer["Secret"])


def docker_config(host: str, credentials: Credentials | None) -> str:
    """Return a file with one entry, for programs that read Docker's form only, such as Helm."""
    return json.dumps({"auths": {host: {"auth": credentials.basic}} if credentials else {}})
