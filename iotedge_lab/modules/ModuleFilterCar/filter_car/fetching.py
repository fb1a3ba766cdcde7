"""A model's file from blob storage, by the vendor's client and an address that reads it for some minutes.

The SDK tries each request again by itself; what fails beyond that is gone on with where it stopped, as long as there is
progress. What has come lies in a file, so that a module which restarts meanwhile goes on too. At the end the size and
the SHA-256 must be those that the twin names: the address says where a file lies, not what it is.

Never shows the address, not even in an error: whoever has it may read the model.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from filter_car.release import Release

CHUNK: Final = 2**20
PAUSES: Final = (0.5, 2.0, 5.0, 10.0)  # s before each further attempt that brings nothing new
_SECRET: Final = re.compile(r"\?\S*|\b(sig|se|sp|sv)=\S*")

log = logging.getLogger("ModuleFilterCar")


class Unfetched(Exception):
    """It did not come, and may come another time."""


class Wrong(Exception):
    """It came, or is there, and is not what the twin names; another time it will be the same."""


class Unwanted(Exception):
    """Meanwhile it is not wanted any more."""


def fetch(
    release: Release,
    url: str,
    part: Path,
    pause: Callable[[float], None],
    wanted: Callable[[], bool],
    *,
    make: Callable[..., Any] | None = None,
) -> None:
    """Fetch the file into `part`, going on from what is there. Blocks.

    pause: waits so long, or until something else is to be done; wanted: whether to go on; make: makes the client of an
    address. Raises Unfetched, Wrong, Unwanted.
    """
    try:
        if make is None:
            from azure.storage.blob import BlobClient

            make = BlobClient.from_blob_url
    except ImportError as error:
        raise Unfetched(
            f"azure-storage-blob cannot be imported ({error}): pip install azure-storage-blob"
        ) from error
    try:
        client = make(url, max_single_get_size=CHUNK, max_chunk_get_size=CHUNK, **_PATIENCE)
    except ValueError as error:
        raise Unfetched(f"the address is none of a blob ({_plain(error)})") from error
    with client:
        began = _length(part)
        _go_on(client, release, part, pause, wanted)
        if not _same(release, part):
            if not began:
                raise Wrong(_difference(release, part))
            # What lay here may have been of another file: once more, all of it.
            part.unlink(missing_ok=True)
            _go_on(client, release, part, pause, wanted)
            if not _same(release, part):
                raise Wrong(_difference(release, part))


_PATIENCE: Final = {
    "retry_total": 2,
    "initial_backoff": 1,
    "increment_base": 2,
    "connection_timeout": 10,
    "read_timeout": 30,
}


def _go_on(
    client: Any, release: Release, part: Path, pause: Callable[[float], None], wanted: Callable[[], bool]
) -> None:
    """Until it is all there."""
    from azure.core.exceptions import AzureError

    idle = 0
    while True:
        before = _length(part)
        try:
            _once(client, release, part, wanted)
            return
        except AzureError as error:
            _tell(error)
            if _length(part) > before:
                idle = 0
            if idle >= len(PAUSES):
                raise Unfetched(f"the storage cannot be reached ({_plain(error)})") from error
            log.warning(
                "The model %s stopped at %d of %d bytes: %s",
                release,
                _length(part),
                release.size,
                _plain(error),
            )
            pause(PAUSES[idle])
            idle += 1
        except OSError as error:
            raise Unfetched(f"{part} cannot be written: {error.strerror or error}") from error


def _once(client: Any, release: Release, part: Path, wanted: Callable[[], bool]) -> None:
    from azure.core import MatchConditions

    if not wanted():
        raise Unwanted
    about = client.get_blob_properties()
    if about.size != release.size:
        raise Wrong(f"the blob has {about.size} bytes, and the twin says {release.size}")
    have = _length(part)
    if have > release.size:
        part.unlink()
        have = 0
    if have == release.size:
        return
    came = client.download_blob(
        offset=have,
        length=release.size - have,
        etag=about.etag,
        match_condition=MatchConditions.IfNotModified,
    )
    with part.open("ab") as file:
        part.chmod(0o600)
        for chunk in came.chunks():
            if not wanted():
                raise Unwanted
            file.write(chunk)


def _tell(error: Any) -> None:
    """Raise Unfetched where going on with this address is in vain."""
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        raise Unfetched("the address does not hold (any more)") from error
    if status == 404:
        raise Unfetched("the storage has no such blob") from error


def _length(part: Path) -> int:
    with contextlib.suppress(OSError):
        return part.stat().st_size
    return 0


def _digest(part: Path) -> str:
    with part.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same(release: Release, part: Path) -> bool:
    return _length(part) == release.size and _digest(part) == release.sha256


def _difference(release: Release, part: Path) -> str:
    size = _length(part)
    if size != release.size:
        return f"{size} bytes came, and the twin says {release.size}"
    return f"its SHA-256 is {_digest(part)[:12]}..., and the twin says {release.sha256[:12]}...: it is another file"


def _plain(error: Exception) -> str:
    """The first line of what an error says, without the address."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return _SECRET.sub("...", line)[:200]
