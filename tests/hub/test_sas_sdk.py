"""Who is let in and for how long, seen through azure-iot-device and azure-iot-hub."""

import time

import pytest
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub import IoTHubRegistryManager
from hub_clients import RawDevice, some_key
from msrest.exceptions import HttpOperationError

from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.packets import ConnackCode


def _with_key(lab, device, key):
    return ConnectionString(host_name=lab.hostname, device_id=device, shared_access_key=key).format()


def _token(lab, device, *, of=None, seconds=3600):
    key = ConnectionString.parse(lab.device_connection_string(of or device)).shared_access_key
    return sas.build(f"{lab.hostname}/devices/{device}", key, int(time.time()) + seconds)


@pytest.mark.parametrize("how", ["wrong key", "another device's key", "unknown device", "disabled"])
def test_who_is_not_let_in(lab, registry, sdk, device, how):
    """CONNACK 5, which the SDK tells as CredentialError; the right key of an enabled device is let in after."""
    string = lab.device_connection_string(device)
    if how == "wrong key":
        wrong = _with_key(lab, device, some_key())
    elif how == "another device's key":
        other = registry.create_device_with_sas(f"{device}-other", "", "", "enabled")
        wrong = _with_key(lab, device, other.authentication.symmetric_key.primary_key)
    elif how == "unknown device":
        wrong = _with_key(lab, "nobody-of-that-name", some_key())
    else:
        wrong = string
        keys = (old := registry.get_device(device)).authentication.symmetric_key
        off = registry.update_device_with_sas(
            device, old.etag, keys.primary_key, keys.secondary_key, "disabled"
        )
    client = sdk(device, connection_string=wrong)
    with pytest.raises(CredentialError):
        client.connect()
    assert not client.connected
    if how == "disabled":
        registry.update_device_with_sas(device, off.etag, keys.primary_key, keys.secondary_key, "enabled")
    good = sdk(device)
    good.connect()
    assert good.connected


def test_another_devices_or_an_expired_token(lab, device, registry):
    """A ready-made token is held to its resource and its end."""
    registry.create_device_with_sas(f"{device}-x", "", "", "enabled")
    for token in (
        _token(lab, device, of=f"{device}-x"),
        _token(lab, f"{device}-x"),
        _token(lab, device, seconds=-10),
    ):
        client = MqttClient(device, f"{lab.hostname}/{device}/?api-version=2021-04-12", token)
        one = RawDevice(lab, device, client=client)
        assert one.connect().code is ConnackCode.NOT_AUTHORIZED
        assert one.closed_by_hub()
        one.close()


def test_the_secondary_key(lab, registry, sdk, device):
    """Either key opens."""
    key = registry.get_device(device).authentication.symmetric_key.secondary_key
    client = sdk(device, connection_string=_with_key(lab, device, key))
    client.connect()
    assert client.connected


def test_a_key_that_was_changed(lab, registry, sdk, device):
    """After a key is rolled, the old one is refused and the new one opens."""
    old = registry.get_device(device)
    keys = old.authentication.symmetric_key
    registry.update_device_with_sas(device, old.etag, some_key(b"n"), keys.secondary_key, "enabled")
    with pytest.raises(CredentialError):
        sdk(device, connection_string=_with_key(lab, device, keys.primary_key)).connect()
    client = sdk(device)
    client.connect()
    assert client.connected


@pytest.mark.parametrize("policy", ["device", "iothubowner"])
def test_a_token_of_a_policy(lab, device, policy):
    """A policy with DeviceConnect speaks for any device: the SDK is given the token as it is."""
    for resource in (lab.hostname, f"{lab.hostname}/devices/{device}"):
        token = sas.build(resource, lab._told.keys[policy], int(time.time()) + 3600, policy)
        wire = MqttClient(device, f"{lab.hostname}/{device}/?api-version=2021-04-12", token)
        one = RawDevice(lab, device, client=wire)
        assert one.connect().code is ConnackCode.ACCEPTED
        one.send(b"by policy")
        one.close()


def test_the_sdk_with_a_ready_token(lab, device):
    """`create_from_sastoken`, as a token service's device uses it."""
    client = IoTHubDeviceClient.create_from_sastoken(_token(lab, device))
    try:
        client.connect()
        client.send_message("hello")
    finally:
        client.shutdown()


def test_the_tokens_end_closes_the_connection(lab, device):
    """A connection is closed when its token has ended, and not before."""
    for seconds in (2, 8, 25):  # longer where the machine is too slow to use a short one
        token = _token(lab, device, seconds=seconds)
        wire = MqttClient(device, f"{lab.hostname}/{device}/?api-version=2021-04-12", token, keep_alive=0)
        one = RawDevice(lab, device, client=wire)
        try:
            assert one.connect().code is ConnackCode.ACCEPTED or time.time() >= sas.parse(token).expiry
            one.send(b"still good")
        except ConnectionError:
            one.close()
        else:
            break
    assert one.closed_by_hub()
    assert time.time() >= sas.parse(token).expiry
    one.close()


def test_a_module_and_its_device_do_not_share_keys(lab, registry, sdk, device):
    """A module connects with its own key, and not with its device's."""
    registry.create_module_with_sas(device, "m", "", "", "")
    good = sdk(device, "m")
    good.connect()
    good.disconnect()
    key = ConnectionString.parse(lab.device_connection_string(device)).shared_access_key
    wrong = ConnectionString(host_name=lab.hostname, device_id=device, module_id="m", shared_access_key=key)
    with pytest.raises(CredentialError):
        sdk(device, "m", connection_string=wrong.format()).connect()


@pytest.mark.parametrize(
    ("policy", "key", "status"),
    [
        ("iothubowner", None, 200),
        ("registryRead", None, 200),
        ("service", None, 401),
        ("device", None, 401),
        ("iothubowner", "wrong", 401),
        ("nobody", "wrong", 401),
    ],
)
def test_services(lab, device, policy, key, status):
    """A service is let in by policy and right."""
    host = f"{lab.hostname}:{lab._told.https_port}"
    key = some_key() if key else lab._told.keys[policy]
    string = f"HostName={host};SharedAccessKeyName={policy};SharedAccessKey={key}"
    registry = IoTHubRegistryManager.from_connection_string(string)
    if status == 200:
        assert registry.get_device(device).device_id == device
        return
    with pytest.raises(HttpOperationError) as caught:
        registry.get_device(device)
    assert caught.value.response.status_code == status
    name = "IotHubUnauthorizedAccess" if key == some_key() else "IotHubUnauthorized"
    assert caught.value.response.headers["iothub-errorcode"] == name


def test_no_key_was_logged(lab, registry):
    """After all these refusals the log holds neither a key nor a signature."""
    log = lab.state_dir.joinpath("hub.log").read_text()
    assert "refused" in log
    assert "sig=" not in log
    keys = list(lab._told.keys.values())
    for device in registry.get_devices(1000):
        keys += [
            device.authentication.symmetric_key.primary_key,
            device.authentication.symmetric_key.secondary_key,
        ]
    assert len(keys) > 10
    assert not [key for key in keys if key in log]
