"""A model registry that hears of what a conversion gave: a part of the spec and of the status."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from ..base import ApiModel, cel
from ..limits import OBJECT_NAME_LENGTH
from ..servers import check_server
from .scheduling import Name

REGISTER_ENV: Final = "CONVERSION_REGISTER"
"""Environment variable with a :class:`RegisterRequest`."""
TOKEN_ENV: Final = "MLFLOW_TRACKING_TOKEN"  # noqa: S105 - its name, and the usual key in a Secret
USERNAME_ENV: Final = "MLFLOW_TRACKING_USERNAME"
PASSWORD_ENV: Final = "MLFLOW_TRACKING_PASSWORD"  # noqa: S105 - as above
_URL: Final = r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$"
# In braces: what a set puts its member's names into.
_NAME: Final = r"^([A-Za-z0-9._-]|\{model\}|\{profile\})+$"
_NAME_LENGTH: Final = 200


class MLflowSecretRef(ApiModel):
    """A Secret in the ModelConversion's namespace, which its owner has released, with a login for MLflow."""

    name: Name
    """Name of the Secret."""
    token_key: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] = TOKEN_ENV
    """Key of a token, which is sent as Authorization: Bearer."""
    username_key: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] = USERNAME_ENV
    """Key of a user's name; used where the Secret has no token."""
    password_key: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] = PASSWORD_ENV
    """Key of that user's password."""


class MLflow(ApiModel):
    """An MLflow server, and what it calls the model."""

    uri: Annotated[str, Field(max_length=512, pattern=_URL), AfterValidator(check_server)]
    """Its address, e.g. https://mlflow.example; with a path where it is below one."""
    model: Annotated[str, Field(max_length=_NAME_LENGTH, pattern=_NAME)]
    """Name of the registered model; made where there is none. In a set, {model} and {profile} stand for the
    member's."""
    experiment: Annotated[str, Field(max_length=_NAME_LENGTH, pattern=_NAME)] | None = None
    """Name of the experiment that gets a run with the figures and the report; the model's unless given."""
    alias: Annotated[str, Field(max_length=_NAME_LENGTH, pattern=_NAME)] | None = None
    """Alias that the recommended file's version gets, e.g. candidate."""
    secret_ref: MLflowSecretRef | None = None
    """A login; only the container that registers sees it, and only this server is shown it."""

    @property
    def server(self) -> str:
        """The server, as policies name it."""
        parts = urlsplit(self.uri)
        return f"{parts.scheme}://{parts.netloc}".lower()

    def named(self, model: str, profile: str) -> MLflow:
        """Return it for a member of a set."""
        return self.changed(
            **{
                field: text.replace("{model}", model).replace("{profile}", profile)
                for field in ("model", "experiment", "alias")
                if (text := getattr(self, field)) is not None
            }
        )


class Registration(ApiModel):
    """Where the files are registered once they are published."""

    mlflow: MLflow
    """A server of MLflow, 2.3 or newer."""


NO_PLACES: Final = cel(
    "!has(self.register) || !(self.register.mlflow.model.contains('{')"
    " || (has(self.register.mlflow.alias) && self.register.mlflow.alias.contains('{'))"
    " || (has(self.register.mlflow.experiment) && self.register.mlflow.experiment.contains('{')))",
    "{model} and {profile} stand for the names of a set's members: write register out in a ModelConversion",
)


class RegisterRequest(ApiModel):
    """What the Job that registers is told."""

    mlflow: MLflow
    recommended: Annotated[str, Field(max_length=32)]
    """The recipe or method of the file to use, after the boards."""


class RegisteredVersion(ApiModel):
    """One file in the registry."""

    name: Annotated[str, Field(max_length=32)]
    """The recipe that gave it, or else the method."""
    version: Annotated[str, Field(max_length=32)]
    """Its version there."""


class Registered(ApiModel):
    """What the Job that registers says."""

    model: Annotated[str, Field(max_length=_NAME_LENGTH)]
    """Name of the registered model."""
    versions: Annotated[
        list[RegisteredVersion],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]
    """The files that passed, each a version."""
    run: Annotated[str, Field(max_length=64)]
    """MLflow's run with the figures and the report."""


class RegistrationResult(Registered):
    """What became of the files in the registry."""

    time: datetime
    """When they were registered."""
