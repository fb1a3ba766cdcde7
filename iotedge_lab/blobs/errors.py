"""What a storage account refuses, with the codes that Azure documents.

"Common REST API error codes" and "Blob Storage error codes" (learn.microsoft.com, rest/api/storageservices).
"""

from __future__ import annotations

from iotedge_lab.errors import LabError


class BlobError(LabError):
    """A refusal: `status` and `code` are Azure's, `details` are further elements of the body."""

    def __init__(self, status: int, code: str, message: str, details: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details or {}


def not_served(what: str) -> BlobError:
    """501 for what Azure has and this endpoint has not."""
    return BlobError(
        501,
        "NotImplemented",
        f"{what} is not served by the lab's storage; iotedge_lab.blobs lists what is. It works against Azure Storage.",
    )


def unauthenticated(detail: str) -> BlobError:
    """403 for a signature that does not hold; `detail` says why."""
    return BlobError(
        403,
        "AuthenticationFailed",
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
        "including the signature.",
        {"AuthenticationErrorDetail": detail},
    )


def container_not_found(name: str) -> BlobError:
    """404: no such container."""
    return BlobError(404, "ContainerNotFound", f"The specified container does not exist: {name!r}.")


def blob_not_found(name: str) -> BlobError:
    """404: no such blob."""
    return BlobError(404, "BlobNotFound", f"The specified blob does not exist: {name!r}.")


def bad_header(name: str, value: str, why: str) -> BlobError:
    """400: a header with a value that it may not have."""
    return BlobError(
        400,
        "InvalidHeaderValue",
        f"The value for one of the HTTP headers is not in the correct format: {name} {why}.",
        {"HeaderName": name, "HeaderValue": value[:200]},
    )


def bad_query(name: str, value: str, why: str) -> BlobError:
    """400: a query parameter with a value that it may not have."""
    return BlobError(
        400,
        "InvalidQueryParameterValue",
        f"Value for one of the query parameters specified in the request URI is invalid: {name} {why}.",
        {"QueryParameterName": name, "QueryParameterValue": value[:200], "Reason": why},
    )


def disk_trouble(error: OSError | LabError) -> BlobError:
    """503: nothing could be written; the client may try again."""
    told = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return BlobError(
        503,
        "ServerBusy",
        f"The content cannot be written ({told}), and nothing of it was kept. Free some space on the disk of the "
        "lab's state folder and send it again.",
    )
