"""Both camera modules as they are deployed: by the sample manifest, under the lab's edge runtime, sharing a folder."""

import json

import pytest
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import ConfigurationContent
from camera_modules import DEVICE, FILTER, MODULES, SIMULATOR, Cloud
from running import Events

from iotedge_lab.camera.model import checked_model
from iotedge_lab.edge.manifest import load
from iotedge_lab.errors import EnvironmentProblem


@pytest.fixture
def template():
    """The sample manifest."""
    return json.loads((MODULES / FILTER / "deployment.template.json").read_text(encoding="utf-8"))


def has_detector():
    """Whether the detector was fetched here."""
    try:
        checked_model()
    except EnvironmentProblem:
        return False
    return True


def test_from_the_road_to_the_hub(iothub, template):
    """The camera films a road, the filter sees it in the shared folder, what it finds arrives, and no picture."""
    twins = template["modulesContent"]
    twins[SIMULATOR]["properties.desired"] |= {"every": 3600, "seconds": 2, "rate": 12}
    registry = IoTHubRegistryManager.from_connection_string(iothub.service_connection_string)
    registry.create_device_with_sas(DEVICE, "", "", "enabled", iot_edge=True)
    content = ConfigurationContent(modules_content=load(template).content["modulesContent"])
    IoTHubConfigurationManager.from_connection_string(
        iothub.service_connection_string
    ).apply_configuration_on_edge_device(DEVICE, content)
    edge = iothub.edge(DEVICE)
    edge.wait_until_running(SIMULATOR)
    edge.wait_until_running(FILTER)
    told = Cloud(iothub, FILTER).reported(lambda found: found.get("counters", {}).get("videos"))
    assert told["counters"]["frames"] == 24
    assert told["detector"]["status"] == ("ready" if has_detector() else "missing")
    assert told["counters"]["savedBytes"] > 0
    shared = iothub.state_dir / "edges" / DEVICE / "host" / "tmp"
    assert [each.name for each in shared.glob("*.mp4")] == ["video-000001.mp4"]
    events = Events(iothub, 5)
    try:
        found = events.wait(1 + told["counters"]["events"])
    finally:
        events.close()
    by_type = {}
    for each in found:
        by_type.setdefault(each.properties[b"messageType"].decode(), []).append(
            json.loads(each.body_as_str())
        )
        assert len(each.body_as_str()) < 600
    (video,) = by_type["video"]
    assert video["video"] == "video-000001.mp4"
    assert video["frames"] == 24
    assert video["bytes"] == (shared / "video-000001.mp4").stat().st_size
    detections = by_type["detection"]
    assert len(detections) == told["counters"]["events"] > 0
    for each in detections:
        assert each["video"] == video["video"]
        assert 0.0 <= each["first"] <= each["time"] <= each["last"] <= 2.0
    if has_detector():
        assert {"Car", "Person"} <= {each["label"] for each in detections}
    assert (shared / "detections" / "last.jpg").is_file()
