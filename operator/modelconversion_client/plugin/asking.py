"""What ``run`` asks for, made from its options. Pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from modelconversion_api.methods import Method, Target, artifact_base_name
from modelconversion_api.spec import NAME_MAX_LENGTH, ModelConversionSpec, ProfileKind
from modelconversion_api.uris import bare
from modelconversion_client.plugin.exits import UsageProblem

_SUFFIX: Final = 6
_REMOTE: Final = "://"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be made of the model, and where the cluster finds the store.

    Attributes:
        profile: Name of a profile; then neither methods nor a target.
        profile_kind: Where the profile lies.
        methods: Methods.
        target: A target.
        endpoint: URL of the store as the cluster reaches it.
        secret: Secret with the credentials for it.

    """

    profile: str | None = None
    profile_kind: ProfileKind = ProfileKind.NAMESPACE
    methods: tuple[Method, ...] = ()
    target: Target | None = None
    endpoint: str | None = None
    secret: str | None = None

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            UsageProblem: It is not exactly one of profile, methods and target.

        """
        given = [
            name
            for name, value in (
                ("--profile", self.profile),
                ("--method", self.methods),
                ("--target", self.target),
            )
            if value
        ]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise UsageProblem(
                f"one of --profile, --method and --target says what to make; there is {found}",
                "give exactly one; `kubectl mconv targets` shows what each target gets",
            )


def is_remote(text: str) -> bool:
    """Whether a source is a URI, which is not uploaded."""
    return _REMOTE in text


def new_name(model: str) -> str:
    """Return a name that is free, from the model's: ``gesture-4f2a9c`` for ``a/Gesture.h5``."""
    stem = re.sub(r"[^a-z0-9]+", "-", artifact_base_name(bare(model)).lower()).strip("-")
    short = stem[: NAME_MAX_LENGTH - _SUFFIX - 1].strip("-")
    return f"{short or 'model'}-{secrets.token_hex(_SUFFIX // 2)}"


def spec_of(wish: Wish, uris: Mapping[str, str], digest: str | None, output: str) -> dict[str, Any]:
    """Return the spec, with what was asked for and nothing else.

    Args:
        wish: What to make.
        uris: Where things lie: ``model``, and perhaps ``data``, ``labels``, ``validation``,
            ``validation_labels``.
        digest: SHA-256 of the model, where it is known.
        output: Prefix for the artifacts.

    Raises:
        UsageProblem: The contract refuses it.

    """
    wish.check()
    spec: dict[str, Any] = {
        "source": _given(uri=uris["model"], sha256=digest),
        "output": {"uri": output},
        "storage": _given(endpoint=wish.endpoint, secretRef=_given(name=wish.secret)),
        "profileRef": _given(name=wish.profile) and {"kind": wish.profile_kind.value, "name": wish.profile},
        "methods": [method.value for method in wish.methods],
        "target": None if wish.target is None else wish.target.value,
        "calibration": _given(uri=uris.get("data"), labelsUri=uris.get("labels")),
        "validation": _given(uri=uris.get("validation"), labelsUri=uris.get("validation_labels")),
    }
    for data, labels, flags in (
        ("data", "labels", "--labels without --data"),
        ("validation", "validation_labels", "--validation-labels without --validation"),
    ):
        if labels in uris and data not in uris:
            raise UsageProblem(f"{flags}: labels belong to data", "give the data as well")
    wanted = _given(**spec)
    try:
        ModelConversionSpec.model_validate(wanted)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(map(str, ("spec", *first["loc"])))
        raise UsageProblem(f"{place}: {first['msg']}", "see `kubectl mconv run --help`") from error
    return wanted


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
