"""The module as it is deployed: both modules and both routes of its sample manifest, under the lab's edge runtime."""

import json

import pytest
from car_filter import FOLDER, Cloud, Storage, another_signature, crashing, offset
from running import Events

from iotedge_lab.car import drives
from iotedge_lab.car.predictor import Predictor


@pytest.fixture
def template():
    """The sample manifest, with a faster car."""
    told = json.loads((FOLDER / "deployment.template.json").read_text(encoding="utf-8"))
    told["modulesContent"]["ModuleSimulatorCar"]["properties.desired"]["rate"] = 100
    told["modulesContent"]["ModuleFilterCar"]["properties.desired"]["reportSeconds"] = 0.2
    return told


@pytest.fixture
def storage(iothub):
    made = Storage(iothub.storage_connection_string, iothub.ca_file)
    yield made
    made.close()


def predictions(events):
    """The bodies of the predictions among events."""
    found = [event for event in events if event.properties.get(b"messageType") == b"prediction"]
    return [json.loads(event.body_as_str()) for event in found]


def second_start(found):
    """The place at which the drive starts anew, where it does."""
    return next((n for n, told in enumerate(found) if n and told["seconds"] == found[0]["seconds"]), None)


def bad_models():
    """By version: what the twin names, what lies in the storage instead, and why it is refused."""
    return {
        "3": (offset(1.0), offset(2.0), "it is another file"),
        "4": (offset(1.0), offset(1.0)[:-100], "bytes, and the twin says"),
        "5": (crashing(), None, "crashed (SIGSEGV)"),
        "6": (another_signature(), None, "takes {'pixels': 3}"),
    }


def test_the_blog_s_deployment_and_new_models(iothub, template, storage):
    """Each row is answered once: through bad models, a swap to a good one, and by that one after a restart."""
    cloud = Cloud(iothub)
    edge = cloud.deploy(template)
    cloud.reported(lambda found: (found.get("health") or {}).get("sent", 0) > 20)
    for version, (content, stored, reason) in bad_models().items():
        found = cloud.give(storage.put(content, version, stored), storage)
        assert reason in found["pending"]["reason"]
        assert found["model"]["version"] == "0"
    told = storage.put(offset(100.0), "7")
    found = cloud.give(told, storage)
    assert found["model"]["version"] == "7"
    assert found["model"]["sha256"] == told["sha256"]
    before = found["health"]["sent"]
    cloud.reported(lambda now: now["health"]["sent"] > before + 20)
    health = cloud.invoke("status")[1]["health"]
    assert (health["errors"], health["unreadable"], health["duplicates"]) == (0, 0, 0)
    # A new runtime makes the module's folder anew; the volume keeps the model.
    edge.runtime.stop()
    edge.start()
    edge.wait_until_running("ModuleFilterCar")
    now = cloud.reported(lambda now: 5 < now["health"]["rows"] < before)
    assert now["model"] == found["model"]
    edge.wait_until_delivered()
    events = Events(iothub, 300)
    try:
        came = events.wait(before)
        while second_start(predictions(came)) is None:  # how much the first run sent is not known to the row
            came = events.wait(len(came) + 1)
        found = predictions(came)
    finally:
        events.close()
    rows = {row.seconds: row for row in drives.rows(drives.car_csv())}
    predictor = Predictor(FOLDER / "model.onnx")
    first_lap = found[: second_start(found)]
    assert len(first_lap) >= before
    assert [told["seconds"] for told in first_lap] == list(rows)[: len(first_lap)]
    for told in found:
        row = rows[told["seconds"]]
        assert (told["time"], told["actual"], told["driveId"]) == (row.time, row.speed, "car")
        more = 100.0 if told["modelVersion"] == "7" else 0.0
        assert told["predicted"] == pytest.approx(
            predictor.for_another_car().predict(row).speed + more, abs=1e-3
        )
        assert told["error"] == pytest.approx(told["predicted"] - told["actual"], abs=1e-4)
    versions = [told["modelVersion"] for told in first_lap]
    assert versions == sorted(versions)
    assert set(versions) == {"0", "7"}
    assert {told["modelVersion"] for told in found[len(first_lap) :]} == {"7"}
