"""Which error an answer of an API server is. The bodies are what a kube-apiserver 1.36 answers."""

from __future__ import annotations

import json

import pytest

from modelconversion_client import errors
from modelconversion_client.plugin.exits import EXIT_CODES, StoreError, UsageProblem, exit_code

_GROUP = "edgeml.dev"


def status(message: str, **details: str) -> bytes:
    return json.dumps({"kind": "Status", "message": message, "details": details}).encode()


@pytest.mark.parametrize(
    ("code", "body", "kind", "step"),
    [
        (404, status('x "a" not found', name="a", group=_GROUP), errors.NotFoundError, "list -A"),
        (404, b"404 page not found\n", errors.NotInstalledError, "INSTALL.md"),
        (404, status("the server could not find the requested resource"), errors.NotInstalledError, "CRDs"),
        (
            404,
            status('namespaces "n" not found', name="n", kind="namespaces"),
            errors.NotFoundError,
            "namespace",
        ),
        (401, status("Unauthorized"), errors.UnauthorizedError, "log in"),
        (403, status('x is forbidden: User "u" cannot get resource'), errors.ForbiddenError, "can-i"),
        (403, status("pods is forbidden: exceeded quota: q"), errors.RefusedError, "change"),
        (
            403,
            status("x is forbidden: ValidatingAdmissionPolicy 'p' denied: no"),
            errors.RefusedError,
            "change",
        ),
        (409, status('x "a" already exists'), errors.ConflictError, "another name"),
        (422, status("spec.methods: Unsupported value"), errors.RefusedError, "explain"),
        (400, status("strict decoding error"), errors.RefusedError, "change"),
        (429, b"too many", errors.ServerError, "again"),
        (503, b"", errors.ServerError, "again"),
        (502, b"<html>a proxy's page", errors.ServerError, "again"),
    ],
)
def test_answers(code: int, body: bytes, kind: type[errors.ConversionClientError], step: str) -> None:
    error = errors.refusal(code, body, "get x")
    assert type(error) is kind
    assert error.cause.startswith("get x: ")
    assert step in error.next_step


def test_a_servers_words_cannot_steer_a_terminal() -> None:
    error = errors.refusal(422, status("a\x1b[2Jb\nc"), "create x")
    assert "a\ufffd[2Jb c" in error.cause
    assert str(error).isprintable()


def test_every_error_has_an_exit_code_of_its_own_kind() -> None:
    def below(kind: type[errors.ConversionClientError]) -> list[type[errors.ConversionClientError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in below(child))]

    kinds = below(errors.ConversionClientError)[1:]
    assert set(kinds) == set(EXIT_CODES)
    made = {kind: kind.__new__(kind) for kind in kinds}
    codes = {kind: exit_code(error) for kind, error in made.items()}
    assert codes == EXIT_CODES
    assert not {0, 1} & set(codes.values())
    assert codes[UsageProblem] == 2
    assert codes[StoreError] == 9
