"""Who may do what: keys and shared access signatures, as the vendor's client makes them."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError
from azure.storage.blob import (
    AccessPolicy,
    AccountSasPermissions,
    BlobClient,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)
from azure.storage.blob._shared_access_signature import BlobSharedAccessSignature

ACCOUNT = "iotedgelab"
LATER = datetime.now(UTC) + timedelta(days=1)  # when this file is read, which may be long before its tests
BEFORE = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def blob(container):
    """A blob of the key's."""
    return container.upload_blob("folder/a b.txt", b"content")


@pytest.fixture
def opened(blob, container, key):
    """`opened(permission, ...)`: a client of that blob (or another) with a SAS for it."""
    made = []

    def make(permission="r", *, name=blob.blob_name, of=None, expiry=LATER, with_key=key, **more):
        sas = generate_blob_sas(
            ACCOUNT,
            container.container_name,
            of or name,
            account_key=with_key,
            permission=permission,
            expiry=expiry,
            **more,
        )
        url = f"{container.url}/{name.replace(' ', '%20')}?{sas}"
        made.append(BlobClient.from_blob_url(url, retry_total=0))
        return made[-1]

    yield make
    for client in made:
        client.close()


def refused(call, status, code, *words):
    """That it is refused so; the words stand in what the client shows."""
    with pytest.raises(HttpResponseError) as caught:
        call()
    error = caught.value
    assert (error.status_code, str(getattr(error.error_code, "value", error.error_code))) == (status, code)
    for word in words:
        assert word in error.message
    return error


# -- the key -------------------------------------------------------------------------------------------


def test_the_key_and_the_second_key(lab, container, blob, key):
    """Both open all; another one nothing."""
    import json

    keys = json.loads((lab.state_dir / "storage" / "account.json").read_text())
    assert keys["primary"] == key
    string = lab.storage_connection_string
    for each, good in ((key, True), (keys["secondary"], True), (base64.b64encode(b"other").decode(), False)):
        with BlobClient.from_connection_string(
            string.replace(key, each), container.container_name, blob.blob_name, retry_total=0
        ) as client:
            if good:
                assert client.download_blob().readall() == b"content"
            else:
                error = refused(client.download_blob, 403, "AuthenticationFailed", "MAC signature")
                assert isinstance(error, ClientAuthenticationError)
                assert key not in error.message


def test_without_anything(container, blob):
    """No container is public: 401."""
    with BlobClient.from_blob_url(blob.url, retry_total=0) as client:
        error = refused(client.download_blob, 401, "NoAuthenticationInformation")
        assert error.response.headers["WWW-Authenticate"].startswith("SharedKey")


# -- service SAS of a blob -----------------------------------------------------------------------------


def test_read_only(opened):
    """It reads content and properties, and writes nothing."""
    client = opened("r")
    assert client.download_blob().readall() == b"content"
    assert client.get_blob_properties().size == 7
    for call in (
        lambda: client.upload_blob(b"x", overwrite=True),
        lambda: client.stage_block("aa", b"x"),
        lambda: client.commit_block_list([]),
        lambda: client.set_blob_metadata({"a": "1"}),
        client.delete_blob,
    ):
        refused(call, 403, "AuthorizationPermissionMismatch", "sp=r")


def test_write_only(opened):
    """It writes and does not read."""
    client = opened("w")
    client.upload_blob(b"new", overwrite=True)
    refused(client.download_blob, 403, "AuthorizationPermissionMismatch", "takes r")


def test_create_does_not_overwrite(opened, container):
    """Permission `c` makes a blob that is not there, and no more."""
    fresh = opened("c", name="fresh")
    fresh.upload_blob(b"1", overwrite=True)
    refused(lambda: fresh.upload_blob(b"2", overwrite=True), 403, "UnauthorizedBlobOverwrite")
    with pytest.raises(ResourceExistsError):
        fresh.upload_blob(b"2")
    assert container.download_blob("fresh").readall() == b"1"


def test_of_another_blob(opened, container):
    """A token opens the blob that it was made for, and no other."""
    container.upload_blob("other", b"secret")
    for name in ("other", "folder/a b.txt2", "folder"):
        refused(opened("rw", name=name, of="folder/a b.txt").download_blob, 403, "AuthenticationFailed")
        refused(
            lambda name=name: opened("rw", name=name, of="folder/a b.txt").upload_blob(b"x", overwrite=True),
            403,
            "AuthenticationFailed",
        )
    refused(lambda: list(_as_container(opened("rw")).list_blobs()), 403, "AuthenticationFailed")


def _as_container(client):
    return ContainerClient.from_container_url(
        client.url.split("/folder")[0] + "?" + client.url.split("?")[1], retry_total=0
    )


def test_times(opened):
    """Expired, and not begun."""
    refused(opened(expiry=BEFORE).download_blob, 403, "AuthenticationFailed", "expired")
    refused(
        opened(start=LATER, expiry=LATER + timedelta(1)).download_blob,
        403,
        "AuthenticationFailed",
        "begins in",
    )
    assert opened(start=BEFORE).download_blob().readall() == b"content"
    assert opened(expiry="2040-01-01").download_blob().readall() == b"content"


def test_a_changed_token(opened):
    """Whoever gives himself more loses all."""
    url = opened("r").url
    for old, new in (("sp=r", "sp=rw"), ("sr=b", "sr=c"), ("sig=", "sig=A"), ("se=2", "se=3")):
        assert old in url
        with BlobClient.from_blob_url(url.replace(old, new), retry_total=0) as client:
            refused(client.download_blob, 403, "AuthenticationFailed")
    refused(opened(with_key=base64.b64encode(b"no").decode()).download_blob, 403, "AuthenticationFailed")


def test_from_where_and_how(opened):
    """`sip` and `spr`."""
    assert opened(ip="127.0.0.1", protocol="https").download_blob().readall() == b"content"
    assert opened(ip="127.0.0.0-127.0.0.9", protocol="https,http").download_blob().readall() == b"content"
    for address in ("10.0.0.1", "127.0.0.2-127.0.0.9", "nonsense"):
        refused(opened(ip=address).download_blob, 403, "AuthorizationSourceIPMismatch", "127.0.0.1")
    refused(opened(protocol="http").download_blob, 403, "AuthorizationProtocolMismatch")


def test_headers_for_a_reader(opened):
    """`rsct` and its like take the place of the blob's own headers."""
    client = opened(content_type="image/png", content_disposition="inline", cache_control="no-cache")
    told = client.get_blob_properties().content_settings
    assert (told.content_type, told.content_disposition, told.cache_control) == (
        "image/png",
        "inline",
        "no-cache",
    )
    refused(opened(content_type="a\r\nx-evil: 1").download_blob, 403, "AuthenticationFailed")


@pytest.mark.parametrize(
    "version",
    ["2019-02-02", "2019-12-12", "2020-10-02", "2020-12-06", "2021-08-06", "2023-11-03", "2026-10-06"],
)
def test_versions(container, blob, key, version):
    """What is signed depends on the version; the client's own of each is good."""
    maker = BlobSharedAccessSignature(ACCOUNT, key)
    maker.x_ms_version = version
    if version >= "2020-12-06":
        sas = maker.generate_blob(container.container_name, blob.blob_name, permission="r", expiry=LATER)
    else:  # before encryption scopes; today's client signs them always
        from iotedge_lab.wire.storage import blob_sas, shared_key

        fields = {"sv": version, "sr": "b", "sp": "r", "se": LATER.strftime("%Y-%m-%dT%H:%M:%SZ"), "sig": "x"}
        text = blob_sas.parse(fields).string_to_sign(ACCOUNT, container.container_name, blob.blob_name)
        assert text.count("\n") == 14
        from urllib.parse import urlencode

        sas = urlencode(fields | {"sig": shared_key.sign(text, key)})
    with BlobClient.from_blob_url(f"{blob.url}?{sas}", retry_total=0) as client:
        assert client.download_blob().readall() == b"content"


# -- service SAS of a container, stored policies -------------------------------------------------------


def with_container_sas(container, key, **options):
    sas = generate_container_sas(ACCOUNT, container.container_name, account_key=key, **options)
    return ContainerClient.from_container_url(f"{container.url}?{sas}", retry_total=0)


def test_of_a_container(container, blob, key):
    """It opens all blobs, lists them if it may, and does nothing to the container itself."""
    with with_container_sas(
        container, key, permission=ContainerSasPermissions(read=True, list=True, create=True), expiry=LATER
    ) as client:
        assert [each.name for each in client.list_blobs()] == [blob.blob_name]
        client.upload_blob("new", b"1")
        assert client.download_blob("new").readall() == b"1"
        refused(lambda: client.delete_blob("new"), 403, "AuthorizationPermissionMismatch")
        for call in (client.delete_container, client.get_container_access_policy):
            refused(call, 403, "AuthorizationPermissionMismatch", "the account key")
    with with_container_sas(container, key, permission="r", expiry=LATER) as client:
        refused(lambda: list(client.list_blobs()), 403, "AuthorizationPermissionMismatch", "takes l")


def test_a_stored_policy(container, blob, key):
    """Its terms hold as long as it is there: to take it away ends all tokens that name it."""
    with with_container_sas(container, key, policy_id="reader") as client:
        refused(
            lambda: client.download_blob(blob.blob_name),
            403,
            "AuthenticationFailed",
            "no stored access policy",
        )
        container.set_container_access_policy(
            {"reader": AccessPolicy(permission="r", expiry=LATER, start=BEFORE)}
        )
        assert client.download_blob(blob.blob_name).readall() == b"content"
        refused(lambda: client.delete_blob(blob.blob_name), 403, "AuthorizationPermissionMismatch")
        container.set_container_access_policy({"reader": AccessPolicy(permission="r", expiry=BEFORE)})
        refused(lambda: client.download_blob(blob.blob_name), 403, "AuthenticationFailed", "expired")
        container.set_container_access_policy({"reader": AccessPolicy(permission="r")})
        refused(lambda: client.download_blob(blob.blob_name), 403, "AuthenticationFailed", "says an expiry")
    container.set_container_access_policy({"reader": AccessPolicy(permission="r", expiry=LATER)})
    with with_container_sas(container, key, policy_id="reader", permission="rw", expiry=LATER) as client:
        refused(lambda: client.download_blob(blob.blob_name), 403, "AuthenticationFailed", "both say")


# -- account SAS ---------------------------------------------------------------------------------------


def with_account_sas(container, key, permission, resources, **options):
    sas = generate_account_sas(ACCOUNT, key, resources, permission, LATER, **options)
    return BlobServiceClient(container.url.rpartition("/")[0], credential=sas, retry_total=0)


def test_of_the_account(container, blob, key):
    """For the kinds of resource that it names, with the permissions that it has."""
    everything = AccountSasPermissions(read=True, write=True, delete=True, list=True, add=True, create=True)
    with with_account_sas(container, key, everything, ResourceTypes(True, True, True)) as client:
        assert container.container_name in [each.name for each in client.list_containers()]
        there = client.get_container_client(container.container_name)
        assert there.get_container_properties().name == container.container_name
        there.upload_blob("new", b"1")
        assert [each.name for each in there.list_blobs()] == [blob.blob_name, "new"]
        refused(there.get_container_access_policy, 403, "AuthorizationPermissionMismatch", "the account key")
    with with_account_sas(container, key, everything, ResourceTypes(object=True)) as client:
        there = client.get_container_client(container.container_name)
        assert there.download_blob("new").readall() == b"1"
        refused(lambda: list(there.list_blobs()), 403, "AuthorizationResourceTypeMismatch", "srt=c")
        refused(lambda: list(client.list_containers()), 403, "AuthorizationResourceTypeMismatch", "srt=s")
    with with_account_sas(container, key, "r", ResourceTypes(True, True, True)) as client:
        refused(lambda: list(client.list_containers()), 403, "AuthorizationPermissionMismatch")
        refused(lambda: client.create_container("not-made"), 403, "AuthorizationPermissionMismatch")
    with with_account_sas(
        container, key, everything, ResourceTypes(True, True, True), services="q"
    ) as client:
        refused(lambda: list(client.list_containers()), 403, "AuthorizationServiceMismatch")


def test_a_copy_needs_to_read_its_source(opened, container, blob):
    """A token for the target alone copies nothing."""
    target = opened("cw", name="target")
    refused(lambda: target.start_copy_from_url(blob.url), 403, "CannotVerifyCopySource")
    refused(lambda: target.start_copy_from_url(opened("w").url), 403, "AuthorizationPermissionMismatch")
    refused(lambda: target.start_copy_from_url(opened("r", of="other").url), 403, "AuthenticationFailed")
    assert not container.get_blob_client("target").exists()
    assert target.start_copy_from_url(opened("r").url)["copy_status"] == "success"
    assert container.download_blob("target").readall() == b"content"
