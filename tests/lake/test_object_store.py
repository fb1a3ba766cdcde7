"""A lake in an object store: the lab's own storage account, by URL and key."""

import pytest
from azure.storage.blob import BlobServiceClient
from lake_cases import LOG, batch, keys

from iotedge_lab.errors import StateLocked
from iotedge_lab.lake.place import LakePlace
from iotedge_lab.lake.reading import Lake
from iotedge_lab.lake.tables import Tables
from iotedge_lab.lake.upkeep import Upkeep
from iotedge_lab.wire.storage.account import StorageAccount


@pytest.fixture
def place(hub, monkeypatch):
    """A container of the test's own."""
    for name, value in hub.env().items():
        monkeypatch.setenv(name, value)
    account = StorageAccount.parse(hub.storage_connection_string)
    with BlobServiceClient.from_connection_string(hub.storage_connection_string) as service:
        container = service.create_container("lake")
        for name in ("a", "b"):
            container.upload_blob(name, b"")
        # Delta reads its log from a name on (List Blobs, startFrom).
        if [each.name for each in container.list_blobs(params={"startFrom": "b"})] != ["b"]:
            pytest.skip("this storage account does not list from a name on")
    options = {
        "azure_storage_account_name": account.name,
        "azure_storage_account_key": account.key,
        "azure_storage_endpoint": account.endpoint,
    }
    return LakePlace.of("az://lake/one", options)


def test_a_lake_in_an_object_store(place):
    """Written, read, compacted, and of two writers one goes on, as in a folder."""
    one, two = Tables(place), Tables(place)
    for number in range(6):
        one.write(batch(number * 10, number * 10 + 9))
    with pytest.raises(StateLocked):
        two.write(batch(0, 70))
    lake = Lake(place)
    at_3 = lake.frame(version=3)
    assert Upkeep(place).compact("telemetry", most_small=3).replaced == 6
    assert lake.frame(version=3).equals(at_3)
    assert keys(lake.frame()) == [(LOG, 1, number) for number in range(60)]
    assert lake.sql("SELECT count(*) AS n FROM telemetry")["n"][0] == 60
    lake.hold(3, "a model")
    assert lake.held() == [3]
