"""The settings of the page in a cluster, from MODELCONVERSION_VIEWER_ variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modelconversion_client.errors import AccessError

PREFIX: Final = "MODELCONVERSION_VIEWER_"
_NEXT_STEP: Final = f"correct the variable, which begins with {PREFIX}"


class ViewerSettings(BaseModel):
    """Where the page is served, and whom it asks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    http_host: str = ""
    """Address to listen on; every one of the pod when empty."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port; one that is free when 0."""
    api_server: Annotated[str, Field(pattern="^https://[^/?#@]+(/[^?#]*)?$")]
    """Address of the API server; tokens go there, so it has to be https."""
    api_server_ca: Path | None = None
    """File with the certificates that are believed for it; the system's when not given."""
    tls_folder: Path | None = None
    """Folder with tls.crt and tls.key, with which the page is served by https; by http when not given."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important lines of the log."""
    log_format: Literal["text", "json"] = "text"
    """Form of the log's lines."""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_given(cls, values: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in values.items() if value}


def load(environment: Mapping[str, str] = os.environ) -> ViewerSettings:
    """Read the settings.

    Raises:
        AccessError: One of them is wrong, or there is no API server.

    """
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    host, port = (environment.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    if host and port:
        given.setdefault("api_server", f"https://{f'[{host}]' if ':' in host else host}:{port}")
    try:
        return ViewerSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = PREFIX + "_".join(map(str, first["loc"])).upper()
        raise AccessError(f"{place}: {first['msg']}", _NEXT_STEP) from error
