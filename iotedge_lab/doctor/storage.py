"""The storage account: its server, and the variable that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iotedge_lab.doctor.finding import Finding, fail, ok, warn
from iotedge_lab.errors import ConnectionStringError, LabError
from iotedge_lab.serve.addresses import is_loopback
from iotedge_lab.serve.storage import StorageFolder
from iotedge_lab.storage_calls import StorageCalls
from iotedge_lab.wire.storage.account import StorageAccount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iotedge_lab.doctor.situation import Situation

STORAGE_VARIABLE: Final = "AZURE_STORAGE_CONNECTION_STRING"
_SECONDS: Final = 5.0


def check_server(here: Situation) -> Iterator[Finding]:
    """Whether it answers, where it runs; that the hub has a port for it."""
    name, told = "storage", here.told
    if not here.running or told is None:
        return  # it runs with the hub, and the hub's own check says what is wrong with that
    if not told.storage:
        yield warn(
            name,
            "the hub has no port for storage: files cannot be uploaded, models not be sent to edges",
            here.restart(),
        )
        return
    folder = StorageFolder(here.state.path)
    endpoint = StorageAccount.parse(told.storage).endpoint
    if not folder.locked():
        yield ok(name, f"nobody has used it yet; its server starts with the first connection to {endpoint}")
        return
    try:
        found = StorageCalls(told.storage, here.ca_file).health(timeout=_SECONDS)
    except LabError as error:
        yield fail(name, str(error), f"{here.restart()}; what it was doing is in {folder.log_file}")
        return
    size = found["bytes"] / 1_000_000
    yield ok(
        name,
        f"it answers at {endpoint}: {found['blobs']} blobs in {found['containers']} containers, {size:.1f} MB",
    )


def check_string(here: Situation) -> Iterator[Finding]:
    """AZURE_STORAGE_CONNECTION_STRING: the same lab's."""
    name, text = STORAGE_VARIABLE, here.environ.get(STORAGE_VARIABLE)
    if not text:
        return  # only what uses files or models needs it
    try:
        account = StorageAccount.parse(text)
    except ConnectionStringError as error:
        yield fail(name, f"it cannot be read: {error}", here.set_variables())
        return
    if not is_loopback(account.host):
        yield ok(name, f"it names the account {account.name} at {account.host}")
        return
    if here.aims_elsewhere():
        yield fail(
            name,
            f"it names {account.endpoint} on this machine, and the hub is {here.service_host()}",
            f"export {name}='DefaultEndpointsProtocol=https;AccountName=...' (portal: storage account, Access keys)",
        )
        return
    ours = StorageAccount.parse(here.told.storage) if here.told is not None and here.told.storage else None
    if ours is None or account.endpoint != ours.endpoint:
        yield warn(
            name, f"it names {account.endpoint}, which is not this lab's storage", here.set_variables()
        )
    elif account.key != ours.key:
        yield fail(name, "its key is not this lab's (any more)", here.set_variables())
    else:
        yield ok(name, "it names this lab's storage, with its key")


CHECKS: Final = (("storage", check_server), (STORAGE_VARIABLE, check_string))
