"""``job-publish`` into a container registry: manifests, what refers to them, and at last their tags."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from modelconversion_api.fields.oci import OCIArtifact, OCIChoice, OCIFormat, OCIOutput
from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import REPORT_FILE_NAME, SIGNATURE_FILE_NAME, ConversionReport
from modelconversion_api.request import REGISTRY_LOGINS_ENV
from tflite_converter.errors import ConverterError
from tflite_converter.job.environment import FetchRecord
from tflite_converter.job.oci.asking import Answer
from tflite_converter.job.oci.content import (
    INDEX,
    Json,
    Manifest,
    image,
    index,
    model_pack,
    referrer,
)
from tflite_converter.job.oci.logins import login_for, netloc, read_logins
from tflite_converter.job.oci.registry import Repository
from tflite_converter.job.oci.statements import STATEMENT_TYPE, Pushed, Statement, statements
from tflite_converter.job.stores.base import check_proxy
from tflite_converter.job.stores.connections import trusted

if TYPE_CHECKING:
    from tflite_converter.files.envelope import Sealer

_TYPES: Final = {
    REPORT_FILE_NAME: "application/vnd.edgeml.dev.conversion.report.v1+json",
    SIGNATURE_FILE_NAME: "application/vnd.dev.sigstore.bundle.v0.3+json",
}
_PREDICATE: Final = "in-toto.io/predicate-type"
"""The annotation by which statements are told apart in a list of referrers, as BuildKit has it."""
_LIST_TRIES: Final = 8
_LIST_SECONDS: Final = 0.2
"""How often, and how long apart, a list that others write at the same time is written."""


@dataclass(frozen=True)
class Push:
    """What is to be pushed, made before anything is uploaded anywhere."""

    repository: Repository
    manifests: Mapping[OCIFormat, Manifest]
    told: tuple[OCIArtifact, ...]
    """The same for the report and the status."""
    said: tuple[Statement, ...]
    """What is said of them."""


def prepared(
    oci: OCIOutput, access: StorageAccess, output: Path, report: ConversionReport, record: FetchRecord
) -> Push | None:
    """Make what ``oci`` asks for of a checked report's files; None where none of them is to be pushed.

    Args:
        oci: What to push, and where.
        access: Whose certificates count.
        output: Where the files are.
        report: The checked report.
        record: What was fetched.

    Raises:
        ConverterError: StorageAccessDenied for a Secret without logins, InvalidRequest for a caBundle that is
            none, StorageUnavailable for a proxy that is none.

    """
    # Taken out of the environment first: nothing that this process may start later inherits it.
    logins = _logins(oci)
    pushed = [
        a
        for a in report.artifacts
        if (a.is_as(report.recommended) if oci.files is OCIChoice.RECOMMENDED else a.passed)
    ]
    chosen = [output / a.file_name for a in pushed]
    if not chosen:
        return None
    check_proxy(Stage.PUBLISH)
    name = "" if report.request is None else report.request.base_name
    make = {OCIFormat.IMAGE: lambda: image(chosen), OCIFormat.MODEL_PACK: lambda: model_pack(name, chosen)}
    manifests = {form: make[form]() for form in oci.formats}
    told = tuple(
        OCIArtifact(
            format=form,
            uri=f"oci://{oci.repository}@{manifest.digest}",
            tag=oci.tag_of(form, report.source.sha256),
        )
        for form, manifest in manifests.items()
    )
    data = {name: fetched.sha256 for name, fetched in sorted(record.data.items())}
    about = Pushed(oci.repository, [m.digest for m in manifests.values()], pushed, data)
    said = tuple(statements(about, report))
    return Push(Repository(oci, logins, trusted(access, Stage.PUBLISH)), manifests, told, said)


def push(todo: Push, beside: Mapping[str, bytes], sealer: Sealer | None) -> None:
    """Push the manifests, what refers to each of them, and their tags, which are set when all is there.

    Args:
        todo: What to push.
        beside: The contents of report.json, and of model.sig where there is one, by name.
        sealer: Who signs the statements; None where the output is not signed.

    Raises:
        ConverterError: StorageAccessDenied, BucketNotFound, StorageUnavailable, UploadCorrupted.

    """
    documents = [_Document(name, _TYPES[name], content, {}) for name, content in beside.items()]
    documents += [_document(statement, sealer) for statement in todo.said]
    for manifest in todo.manifests.values():
        _put(todo.repository, manifest)
        referrers = [referrer(manifest, d.kind, d.name, d.content, d.annotations) for d in documents]
        answers = [_put(todo.repository, one) for one in referrers]
        # A registry that keeps the lists itself says so; for others the specification has a tag.
        if not all(manifest.digest == answer.headers.get("OCI-Subject") for answer in answers):
            _list_by_tag(todo.repository, manifest, [one.descriptor for one in referrers])
    for told in todo.told:
        if told.tag is not None:
            todo.repository.put(told.tag, todo.manifests[told.format].content)


class _Document(NamedTuple):
    name: str
    kind: str
    content: bytes
    annotations: Mapping[str, str]


def _document(statement: Statement, sealer: Sealer | None) -> _Document:
    """Return a statement as it is pushed: in an envelope where there is a key, bare where there is none."""
    annotations = {_PREDICATE: statement.predicate_type}
    if sealer is None:
        return _Document(f"{statement.name}.intoto.json", STATEMENT_TYPE, statement.content, annotations)
    envelope = sealer.seal(statement.content, STATEMENT_TYPE)
    return _Document(f"{statement.name}.dsse.json", statement.signed_type, envelope, annotations)


def _put(repository: Repository, manifest: Manifest) -> Answer:
    for blob in manifest.blobs:
        repository.push(blob)
    answer = repository.put(manifest.digest, manifest.content)
    assert answer is not None  # noqa: S101 - no guard was given
    return answer


def _list_by_tag(repository: Repository, subject: Manifest, ours: Sequence[Json]) -> None:
    """Add what refers to a manifest to the list that the specification keeps under a tag.

    Others may write it at the same moment. Where the registry tells versions apart, ours is only written over
    the one that was read; with every registry it is read again, until it has what belongs in it.
    """
    tag = subject.digest.replace(":", "-")
    for attempt in range(_LIST_TRIES):
        found = repository.get(tag)
        there = [] if found is None else _manifests(found, tag)
        known = {one["digest"] for one in there}
        missing = [one for one in ours if one["digest"] not in known]
        if not missing:
            return
        version = None if found is None else found.headers.get("ETag")
        guard = {"If-Match": version} if version else {}
        repository.put(tag, index([*there, *missing]), INDEX, guard)
        # Whoever read before this was written writes within this time, and is then seen.
        time.sleep(_LIST_SECONDS * (1 + random.random()) * (attempt > 0))  # noqa: S311 - no secret
    cause = f"others write the list of what refers to {tag} all the time"
    raise ConverterError(FailureReason.STORAGE_UNAVAILABLE, Stage.PUBLISH, cause)


def _manifests(found: Answer, tag: str) -> list[Json]:
    try:
        there = json.loads(found.content)["manifests"]
        if all(isinstance(one["digest"], str) for one in there):
            return list(there)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    cause = f"the tag {tag}, where the list of what refers to a manifest belongs, holds something else"
    raise ConverterError(FailureReason.STORAGE_UNAVAILABLE, Stage.PUBLISH, cause, hint="remove that tag")


def _logins(oci: OCIOutput) -> dict[str, str]:
    text = os.environ.pop(REGISTRY_LOGINS_ENV, "")
    secret = oci.secret_ref
    if secret is None:
        return {}
    hint = f"make it with kubectl create secret docker-registry {secret.name} --docker-server={oci.host} ..."
    cause = f"Secret {secret.name} has no key {secret.key}, or there is no such Secret"
    if text:
        try:
            logins = read_logins(text)
        except ValueError as error:
            cause = f"the key {secret.key} of Secret {secret.name}: {error}"
        else:
            if login_for(logins, f"{netloc(oci.server)}/{oci.path}"):
                return logins
            cause = f"Secret {secret.name} has no login for {oci.host}"
    raise ConverterError(FailureReason.STORAGE_ACCESS_DENIED, Stage.PUBLISH, cause, hint=hint)
