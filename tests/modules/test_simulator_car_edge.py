"""The module as it is deployed: by its sample manifest, under the lab's edge runtime, with its bus in a mount."""

import copy
import json
from itertools import islice

import pytest
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, ConfigurationContent
from running import DEVICE, MODULE, Events

from iotedge_lab.car import drives
from iotedge_lab.car.can.buses import open_bus
from iotedge_lab.car.can.player import CarOnBus
from iotedge_lab.edge.manifest import load


@pytest.fixture
def template(folder):
    """The sample manifest."""
    return json.loads((folder / "deployment.template.json").read_text(encoding="utf-8"))


def deploy(lab, template):
    """Apply the manifest to an edge device; the device's runtime once the module runs."""
    registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)
    registry.create_device_with_sas(DEVICE, "", "", "enabled", iot_edge=True)
    content = ConfigurationContent(modules_content=load(template).content["modulesContent"])
    IoTHubConfigurationManager.from_connection_string(
        lab.service_connection_string
    ).apply_configuration_on_edge_device(DEVICE, content)
    edge = lab.edge(DEVICE)
    edge.wait_until_running(MODULE)
    return registry, edge


def test_offline_and_back(iothub, template):
    """While the edge is cut off the rows are kept; when it is back the hub has each of them, once and in order."""
    template["modulesContent"][MODULE]["properties.desired"]["rate"] = 50
    registry, edge = deploy(iothub, template)
    edge.offline()
    edge.wait_until(lambda status: status.waiting > 30, "rows in the queue")
    edge.online()
    edge.wait_until_connected()
    for name in ("pause", "status"):
        method = CloudToDeviceMethod(method_name=name, payload=None, response_timeout_in_seconds=30)
        answer = registry.invoke_device_module_method(DEVICE, MODULE, method)
        assert answer.status == 200
    sent = answer.payload["progress"]["sent"]
    edge.wait_until_delivered()
    events = Events(iothub, 300)
    try:
        found = events.wait(sent)
    finally:
        events.close()
    rows = islice(drives.rows(drives.car_csv()), sent)
    assert [event.body_as_str() for event in found] == [row.to_csv_line() for row in rows]


def test_a_bus_in_a_mount(iothub, template):
    """A car drives on a bus in a folder of the device's; the module hears it in its mount, by a relative path."""
    template = copy.deepcopy(template)
    module = template["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"][MODULE]
    module["settings"]["createOptions"] = {"HostConfig": {"Binds": ["/run/can:/app/bus"]}}
    template["modulesContent"][MODULE]["properties.desired"] = {"source": "can", "bus": "unix:bus/car-1"}
    registry, _ = deploy(iothub, template)
    drive = list(islice(drives.rows(drives.drive_path("city-01")), 101))
    place = iothub.state_dir / "edges" / DEVICE / "host" / "run" / "can"
    with open_bus(f"unix:{place}/car-1") as bus:
        method = CloudToDeviceMethod(method_name="status", payload=None, response_timeout_in_seconds=30)
        while registry.invoke_device_module_method(DEVICE, MODULE, method).payload["source"] != "can":
            pass  # pytest's time-out ends it
        CarOnBus(drive, bus, speedup=20.0).run()
        events = Events(iothub, 300)
        try:
            found = [event for event in events.wait(11) if event.properties[b"driveId"] == b"car-1"]
        finally:
            events.close()
    assert [event.body_as_str() for event in found] == [row.to_csv_line() for row in drive[::10]][
        : len(found)
    ]
    assert len(found) >= 10
