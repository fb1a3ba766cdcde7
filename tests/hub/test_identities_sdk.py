"""The identity registry as azure-iot-hub and azure-iot-device see it."""

import itertools

import pytest
from azure.iot.hub.models import ExportImportDevice
from azure.iot.hub.protocol.models import DeviceCapabilities, PropertyContainer
from hub_clients import some_key
from msrest.exceptions import HttpOperationError

_ids = itertools.count()


@pytest.fixture
def name():
    """An id that no test before has used."""
    return f"reg-{next(_ids)}"


def _status(call, *args, **options):
    with pytest.raises(HttpOperationError) as caught:
        call(*args, **options)
    response = caught.value.response
    return response.status_code, response.headers.get("iothub-errorcode")


def test_create_with_generated_keys(registry, name):
    """A device that is created without keys has two, is enabled, and has never been seen."""
    made = registry.create_device_with_sas(name, "", "", "enabled")
    keys = made.authentication.symmetric_key
    assert made.device_id == name
    assert made.authentication.type == "sas"
    assert keys.primary_key
    assert keys.primary_key != keys.secondary_key
    assert (made.status, made.connection_state) == ("enabled", "Disconnected")
    assert made.last_activity_time.year == 1
    assert made.etag


def test_create_with_given_keys_and_get(registry, name):
    """Given keys are kept; what `get` says is what `create` said."""
    made = registry.create_device_with_sas(
        name, some_key(b"1"), some_key(b"2"), "disabled", iot_edge=True, status_reason="why"
    )
    got = registry.get_device(name)
    assert got.as_dict() == made.as_dict()
    keys = got.authentication.symmetric_key
    assert (keys.primary_key, keys.secondary_key) == (some_key(b"1"), some_key(b"2"))
    assert (got.status, got.status_reason, got.capabilities.iot_edge) == ("disabled", "why", True)


def test_list(registry, name):
    """Devices come in a list, as many as asked for."""
    for letter in "abc":
        registry.create_device_with_sas(f"{name}-{letter}", "", "", "enabled")
    listed = [device.device_id for device in registry.get_devices(1000)]
    assert [one for one in listed if one.startswith(f"{name}-")] == [f"{name}-{letter}" for letter in "abc"]
    assert len(registry.get_devices(2)) == 2


def test_update_with_etag(registry, name):
    """An update with the present etag changes the device; the etag of before is refused with 412."""
    made = registry.create_device_with_sas(name, "", "", "enabled")
    keys = made.authentication.symmetric_key
    changed = registry.update_device_with_sas(
        name, made.etag, keys.primary_key, keys.secondary_key, "disabled", status_reason="resting"
    )
    assert (changed.status, changed.status_reason) == ("disabled", "resting")
    assert changed.etag != made.etag
    assert changed.status_updated_time.year > 2000
    stale = _status(
        registry.update_device_with_sas, name, made.etag, keys.primary_key, keys.secondary_key, "enabled"
    )
    assert stale == (412, "PreconditionFailed")
    assert registry.get_device(name).status == "disabled"


def test_delete(registry, name):
    """A device goes with its modules; with an old etag, or a second time, it does not."""
    made = registry.create_device_with_sas(name, "", "", "enabled")
    registry.create_module_with_sas(name, "m", "me", "", "")
    assert _status(registry.delete_device, name, "b2xk") == (412, "PreconditionFailed")
    registry.delete_device(name, made.etag)
    assert _status(registry.get_device, name) == (404, "DeviceNotFound")
    assert _status(registry.delete_device, name) == (404, "DeviceNotFound")
    assert _status(registry.get_module, name, "m") == (404, "DeviceNotFound")


def test_modules(registry, name):
    """Create, get, list, update and delete a module."""
    registry.create_device_with_sas(name, "", "", "enabled")
    made = registry.create_module_with_sas(name, "m1", "me", some_key(b"1"), some_key(b"2"))
    registry.create_module_with_sas(name, "m2", "", "", "")
    assert (made.device_id, made.module_id, made.managed_by) == (name, "m1", "me")
    assert registry.get_module(name, "m1").authentication.symmetric_key.primary_key == some_key(b"1")
    assert [module.module_id for module in registry.get_modules(name)] == ["m1", "m2"]
    changed = registry.update_module_with_sas(name, "m1", "you", made.etag, some_key(b"3"), some_key(b"4"))
    assert (changed.managed_by, changed.authentication.symmetric_key.primary_key) == ("you", some_key(b"3"))
    assert _status(registry.delete_module, name, "m1", made.etag) == (412, "PreconditionFailed")
    registry.delete_module(name, "m1")
    assert [module.module_id for module in registry.get_modules(name)] == ["m2"]


def test_refusals(registry, name):
    """Each refusal has its status and its word in the header `iothub-errorcode`."""
    registry.create_device_with_sas(name, "", "", "enabled")
    registry.create_module_with_sas(name, "m", "", "", "")
    nobody = f"{name}-nobody"
    assert _status(registry.create_device_with_sas, name, "", "", "enabled") == (409, "DeviceAlreadyExists")
    assert _status(registry.create_module_with_sas, name, "m", "", "", "") == (
        409,
        "ModuleAlreadyExistsOnDevice",
    )
    assert _status(registry.get_device, nobody) == (404, "DeviceNotFound")
    assert _status(registry.get_modules, nobody) == (404, "DeviceNotFound")
    assert _status(registry.create_module_with_sas, nobody, "m", "", "", "") == (404, "DeviceNotFound")
    assert _status(registry.get_module, name, "nobody") == (404, "ModuleNotFound")
    assert _status(registry.create_device_with_sas, nobody, "short", "", "enabled") == (
        400,
        "ArgumentInvalid",
    )
    assert _status(registry.create_device_with_sas, nobody, "", "", "asleep") == (400, "ArgumentInvalid")
    assert _status(registry.create_device_with_sas, "no spaces", "", "", "enabled") == (
        400,
        "ArgumentInvalid",
    )
    assert _status(registry.create_device_with_sas, "gerät", "", "", "enabled") == (400, "ArgumentInvalid")


@pytest.mark.parametrize("odd", ["a-b:c.d_!(),=@$'*", "'OR'1'='1", "50%", "what?", "%2e%2e", "$weird"])
def test_odd_ids(sdk, registry, odd):
    """Each character that IoT Hub allows in an id comes through the SDK's URLs as it is."""
    registry.create_device_with_sas(odd, "", "", "enabled")
    assert registry.get_device(odd).device_id == odd
    client = sdk(odd)
    client.connect()
    client.send_message("hello")
    assert registry.get_device(odd).connection_state == "Connected"
    registry.delete_device(odd)
    assert _status(registry.get_device, odd) == (404, "DeviceNotFound")


def test_connection_state_is_the_truth(sdk, registry, name):
    """Connected while the client is, Disconnected as soon as it is not; device and module each for itself."""
    registry.create_device_with_sas(name, "", "", "enabled")
    registry.create_module_with_sas(name, "m", "", "", "")
    client = sdk(name)
    other = sdk(name, "m")
    client.connect()
    assert registry.get_device(name).connection_state == "Connected"
    assert registry.get_module(name, "m").connection_state == "Disconnected"
    assert registry.get_service_statistics().connected_device_count >= 1
    other.connect()
    assert registry.get_module(name, "m").connection_state == "Connected"
    client.disconnect()
    got = registry.get_device(name)
    assert got.connection_state == "Disconnected"
    assert got.last_activity_time.year > 2000
    assert got.connection_state_updated_time.year > 2000
    client.connect()
    assert registry.get_device(name).connection_state == "Connected"
    other.disconnect()
    assert registry.get_module(name, "m").connection_state == "Disconnected"


def test_a_disabled_or_deleted_device_is_cut(sdk, registry, name):
    """Disabling closes the connection, and so does deleting."""
    device = registry.create_device_with_sas(name, "", "", "enabled")
    keys = device.authentication.symmetric_key
    client = sdk(name, connection_retry=False)
    client.connect()
    registry.update_device_with_sas(name, device.etag, keys.primary_key, keys.secondary_key, "disabled")
    assert registry.get_device(name).connection_state == "Disconnected"


def test_edge_devices_and_parents(registry, name):
    """An edge device has its two modules and a scope; a leaf made with parent_scopes lies in it."""
    edge = registry.create_device_with_sas(name, "", "", "enabled", iot_edge=True)
    assert edge.capabilities.iot_edge
    assert edge.device_scope == f"ms-azure-iot-edge://{name}-{edge.generation_id}"
    modules = registry.get_modules(name)
    assert [module.module_id for module in modules] == ["$edgeAgent", "$edgeHub"]
    assert all(module.authentication.symmetric_key.primary_key for module in modules)
    assert registry.get_module_twin(name, "$edgeAgent").properties.desired["$version"] == 1
    leaf = registry.create_device_with_sas(
        f"{name}-leaf", "", "", "enabled", parent_scopes=[edge.device_scope]
    )
    assert (leaf.device_scope, leaf.parent_scopes) == (edge.device_scope, [edge.device_scope])
    below = registry.create_device_with_sas(
        f"{name}-below", "", "", "enabled", iot_edge=True, parent_scopes=[edge.device_scope]
    )
    assert below.parent_scopes == [edge.device_scope]
    assert below.device_scope.startswith(f"ms-azure-iot-edge://{name}-below-")


def _import(device, mode, **more):
    return ExportImportDevice(id=device, import_mode=mode, **more)


def test_bulk(registry, name):
    """create, update, updateTwin and delete of many in one call, each entry by itself."""
    edge = DeviceCapabilities(iot_edge=True)
    made = registry.bulk_create_or_update_devices(
        [
            _import(
                f"{name}-a", "create", tags={"hall": 3}, properties=PropertyContainer(desired={"pace": 2})
            ),
            _import(f"{name}-b", "createOrUpdate", status="disabled", status_reason="resting"),
            _import(f"{name}-c", "create", capabilities=edge),
        ]
    )
    assert (made.is_successful, made.errors) == (True, [])
    twin = registry.get_twin(f"{name}-a")
    assert (twin.tags, twin.properties.desired["pace"]) == ({"hall": 3}, 2)
    assert registry.get_device(f"{name}-b").status_reason == "resting"
    assert len(registry.get_modules(f"{name}-c")) == 2
    etag = registry.get_device(f"{name}-b").etag
    changed = registry.bulk_create_or_update_devices(
        [
            _import(f"{name}-a", "updateTwin", tags={"hall": 4}),
            _import(f"{name}-b", "updateIfMatchETag", e_tag=etag, status="enabled"),
            _import(f"{name}-c", "delete"),
        ]
    )
    assert changed.is_successful
    assert registry.get_twin(f"{name}-a").tags == {"hall": 4}
    assert registry.get_device(f"{name}-b").status == "enabled"
    assert _status(registry.get_device, f"{name}-c") == (404, "DeviceNotFound")


def test_bulk_tells_each_error(registry, name):
    """isSuccessful is false, each entry that failed is listed with its code, and the others are done."""
    registry.create_device_with_sas(name, "", "", "enabled")
    result = registry.bulk_create_or_update_devices(
        [
            _import(name, "create"),
            _import(f"{name}-none", "update", status="disabled"),
            _import("no spaces", "create"),
            _import(name, "updateIfMatchETag", e_tag="b2xk", status="disabled"),
            _import(name, "updateIfMatchETag", status="disabled"),
            _import(f"{name}-none", "delete"),
            _import(f"{name}-none", "updateTwin", tags={"a": 1}),
            _import(name, "updateTwin", tags={"a.b": 1}),
            _import(f"{name}-good", "create"),
        ]
    )
    assert result.is_successful is False
    assert [(error.device_id, error.error_code) for error in result.errors] == [
        (name, "DeviceAlreadyExists"),
        (f"{name}-none", "DeviceNotFound"),
        ("no spaces", "ArgumentInvalid"),
        (name, "PreconditionFailed"),
        (name, "ArgumentInvalid"),
        (f"{name}-none", "DeviceNotFound"),
        (f"{name}-none", "DeviceNotFound"),
        (name, "ArgumentInvalid"),
    ]
    assert all(error.error_status for error in result.errors)
    assert registry.get_device(name).status == "enabled"
    assert registry.get_device(f"{name}-good").status == "enabled"


def test_bulk_cuts_who_may_not_stay(sdk, registry, name):
    """A device that is disabled or deleted by a bulk call is disconnected at once."""
    for mode, more in (("update", {"status": "disabled"}), ("delete", {})):
        device = f"{name}-{mode}"
        registry.create_device_with_sas(device, "", "", "enabled")
        client = sdk(device, connection_retry=False)
        client.connect()
        before = registry.get_service_statistics().connected_device_count
        assert registry.bulk_create_or_update_devices([_import(device, mode, **more)]).is_successful
        assert registry.get_service_statistics().connected_device_count == before - 1


def test_statistics(registry, name):
    """The counts of devices by state."""
    before = registry.get_device_registry_statistics()
    registry.create_device_with_sas(f"{name}-on", "", "", "enabled")
    registry.create_device_with_sas(f"{name}-off", "", "", "disabled")
    after = registry.get_device_registry_statistics()
    assert after.total_device_count == before.total_device_count + 2
    assert after.enabled_device_count == before.enabled_device_count + 1
    assert after.disabled_device_count == before.disabled_device_count + 1


def test_certificate_devices(registry, name):
    """A device with thumbprints, and one of an authority, keep how they authenticate."""
    made = registry.create_device_with_x509(name, "A1" * 20, "B2" * 32, "enabled")
    assert made.authentication.type == "selfSigned"
    assert made.authentication.x509_thumbprint.primary_thumbprint == "A1" * 20
    assert not made.authentication.symmetric_key.primary_key
    assert registry.create_device_with_certificate_authority(f"{name}-ca", "enabled").authentication.type == (
        "certificateAuthority"
    )
