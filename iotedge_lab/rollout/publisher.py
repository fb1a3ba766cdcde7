"""A model's file in the blob container, and addresses by which an edge may read it for some minutes.

Stands for Azure Blob Storage behind an IoT Hub: a container `models`, private; an edge gets a service SAS, read-only,
over HTTPS where the account has it, when it is ready to fetch (learn.microsoft.com, "Grant limited access to data with
shared access signatures"). Leaves out: user delegation SAS, which needs Entra ID and no key.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from iotedge_lab.clock import Clock, SystemClock
from iotedge_lab.errors import ConnectionStringError, EnvironmentProblem, UsageError
from iotedge_lab.rollout.problems import RolloutProblem
from iotedge_lab.rollout.release import Release

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from iotedge_lab.registry.version import Version

CONTAINER: Final = "models"
FILE: Final = "model.onnx"
MINUTES: Final = 10.0
_EARLIER: Final = timedelta(minutes=5)  # a SAS holds from then on, for clocks that are behind


class Publisher:
    """A container of models in a storage account, by its connection string with a key."""

    def __init__(
        self,
        connection_string: str,
        *,
        container: str = CONTAINER,
        ca_file: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """ca_file: whom to trust, by default what the environment says (REQUESTS_CA_BUNDLE).

        Raises `ConnectionStringError` for a string that is none, or has no AccountKey.
        """
        try:
            from azure.storage.blob import BlobServiceClient
        except ImportError as error:
            raise EnvironmentProblem(
                f"Models are published with azure-storage-blob, and it cannot be imported ({error}): pip install "
                "azure-storage-blob; the extra 'storage' has it."
            ) from error
        trust: dict[str, Any] = {} if ca_file is None else {"connection_verify": str(ca_file)}
        try:
            self._account = BlobServiceClient.from_connection_string(connection_string, **trust)
        except ValueError as error:
            raise ConnectionStringError(
                "The connection string of the storage account cannot be read; copy it from the portal (storage "
                "account, Access keys), or take lab.storage_connection_string."
            ) from error
        self._key = str(getattr(self._account.credential, "account_key", "") or "")
        if not self._key:
            raise ConnectionStringError(
                "The connection string of the storage account has no AccountKey, and without one no address for an "
                "edge can be signed; copy the one under Access keys."
            )
        self._name = container
        self._container = self._account.get_container_client(container)
        self._clock = clock or SystemClock()

    def __repr__(self) -> str:
        return f"Publisher({self._account.account_name}/{self._name})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._container.close()
        self._account.close()

    def publish(self, version: Version, content: bytes) -> Release:
        """Put the file where edges fetch it from; once more does no harm. Raises `UsageError`, `RolloutProblem`.

        content: what the registry gives (`Registry.content`); refused if it is not the version's.
        """
        if hashlib.sha256(content).hexdigest() != version.sha256:
            raise UsageError(f"These bytes are not those of {version!r}; take registry.content(version).")
        path = f"{version.name}/{version.version}/{FILE}"
        release = Release(version.name, version.version, version.sha256, len(content), f"{self._name}/{path}")
        about = {"version": version.version, "sha256": version.sha256}
        with self._speaking(f"take {release.blob}"):
            self._make_container()
            # Written anew each time: the registry says what a version is, not what lies here.
            self._container.upload_blob(path, content, overwrite=True, metadata=about)
        return release

    def read_url(self, release: Release, minutes: float = MINUTES) -> str:
        """An address that reads this file, and nothing else, for some minutes. A secret: it goes to the edge alone."""
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        container, _, path = release.blob.partition("/")
        if container != self._name or not path:
            raise UsageError(
                f"{release.blob!r} does not lie in the container {self._name!r}; publish the version here first."
            )
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        blob = self._container.get_blob_client(path)
        signed = generate_blob_sas(
            account_name=str(self._account.account_name),
            container_name=container,
            blob_name=path,
            account_key=self._key,
            permission=BlobSasPermissions(read=True),
            start=now - _EARLIER,
            expiry=now + timedelta(minutes=minutes),
        )
        return f"{blob.url}?{signed}"

    def content(self, release: Release) -> bytes:
        """The file as it lies there. Raises `RolloutProblem`."""
        with self._speaking(f"give {release.blob}"):
            return bytes(self._container.download_blob(release.blob.partition("/")[2]).readall())

    def _make_container(self) -> None:
        from azure.core.exceptions import ResourceExistsError

        if not self._container.exists():
            with suppress(ResourceExistsError):  # somebody else was faster
                self._container.create_container()

    @contextmanager
    def _speaking(self, doing: str) -> Iterator[None]:
        from azure.core.exceptions import AzureError

        try:
            yield
        except AzureError as error:
            raise RolloutProblem(
                f"The storage account {quote(str(self._account.account_name))} does not {doing}: {_words(error)} Is it "
                "up, and does its key still hold?"
            ) from error


def _words(error: Any) -> str:
    """The first line of what the SDK says; the rest are ids and times."""
    return str(error).strip().splitlines()[0][:300]
