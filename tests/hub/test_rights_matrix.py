"""Each call of the REST API against each shared access policy: served, refused, or not served at all."""

import itertools

import pytest
from azure.iot.hub import (
    DigitalTwinClient,
    IoTHubHttpRuntimeManager,
    IoTHubJobManager,
)
from azure.iot.hub.protocol import models
from house import House
from http_calls import Caller
from msrest.exceptions import HttpOperationError

from iotedge_lab.hub.access import DEFAULT_POLICIES
from iotedge_lab.hub.http_front import make_app
from iotedge_lab.rest import RestClient, RestError
from iotedge_lab.wire.connection_string import ConnectionString

READ, WRITE, SERVICE, OWNER = (
    {"iothubowner", "registryRead", "registryReadWrite"},
    {"iothubowner", "registryReadWrite"},
    {"iothubowner", "service"},
    {"iothubowner"},
)
DEVICE = {"iothubowner", "device"}  # a policy that speaks for any device
ANYBODY = None  # asked by no token at all, or decided inside a WebSocket
SCOPE = "/devices/{device}/modules/{module}"
BOX = "/devices/{device}/messages/{box:(?i:deviceBound)}"
FEEDBACK = "/messages/{box:(?i:serviceBound)}/feedback"

# "Control access to IoT Hub by using shared access signatures": what each permission is for.
ROUTES = {
    ("GET", "/devices"): READ,
    ("GET", "/devices/"): READ,
    ("POST", "/devices"): WRITE,
    ("POST", "/devices/query"): SERVICE,
    ("GET", "/devices/{device}"): READ,
    ("PUT", "/devices/{device}"): WRITE,
    ("DELETE", "/devices/{device}"): WRITE,
    ("GET", "/devices/{device}/modules"): READ,
    ("GET", SCOPE): READ,
    ("PUT", SCOPE): WRITE,
    ("DELETE", SCOPE): WRITE,
    ("POST", "/devices/{device}/applyConfigurationContent"): OWNER,
    ("GET", "/configurations"): READ,
    ("POST", "/configurations/testQueries"): READ,
    ("GET", "/configurations/{configuration}"): READ,
    ("PUT", "/configurations/{configuration}"): OWNER,
    ("DELETE", "/configurations/{configuration}"): OWNER,
    ("GET", "/jobs/v2/query"): READ,
    ("PUT", "/jobs/v2/{job}"): WRITE,
    ("GET", "/jobs/v2/{job}"): READ,
    ("POST", "/jobs/v2/{job}/cancel"): WRITE,
    ("GET", f"{SCOPE}/devicesAndModulesInDeviceScope"): READ,
    ("GET", f"{SCOPE}/deviceAndModuleInDeviceScope"): READ,
    ("POST", f"{SCOPE}/devicesAndModulesInTargetDeviceScope"): READ,
    ("POST", f"{SCOPE}/getDeviceAndModuleOnBehalfOf"): READ,
    ("GET", "/statistics/devices"): READ,
    ("GET", "/statistics/service"): READ,
    **{
        (method, path + more): SERVICE
        for path in ("/twins/{device}", "/twins/{device}/modules/{module}")
        for method, more in (("GET", ""), ("PATCH", ""), ("PUT", ""), ("POST", "/methods"))
    },
    ("DELETE", "/devices/{device}/commands"): SERVICE,
    ("GET", FEEDBACK): SERVICE,
    ("DELETE", f"{FEEDBACK}/{{lock}}"): SERVICE,
    ("POST", f"{FEEDBACK}/{{lock}}/abandon"): SERVICE,
    ("GET", BOX): DEVICE,
    ("DELETE", f"{BOX}/{{lock}}"): DEVICE,
    ("POST", f"{BOX}/{{lock}}/abandon"): DEVICE,
    ("POST", "/devices/{device}/messages/events"): DEVICE,
    ("POST", f"{SCOPE}/messages/events"): DEVICE,
    ("POST", "/devices/{device}/files"): DEVICE,
    ("POST", "/devices/{device}/files/notifications"): DEVICE,
    ("GET", "/lab/health"): ANYBODY,
    ("GET", "/lab/status"): SERVICE,
    ("POST", "/lab/reset"): OWNER,
    ("GET", "/lab/consumer-groups"): SERVICE,
    ("PUT", "/lab/consumer-groups/{group}"): SERVICE,
    ("DELETE", "/lab/consumer-groups/{group}"): SERVICE,
    ("GET", "/lab/cloud-to-device"): SERVICE,
    ("PUT", "/lab/cloud-to-device"): SERVICE,
    **{(method, "/lab/certificates/{name}"): OWNER for method in ("GET", "PUT", "DELETE")},
    ("GET", "/lab/certificates"): OWNER,
    ("GET", "/lab/file-upload"): OWNER,
    ("PUT", "/lab/file-upload"): OWNER,
    ("GET", "/lab/settings"): OWNER,
    ("PUT", "/lab/settings"): OWNER,
    ("GET", "/$iothub/websocket"): ANYBODY,
    ("GET", "/$servicebus/websocket"): ANYBODY,
    ("GET", "/$servicebus/websocket/"): ANYBODY,
    ("*", "/{rest}"): set(DEFAULT_POLICIES),  # what is not served says so to everybody who has a policy
}


def test_each_route_is_in_the_table(tmp_path):
    """None is served whose right nobody has thought about."""
    house = House(tmp_path)
    found = {
        (route.method, route.resource.canonical)
        for route in make_app(house.hub).router.routes()
        if route.method != "HEAD"
    }
    house.hub.close()
    spelled = {(method, path.replace("{box:(?i:", "{box").replace(")}", "}")) for method, path in ROUTES}
    plain = {(method, _plain(path)) for method, path in spelled}
    assert {(method, _plain(path)) for method, path in found} == plain


def _plain(path):
    """Without the names of what varies."""
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


@pytest.fixture(scope="module")
def clients(lab):
    """A REST client for each policy."""
    parsed = ConnectionString.parse(lab.service_connection_string)
    trust = lab.state_dir / "certificates" / "lab-ca.pem"
    return {
        name: RestClient(
            ConnectionString(
                host_name=parsed.host_name,
                shared_access_key_name=name,
                shared_access_key=lab._told.keys[name],
            ).format(),
            trust,
        )
        for name in DEFAULT_POLICIES
    }


_numbers = itertools.count()


@pytest.mark.parametrize(
    ("route", "policies"),
    [pair for pair in ROUTES.items() if pair[1] is not ANYBODY],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_who_may(lab, clients, route, policies):
    """A policy that has the right meets the call itself, whatever that says; any other is 401003."""
    method, template = route
    rest = lab.rest()
    for name, client in clients.items():
        device = f"matrix-{next(_numbers)}"
        rest.call("PUT", f"/devices/{device}", {"deviceId": device})
        rest.call("PUT", f"/devices/{device}/modules/m", {"moduleId": "m"})
        path = "/".join(
            {
                "{device}": device,
                "{module}": "m",
                "{rest}": "jobs",
                "{box:(?i:deviceBound)}": "deviceBound",
            }.get(part, "serviceBound" if "serviceBound" in part else "x" if part[:1] == "{" else part)
            for part in template.split("/")
        )
        verb = "GET" if method == "*" else method
        try:
            client.call(verb, path, {} if verb in ("PUT", "PATCH", "POST") else None)
            status, error = 200, ""
        except RestError as refused:
            status, error = refused.http_status, refused.error
        if name in policies:
            assert status != 401, (name, error)
        else:
            assert (status, error) == (401, "IotHubUnauthorized"), name
        assert status < 500 or status == 501


# -- not served ----------------------------------------------------------------------------------------


def _calls(string):
    """The everyday calls of azure-iot-hub that later steps bring, by name."""
    jobs = IoTHubJobManager.from_connection_string(string)
    twins = DigitalTwinClient.from_connection_string(string)
    return {
        "create import": lambda: jobs.create_import_export_job(models.JobProperties(type="export")),
        "imports": jobs.get_import_export_jobs,
        "import": lambda: jobs.get_import_export_job("j"),
        "cancel import": lambda: jobs.cancel_import_export_job("j"),
        "digital twin": lambda: twins.get_digital_twin("d"),
        "update digital twin": lambda: twins.update_digital_twin(
            "d", [{"op": "add", "path": "/x", "value": 1}]
        ),
        "command": lambda: twins.invoke_command("d", "c", {}),
        "component command": lambda: twins.invoke_component_command("d", "c", "n", {}),
    }


@pytest.mark.parametrize("name", list(_calls("HostName=h;SharedAccessKeyName=n;SharedAccessKey=a2V5")))
def test_what_is_not_served_says_so(lab, name):
    """501 with the name of the call, in the SDK's own error; never a guess."""
    with pytest.raises(HttpOperationError) as caught:
        _calls(lab.service_connection_string)[name]()
    answer = caught.value.response
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (501, "NotImplemented")
    assert "is not served by this hub" in answer.text


def test_feedback_by_the_runtime_manager(lab):
    """What of it is served, is."""
    runtime = IoTHubHttpRuntimeManager.from_connection_string(lab.service_connection_string)
    assert runtime.receive_feedback_notification() is None


@pytest.mark.parametrize(("method", "path"), [("GET", "/devices/{}/files"), ("GET", "/devices/{}/anything")])
def test_a_device_is_told_too(lab, device, method, path):
    """A device that asks with its own good token: 501. Without one, or with another's: 401."""
    lab.rest().call("PUT", f"/devices/{device}/modules/m", {"moduleId": "m"})
    for caller in (Caller(lab, device), Caller(lab, device, "m")):
        answer = caller.call(method, path.format(device))
        assert (answer.status_code, answer.headers["iothub-errorcode"]) == (501, "NotImplemented")
        caller.token = caller.token.replace("sig=", "sig=A")
        assert caller.call(method, path.format(device)).status_code == 401
