"""boto3's exceptions as reasons of the contract. No message of ours repeats a header or a credential."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
    TokenRetrievalError,
)

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.job.stores.connections import ForbiddenError
from tflite_converter.job.stores.proxies import said_by_proxy

_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)
_DENIED = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
_CORRUPTED = frozenset(
    {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
)
_OTHER_REGION = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)


@contextmanager
def storage_errors(stage: Stage, uri: str) -> Iterator[None]:
    """Turn boto3's errors about ``uri`` into :class:`ConverterError`."""
    try:
        yield
    except ClientError as error:
        raise from_client_error(error, stage, uri) from error
    except _NO_CREDENTIALS as error:
        raise ConverterError(
            FailureReason.STORAGE_ACCESS_DENIED,
            stage,
            f"{uri}: no credentials were found",
            hint="set spec.storage.secretRef, or a service account with a cloud identity",
        ) from error
    except ParamValidationError as error:
        raise ConverterError(
            FailureReason.INVALID_REQUEST, stage, f"{uri} is not a valid location"
        ) from error
    except ProxyConnectionError as error:
        raise ConverterError(
            FailureReason.STORAGE_UNAVAILABLE,
            stage,
            f"{uri}: the proxy does not let it through ({said_by_proxy(error.kwargs.get('error'))})",
            hint="correct converter.proxy of the operator's chart: the proxy's address or password, or"
            " noProxy where the store is reached without it",
        ) from error
    except SSLError as error:
        raise ConverterError(
            FailureReason.STORAGE_UNAVAILABLE,
            stage,
            f"{uri}: the store's certificate is not trusted: {error}",
            hint="set spec.storage.caBundle to the certificate authority of the endpoint, or of a proxy that"
            " opens connections",
        ) from error
    except HTTPClientError as error:
        if not isinstance(why := error.kwargs.get("error"), ForbiddenError):
            raise ConverterError(FailureReason.STORAGE_UNAVAILABLE, stage, f"{uri}: {error}") from error
        cause = f"{uri} may not be read: {why}"
        raise ConverterError(FailureReason.STORAGE_ACCESS_DENIED, stage, cause) from error
    except BotoCoreError as error:
        raise ConverterError(FailureReason.STORAGE_UNAVAILABLE, stage, f"{uri}: {error}") from error


def from_client_error(error: ClientError, stage: Stage, uri: str) -> ConverterError:
    """Return the reason behind an error answer of the store."""
    details = error.response.get("Error", {})
    code, text = str(details.get("Code", "")), str(details.get("Message", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return ConverterError(FailureReason.BUCKET_NOT_FOUND, stage, f"{uri}: the bucket does not exist")
    if code in _OTHER_REGION:
        return ConverterError(
            FailureReason.BUCKET_NOT_FOUND,
            stage,
            f"{uri}: the bucket is in another region",
            hint="set spec.storage.region to the bucket's region",
        )
    # An answer to HEAD has no body, and so no code but the status.
    if code in ("NoSuchKey", "404") or status == 404:
        return ConverterError(FailureReason.SOURCE_NOT_FOUND, stage, f"{uri}: the object does not exist")
    if code in _DENIED or status in (401, 403):
        return ConverterError(
            FailureReason.STORAGE_ACCESS_DENIED, stage, f"{uri}: {code} ({text.rstrip('.')})"
        )
    if code in _CORRUPTED:
        return ConverterError(FailureReason.UPLOAD_CORRUPTED, stage, f"{uri}: {code}")
    return ConverterError(
        FailureReason.STORAGE_UNAVAILABLE, stage, f"{uri}: {code or status} ({text.rstrip('.')})"
    )
