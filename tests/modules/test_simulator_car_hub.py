"""The module as it runs, a process with the vendor's SDK, against a running hub that stands for its edge hub."""

import json
from itertools import islice

import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from running import DEVICE, MODULE, PATIENCE, Events, Module, identity

from iotedge_lab.car import drives
from iotedge_lab.car.can.buses import open_bus
from iotedge_lab.car.can.encoder import frames
from iotedge_lab.car.can.log import write_log
from iotedge_lab.car.can.player import CarOnBus
from iotedge_lab.car.rows import HEADER, CarRow


@pytest.fixture(scope="module")
def rows():
    """The rows of the recording."""
    return list(drives.rows(drives.car_csv()))


@pytest.fixture
def module(iothub, folder):
    """`module(CAR_RATE="10")`: the module, started with these settings."""
    environment = identity(iothub)
    started = []

    def start(**settings):
        started.append(Module(folder, environment | settings))
        return started[-1]

    yield start
    for each in started:
        each.__exit__()


@pytest.fixture
def arrived(iothub):
    """`arrived(count)`: the events at the built-in endpoint, once there are so many; a module has one partition."""
    readers = []

    def wait(count, *, prefetch=300):
        readers.append(Events(iothub, prefetch))
        return readers[-1].wait(count)

    yield wait
    for reader in readers:
        reader.close()


STREAM = 5
"""The prefetch for a module that goes on sending."""


class Cloud:
    """The vendor's service client, with the module's twin and methods."""

    def __init__(self, lab):
        self.registry = IoTHubRegistryManager.from_connection_string(lab.service_connection_string)

    def desire(self, **desired):
        """Change desired properties; the twin's reported ones once the module has taken them."""
        patch = Twin(properties=TwinProperties(desired=desired))
        twin = self.registry.update_module_twin(DEVICE, MODULE, patch, "*")
        return self.reported(lambda found: found.get("desiredVersion") == twin.properties.desired["$version"])

    def reported(self, condition):
        """The reported properties, once they fulfil a condition."""
        import threading

        for _ in range(int(PATIENCE / 0.05)):
            found = self.registry.get_module_twin(DEVICE, MODULE).properties.reported
            if condition(found):
                return found
            threading.Event().wait(0.05)
        raise AssertionError(found)

    def invoke(self, name, payload=None):
        """Status and payload of a method."""
        method = CloudToDeviceMethod(method_name=name, payload=payload, response_timeout_in_seconds=30)
        answer = self.registry.invoke_device_module_method(DEVICE, MODULE, method)
        return answer.status, answer.payload


@pytest.fixture
def cloud(iothub):
    return Cloud(iothub)


def text(event, name):
    """An application property."""
    return event.properties[name.encode()].decode()


def assert_complete(events, first=1):
    """Each row that was sent is there, once and in order."""
    numbers = [int(text(event, "sequence")) for event in events]
    assert numbers == list(range(first, first + len(numbers)))


def once(events):
    """Without those that came again."""
    return list({text(event, "sequence"): event for event in reversed(events)}.values())[::-1]


def test_rows_reach_the_built_in_endpoint(module, arrived, rows):
    """The blog's lines, one after another from the first row on, with what a route and a reader need to know."""
    car = module(CAR_RATE="20")
    events = arrived(12, prefetch=STREAM)
    assert [event.body_as_str() for event in events] == [row.to_csv_line() for row in rows[: len(events)]]
    assert_complete(events)
    for number, event in enumerate(events, 1):
        assert (text(event, "driveId"), text(event, "lap"), text(event, "row")) == ("car", "1", str(number))
        system = event.system_properties
        assert system[b"iothub-connection-module-id"] == MODULE.encode()
        assert system[b"content-type"] == b"text/csv"
        assert system[b"content-encoding"] == b"utf-8"
        assert len(system[b"message-id"]) == 36
    assert car.end() == 0
    assert car.lines[-1].endswith("rows sent")
    assert car.lines[0].startswith("<6> 20")


def test_one_row_a_second_is_the_default(module):
    """The first row at once, the second a second later; each is told in the log."""
    car = module()
    car.says(r"Sent row 1 of lap 1: 2026-03-01 10:31:37\.000700,")
    car.says(r"Sent row 2 of lap 1: ")
    assert car.end() == 0


def test_twin_and_methods(module, cloud, arrived, rows):
    """Desired properties, refusals, reports and methods, as the vendor's service SDK sees them."""
    car = module(CAR_REPORT_SECONDS="0.2")
    found = cloud.desire(format="json", rate=25, driveId="monday", speedLimit=0)
    assert (found["format"], found["rate"], found["messagesPerSecond"], found["driveId"]) == (
        "json",
        25,
        25,
        "monday",
    )
    found = cloud.desire(rate=1000, format="xml")
    assert (found["format"], found["rate"]) == ("json", 25)
    assert found["errors"] == {
        "rate": "is '1000'; a number from 0.001 to 100 belongs there",
        "format": "is 'xml'; csv or json belongs there",
    }
    assert cloud.invoke("setSpeed", {"speed": 2}) == (200, {"speed": 2, "messagesPerSecond": 50})
    assert cloud.invoke("setSpeed", {"speed": -2})[0] == 400
    assert cloud.invoke("selfDestruct")[0] == 404
    cloud.reported(lambda found: found["speed"] == 2 and found["progress"]["alerts"] > 0)
    assert cloud.invoke("pause") == (200, {"paused": True})
    cloud.reported(lambda found: found["paused"] is True)
    status, told = cloud.invoke("status")
    assert status == 200
    sent = told["progress"]["sent"]
    assert told["progress"] == {
        "rows": len(rows), "row": sent, "lap": 1, "laps": 0, "sent": sent, "retries": 0,
        "alerts": told["progress"]["alerts"],
    }  # fmt: skip
    events = arrived(sent)
    assert len(events) == sent
    assert_complete(events)
    as_json = [event for event in events if event.system_properties[b"content-type"] == b"application/json"]
    assert as_json
    place = int(text(as_json[0], "row")) - 1
    assert [CarRow.from_json(event.body_as_str()) for event in as_json] == rows[place:sent]
    assert {text(event, "driveId") for event in as_json} == {"monday"}
    fast = [event for event in as_json if b"speeding" in event.properties]
    assert fast == [event for event in as_json if json.loads(event.body_as_str())["speed"] > 0]
    found = cloud.desire(rate=None, format=None, driveId=None)
    assert (found["rate"], found["format"], found["driveId"], found.get("errors")) == (1, "csv", "car", {})
    assert car.end() == 0


def test_a_recording_starts_again(module, arrived, tmp_path, rows):
    """After the last row comes the first, the header never; the lap is told."""
    path = tmp_path / "short.csv"
    path.write_text("\n".join([HEADER, *(row.to_csv_line() for row in rows[900:903])]), encoding="utf-8")
    module(CAR_FILE=str(path), CAR_RATE="20")
    events = arrived(8, prefetch=STREAM)[:8]
    lines = [row.to_csv_line() for row in rows[900:903]]
    assert [event.body_as_str() for event in events] == [*lines, *lines, *lines[:2]]
    assert [text(event, "lap") for event in events] == ["1"] * 3 + ["2"] * 3 + ["3"] * 2
    assert {text(event, "driveId") for event in events} == {"short"}


def test_an_edge_hub_that_dies_and_comes_back(module, iothub, cloud, arrived, rows):
    """Nothing is lost, nothing comes twice, the order is kept; what the twin said meanwhile holds."""
    car = module(CAR_RATE="50", CAR_REPORT_SECONDS="0.2")
    car.says(r"Sent \d+ rows; row \d+ of lap 1")
    iothub.crash()
    car.says("The edge hub is lost")
    iothub.start()
    seen = len(car.lines)
    car.says("Connected to the edge hub", 0)
    car.says(r"Sent \d+ rows; row \d+ of lap 1", seen)
    found = cloud.desire(format="json")
    assert found["format"] == "json"
    assert cloud.invoke("pause")[0] == 200
    sent = cloud.invoke("status")[1]["progress"]["sent"]
    events = arrived(sent)
    # A row that was under way when it paused is counted a moment later.
    assert sent <= len(events) <= sent + 1
    assert_complete(events)
    assert len({event.system_properties[b"message-id"] for event in events}) == len(events)
    lines = [
        event.body_as_str() for event in events if event.system_properties[b"content-type"] == b"text/csv"
    ]
    assert lines == [row.to_csv_line() for row in rows[: len(lines)]]
    assert car.end() == 0


def test_stopped_while_the_edge_hub_is_away(module, iothub):
    """SIGTERM ends it in order, though a row waits for its acknowledgement."""
    car = module(CAR_RATE="50")
    car.says(r"Sent \d+ rows")
    iothub.crash()
    car.says("The edge hub is lost")
    assert car.end() == 0
    assert car.lines[-1].endswith("rows sent")


def test_started_before_the_edge_hub(module, iothub, arrived):
    """It waits, and its first row is the first that arrives."""
    iothub.crash()
    car = module(CAR_RATE="20")
    car.says("cannot be reached yet")
    iothub.start()
    assert_complete(arrived(3, prefetch=STREAM))


@pytest.fixture(scope="module")
def drive():
    """The first 20 s of a shipped drive."""
    return list(islice(drives.rows(drives.drive_path("city-01")), 201))


def test_a_car_on_a_bus(module, cloud, arrived, private, drive):
    """A car drives on a bus between two processes; one reading a second of its time reaches the hub, as it was."""
    address = f"unix:{private}/bus/car-1"
    with open_bus(address) as bus:
        car = module(CAR_SOURCE="can", CAR_BUS=address, CAR_FORMAT="json", CAR_SIGNALS="EngineCounter")
        cloud.reported(lambda found: found.get("bus") == address)
        CarOnBus(drive, bus, speedup=20.0).run()
        events = arrived(21)
        bodies = [json.loads(event.body_as_str()) for event in events]
        assert [CarRow.from_dict(body) for body in bodies] == drive[::10]
        assert all(0 <= body["EngineCounter"] <= 255 for body in bodies)
        assert {text(event, "driveId") for event in events} == {"car-1"}
        status, answered = cloud.invoke("setSpeed", {"speed": 2})
        assert (status, answered) == (400, {"error": "the car on the bus drives at its own speed; "
                                                     "only a recording can be replayed at another"})  # fmt: skip
        assert car.end() == 0


def test_rows_of_a_bus_wait_for_the_edge_hub(module, iothub, arrived, private, drive):
    """The car does not stop for a hub that is away; its readings come afterwards, all of them."""
    address = f"unix:{private}/bus/car-1"
    with open_bus(address) as bus:
        car = module(CAR_SOURCE="can", CAR_BUS=address, CAR_RATE="10")
        car.says("Settings: ")
        Cloud(iothub).reported(lambda found: found.get("bus") == address)
        with CarOnBus(drive, bus, speedup=10.0) as driving:
            car.says(r"Sent (\d+ rows; )?row \d+ of lap 1")
            iothub.crash()
            car.says("The edge hub is lost")
            assert driving.join(PATIENCE)
        iothub.start()
        events = arrived(201)
        while len(once(events)) < 201:  # a row whose acknowledgement the crash took comes twice
            events = arrived(len(events) + 1)
        events = once(events)
        assert [event.body_as_str() for event in events] == [row.to_csv_line() for row in drive]
        assert_complete(events)
        assert car.end() == 0


def test_a_log_by_the_twin(module, cloud, arrived, tmp_path, drive):
    """The source may become a log of a bus on the way: its rows from the first, under its name."""
    write_log(tmp_path / "tuesday.blf", frames(drive))
    module(CAR_RATE="2")
    found = cloud.desire(source="can", bus=f"log:{tmp_path}/tuesday.blf", rate=10)
    assert (found["source"], found["driveId"], found["progress"]["rows"]) == ("can", "tuesday", 201)
    cloud.invoke("setSpeed", {"speed": 5})
    cloud.reported(lambda found: found["speed"] == 5)
    events = [event for event in arrived(25, prefetch=STREAM) if text(event, "driveId") == "tuesday"]
    assert len(events) >= 3
    assert [event.body_as_str() for event in events] == [row.to_csv_line() for row in drive[: len(events)]]
