"""The receiver's settings, from MODELCONVERSION_WEBHOOKS_ variables or its command line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from modelconversion_operator.deciding.failures import problems_of_spec
from modelconversion_operator.errors import SettingsError


class ReceiverSettings(BaseSettings):
    """Receive webhooks of stores and registries, and have triggers look at their sources."""

    model_config = SettingsConfigDict(
        env_prefix="MODELCONVERSION_WEBHOOKS_",
        cli_parse_args=True,
        cli_prog_name="modelconversion-webhooks",
        cli_kebab_case=True,
        cli_exit_on_error=True,
        extra="ignore",
    )

    http_host: str = ""
    """Address to listen on; every one of the pod when empty."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port for POST /NAMESPACE/TRIGGER, /metrics, /healthz and /readyz."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important lines of the log."""
    log_format: Literal["text", "json"] = "text"
    """Form of the log's lines."""


def load() -> ReceiverSettings:
    """Read the settings.

    Raises:
        SettingsError: One of them is wrong.

    """
    try:
        return ReceiverSettings()
    except ValidationError as error:
        raise SettingsError(problems_of_spec(error)) from error
