"""File upload: a device is given a URL at which it may put one file, and says when it has.

Stands for "Upload files with IoT Hub" (learn.microsoft.com, IoT Hub, iot-hub-devguide-file-upload). The hub itself has
no part in the transfer: it signs a URL of the storage account (read and write, for one blob whose name begins with the
device's id), and it sees, when the device reports success, that the blob is there. Then a notice is put into the queue
`/messages/serviceBound/filenotifications`.

A device has at most ten uploads under way; one is, until it was reported or its URL has ended. What is not documented
and decided here: a correlation id that is unknown (or another device's, or ended) is 400004, and so is success of a
file that is not there; of an upload that failed services are not told.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import ArgumentInvalid, MaximumActiveFileUploads, StoreUnavailable
from iotedge_lab.hub.file_settings import FileSettings
from iotedge_lab.hub.identities import iso
from iotedge_lab.hub.service_queue import Limits, ServiceQueue
from iotedge_lab.wire.storage import blob_sas
from iotedge_lab.wire.storage.account import StorageAccount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.identities import Identities
    from iotedge_lab.hub.store import Store

CONTENT_TYPE: Final = "application/vnd.microsoft.iothub.filenotification.json"
ACTIVE_LIMIT: Final = 10
NAME_LIMIT: Final = 1024  # characters of a blob's name, the device's id included
_SETTINGS_KEY: Final = "file_upload"


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload under way; times in s since 1970."""

    correlation_id: str
    device: str
    container: str
    blob: str
    started: float
    expires: float


@dataclass(frozen=True, slots=True)
class Found:
    """A blob as the storage account has it; `modified` in s since 1970."""

    size: int
    modified: float


class FileNotices(ServiceQueue):
    """The queue `/messages/serviceBound/filenotifications`; the body of a message is one JSON object."""

    table = "file_notice"
    what = "file notification"
    content_type = CONTENT_TYPE

    def __init__(self, store: Store, clock: Clock, files: Files) -> None:
        super().__init__(store, clock)
        self._files = files

    def limits(self) -> Limits:
        """Of the hub's options."""
        return self._files.settings.notice_limits


class Files:
    """Uploads under way, and the notices of those that have ended well. What a call reports done is durable.

    `local`: the lab's own storage account, set when the hub has a port for it.
    """

    def __init__(self, store: Store, identities: Identities, clock: Clock) -> None:
        self._store = store
        self._identities = identities
        self._clock = clock
        self.local: StorageAccount | None = None
        stored = store.get_meta(_SETTINGS_KEY)
        self.settings = FileSettings.from_json(json.loads(stored)) if stored else FileSettings()
        self.notices = FileNotices(store, clock, self)

    def configure(self, settings: FileSettings) -> None:
        """Change the options, for good; uploads and notices under way keep what they have."""
        self._store.set_meta(_SETTINGS_KEY, json.dumps(settings.to_json(shown=False)))
        self.settings = settings

    def account(self) -> StorageAccount:
        """Where files go. Raises `StoreUnavailable` where there is nothing."""
        if self.settings.storage:
            return StorageAccount.parse(self.settings.storage)
        if self.local is None:
            raise StoreUnavailable(
                "this hub has no storage account: no port was free for its own. Start it again, or give it the "
                "connection string of another account (Lab.configure_file_upload)."
            )
        return self.local

    def begin(self, device: str, name: str) -> dict[str, Any]:
        """Let a device upload the file `name`; what it is told. Raises `MaximumActiveFileUploads` (403006)."""
        blob = f"{device}/{name}"
        if not name or len(blob) > NAME_LIMIT or not name.isprintable():
            raise ArgumentInvalid(
                f"blobName has 1 to {NAME_LIMIT - len(device) - 1} characters that can be printed: the blob's name is "
                "'{device id}/{blobName}'."
            )
        account, now = self.account(), self._clock.now()
        container, expires = self.settings.container, now + self.settings.sas_ttl
        correlation_id = self._clock.new_id()
        with self._store.transaction() as db:
            row = db.execute(
                "SELECT COUNT(*) FROM file_upload WHERE device = ? AND expires > ?", (device, now)
            ).fetchone()
            if row[0] >= ACTIVE_LIMIT:
                raise MaximumActiveFileUploads(
                    f"Number of active file upload requests cannot exceed {ACTIVE_LIMIT}. Report those that have ended "
                    "(notify_blob_upload_status), or wait until their URLs end."
                )
            db.execute(
                "INSERT INTO file_upload VALUES (?, ?, ?, ?, ?, ?)",
                (correlation_id, device, container, blob, now, expires),
            )
        return {
            "correlationId": correlation_id,
            # With the account in its path, where the account is not the host's first word: devices only put the parts
            # of a URL together.
            "hostName": account.authority,
            "containerName": container,
            "blobName": blob,
            "sasToken": "?" + blob_sas.make(account, container, blob, "rw", expires),
        }

    def find(self, device: str, correlation_id: str) -> Upload:
        """An upload of a device that is under way. Raises `ArgumentInvalid`."""
        row = self._store.db.execute(
            "SELECT correlation_id, device, container, blob, started, expires FROM file_upload "
            "WHERE correlation_id = ? AND device = ? AND expires > ?",
            (correlation_id, device, self._clock.now()),
        ).fetchone()
        if row is None:
            raise ArgumentInvalid(
                f"device {device!r} has no upload with the correlation id {correlation_id[:60]!r} under way: it was "
                "reported before, its URL has ended, or it never was. Ask for a new one."
            )
        return Upload(*row)

    def end(self, upload: Upload, found: Found | None) -> None:
        """An upload was reported: it is under way no more. `found`: what was uploaded, None if it failed."""
        told = found is not None and self.settings.notices
        with self._store.transaction() as db:
            gone = db.execute(
                "DELETE FROM file_upload WHERE correlation_id = ?", (upload.correlation_id,)
            ).rowcount
            if not gone:
                return  # reported twice at once: the other one has told
            if told and found is not None:
                self.notices.enqueue(db, json.dumps(self._notice(upload, found)))
        if told:
            self.notices.tell()

    def _notice(self, upload: Upload, found: Found) -> Mapping[str, Any]:
        return {
            "deviceId": upload.device,
            "blobUri": f"{self.account().endpoint}/{upload.container}/{upload.blob}",
            "blobName": upload.blob,
            "lastUpdatedTime": datetime.fromtimestamp(found.modified, UTC).isoformat(timespec="seconds"),
            "blobSizeInBytes": found.size,
            "enqueuedTimeUtc": iso(self._clock.now()),
        }

    def tick(self) -> None:
        """Once a second: uploads whose URL has ended, and the queue."""
        now = self._clock.now()
        if self._store.db.execute("SELECT 1 FROM file_upload WHERE expires <= ? LIMIT 1", (now,)).fetchone():
            with self._store.transaction() as db:
                db.execute("DELETE FROM file_upload WHERE expires <= ?", (now,))
        self.notices.tick()

    def active(self) -> int:
        """How many uploads are under way."""
        row = self._store.db.execute(
            "SELECT COUNT(*) FROM file_upload WHERE expires > ?", (self._clock.now(),)
        ).fetchone()
        return int(row[0])
