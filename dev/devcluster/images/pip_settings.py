"""How pip reaches its registry on this machine, for builds that run elsewhere.

A build in a container sees neither pip's configuration nor the machine's certificates. Both are handed in as
build secrets: files that are there while a command runs and in no layer of the image.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

CERTIFICATES_IN_BUILD: Final = "/run/secrets/ca.crt"
"""Where the Dockerfiles mount the certificates."""
_PASSED_ON: Final = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
_CERTIFICATES: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/cert.pem"),
)


def host_files() -> list[Path]:
    """Return the configuration files of pip on this machine, each over those before it."""
    home = Path.home()
    own = os.environ.get("PIP_CONFIG_FILE")
    return [
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf"),
        *([Path(own)] if own else []),
    ]


def settings(files: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Read settings of pip from the texts of its files and from the environment, which comes first."""
    options: dict[str, str] = {}
    for text in files:
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        for section in ("global", "install"):
            if parser.has_section(section):
                options |= dict(parser.items(section))
    for name, value in environment.items():
        if name.startswith("PIP_"):
            options[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return options


def for_build(settings: Mapping[str, str], *, certificates: bool) -> str:
    """Return the configuration file for a build, in which certificates are mounted or not."""
    lines = ["[global]", *([f"cert = {CERTIFICATES_IN_BUILD}"] if certificates else [])]
    return "\n".join([*lines, *(f"{name} = {settings[name]}" for name in _PASSED_ON if name in settings), ""])


def certificates(settings: Mapping[str, str]) -> Path | None:
    """Return the certificate authorities that pip trusts here: those of its settings, else the machine's."""
    named = settings.get("cert") or os.environ.get("SSL_CERT_FILE")
    candidates = [Path(named)] if named else _CERTIFICATES
    return next((file for file in candidates if file.is_file()), None)
