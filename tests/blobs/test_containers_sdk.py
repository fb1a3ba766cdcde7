"""Containers through azure-storage-blob."""

from datetime import timedelta

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import AccessPolicy, BlobServiceClient, ContainerSasPermissions


def test_made_found_listed_deleted(service):
    """A container's whole life; its metadata comes back, its name can be taken again at once."""
    made = service.create_container("whole-life", metadata={"Room": "blobs"})
    with pytest.raises(ResourceExistsError) as caught:
        service.create_container("whole-life")
    assert caught.value.error_code == "ContainerAlreadyExists"
    found = made.get_container_properties()
    assert (found.name, found.metadata, found.lease.state) == ("whole-life", {"Room": "blobs"}, "available")
    made.set_container_metadata({"other": "1"})
    changed = made.get_container_properties()
    assert changed.metadata == {"other": "1"}
    assert changed.etag != found.etag
    [listed] = service.list_containers(name_starts_with="whole", include_metadata=True)
    assert (listed.name, listed.metadata) == ("whole-life", {"other": "1"})
    made.delete_container()
    assert not made.exists()
    with pytest.raises(ResourceNotFoundError) as caught:
        made.delete_container()
    assert caught.value.error_code == "ContainerNotFound"
    service.create_container("whole-life").delete_container()


def test_those_of_the_lab_are_there(service):
    """`uploads` for devices' files, `models` for the edge."""
    assert {"models", "uploads"} <= {each.name for each in service.list_containers()}


def test_listed_by_pages(service):
    """No container is told twice or left out."""
    names = [f"paged-{number}" for number in range(5)]
    for name in names:
        service.create_container(name)
    pages = [
        [each.name for each in page]
        for page in service.list_containers(name_starts_with="paged-", results_per_page=2).by_page()
    ]
    assert [name for page in pages for name in page] == names
    assert [len(page) for page in pages] == [2, 2, 1]
    for name in names:
        service.delete_container(name)


@pytest.mark.parametrize("name", ["Upper", "ab", "a--b", "-a-", "under_score", "x" * 64])
def test_names(service, name):
    """What Azure does not take as a name is refused with its code."""
    with pytest.raises(HttpResponseError) as caught:
        service.create_container(name)
    assert (caught.value.status_code, caught.value.error_code) == (400, "InvalidResourceName")


def test_stored_access_policies(container):
    """They come back as they were given, and go when others are set."""
    container.set_container_access_policy(
        {"reader": AccessPolicy(permission=ContainerSasPermissions(read=True), expiry="2040-01-01T00:00:00Z")}
    )
    found = container.get_container_access_policy()
    assert found["public_access"] is None
    [identifier] = found["signed_identifiers"]
    assert (identifier.id, identifier.access_policy.permission) == ("reader", "r")
    container.set_container_access_policy({})
    assert container.get_container_access_policy()["signed_identifiers"] == []
    with pytest.raises(HttpResponseError) as caught:
        container.set_container_access_policy({}, public_access="blob")
    assert caught.value.status_code == 501


def test_conditions(container):
    """A container that has changed since is not deleted."""
    before = container.get_container_properties().last_modified - timedelta(seconds=1)
    with pytest.raises(HttpResponseError) as caught:
        container.delete_container(if_unmodified_since=before)
    assert (caught.value.status_code, caught.value.error_code) == (412, "ConditionNotMet")
    assert container.exists()


def test_the_account(service, lab):
    """What is asked of the account as a whole; what it has not says so."""
    assert service.get_account_information()["account_kind"] == "StorageV2"
    properties = service.get_service_properties()
    assert not properties["static_website"].enabled
    assert not properties["delete_retention_policy"].enabled
    with pytest.raises(HttpResponseError) as caught:
        service.set_service_properties(cors=[])
    assert (caught.value.status_code, caught.value.error_code) == (501, "NotImplemented")
    stranger = lab.storage_connection_string.replace("/iotedgelab;", "/someone;")
    with BlobServiceClient.from_connection_string(stranger, retry_total=0) as other:
        with pytest.raises(ResourceNotFoundError) as caught:
            list(other.list_containers())
        assert caught.value.error_code == "ResourceNotFound"
