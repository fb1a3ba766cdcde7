"""The module over a client that a test holds in its hand: what it does when the edge hub is slow, away, or wrong."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from azure.iot.device.exceptions import ConnectionDroppedError, ConnectionFailedError, CredentialError
from simulator_car import car as car_module
from simulator_car.car import OUTPUT, SimulatorCar
from simulator_car.settings import Settings

from iotedge_lab.car import drives
from iotedge_lab.car.device import edge
from iotedge_lab.car.rows import HEADER

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def _no_time_to_lose(monkeypatch):
    monkeypatch.setattr(car_module, "RETRY", 0.01)
    monkeypatch.setattr(edge, "RETRY", 0.01)
    monkeypatch.setattr(car_module, "LAST_ROW", 0.2)
    monkeypatch.setattr(edge, "SHUTDOWN", 0.5)


@pytest.fixture(scope="module")
def rows():
    """The rows of the recording."""
    return list(drives.rows(drives.car_csv()))


class Edge:
    """An edge hub: makes clients, keeps what they send, and fails as it is told."""

    def __init__(self, desired=None):
        self.twin = {"desired": {"$version": 1, **(desired or {})}, "reported": {"$version": 1}}
        self.news = threading.Condition()
        self.sent = []
        self.patches = []
        self.answers = []
        self.calls = []
        self.failures = {}  # what a call raises next, by its name
        self.held = {}  # an event that a call waits for, by its name
        self.clients = []

    def create(self):
        self.call("create")
        client = Client(self)
        self.clients.append(client)
        return client

    def call(self, name):
        with self.news:
            self.calls.append(name)
            self.news.notify_all()
            failures = self.failures.get(name)
            failure = failures.pop(0) if failures else None
        if name in self.held:
            assert self.held[name].wait(PATIENCE)
        if failure is not None:
            raise failure

    @property
    def client(self):
        return self.clients[-1]

    @property
    def reported(self):
        """The reported properties, merged as a hub merges them."""
        found = {}
        for patch in self.patches:
            merge(found, patch)
        return found

    def until(self, condition):
        with self.news:
            assert self.news.wait_for(condition, PATIENCE), (len(self.sent), self.calls[-20:], self.reported)

    def desire(self, version, **desired):
        self.client.on_twin_desired_properties_patch_received({"$version": version, **desired})

    def lose(self):
        self.client.connected = False
        self.client.on_connection_state_change()

    def method(self, name, payload=None):
        request = SimpleNamespace(name=name, payload=payload, request_id="1")
        self.client.on_method_request_received(request)
        return self.answers[-1].status, self.answers[-1].payload


def merge(target, patch):
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            merge(target.setdefault(name, {}), value)
        else:
            target[name] = value


class Client:
    """What the SDK's module client has of what the module uses."""

    def __init__(self, hub):
        self.hub = hub
        self.connected = False
        self.on_connection_state_change = lambda: None

    def connect(self):
        self.hub.call("connect")
        self.connected = True
        self.on_connection_state_change()

    def get_twin(self):
        self.hub.call("get_twin")
        return self.hub.twin

    def patch_twin_reported_properties(self, patch):
        self.hub.call("report")
        with self.hub.news:
            self.hub.patches.append(patch)
            self.hub.news.notify_all()

    def send_message_to_output(self, message, output):
        assert output == OUTPUT
        self.hub.call("send")
        with self.hub.news:
            self.hub.sent.append(message)
            self.hub.news.notify_all()

    def send_method_response(self, response):
        self.hub.call("answer")
        self.hub.answers.append(response)

    def shutdown(self):
        self.hub.call("shutdown")
        for event in self.hub.held.values():
            event.set()


@pytest.fixture
def drive(folder):
    """`drive(hub)`: a module on its way with this hub, stopped at the end."""
    started = []

    def start(hub, settings=None, **options):
        made = SimulatorCar(settings or replace(Settings(), rate=100.0), folder, create=hub.create, **options)
        started.append(made)
        made.start()
        return made

    yield start
    for made in started:
        made.stop()


def in_order(hub, rows):
    """All that was sent are the recording's rows, from the first on, each once."""
    assert [message.data for message in hub.sent] == [row.to_csv_line() for row in rows[: len(hub.sent)]]
    numbers = [int(message.custom_properties["sequence"]) for message in hub.sent]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_row_is_sent_until_it_is_acknowledged(drive, rows):
    """Whatever sending raises: the same message, with the same id, is sent again before the next."""
    hub = Edge()
    hub.failures["send"] = [None, None, ConnectionDroppedError(), ValueError("odd"), CredentialError(), None]
    drive(hub)
    hub.until(lambda: len(hub.sent) >= 10)
    in_order(hub, rows)
    assert len({message.message_id for message in hub.sent}) == len(hub.sent)
    hub.until(lambda: hub.calls.count("send") >= 13)
    hub.method("pause")
    assert hub.method("status")[1]["progress"]["retries"] == 3


def test_the_twins_settings_hold_from_the_first_row_on(drive):
    """The drive waits for the twin, and its first row is already as the twin wants it."""
    hub = Edge({"format": "json", "driveId": "monday"})
    hub.held["get_twin"] = threading.Event()
    drive(hub)
    hub.until(lambda: "get_twin" in hub.calls)
    assert not hub.sent
    hub.held["get_twin"].set()
    hub.until(lambda: hub.sent)
    assert hub.sent[0].content_type == "application/json"
    assert hub.sent[0].custom_properties["driveId"] == "monday"


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_a_twin_that_cannot_be_had_holds_nothing_up(drive, how, monkeypatch, rows):
    """The rows go by the environment's settings, and the twin is taken when it comes."""
    monkeypatch.setattr(car_module, "TWIN_PATIENCE", 0.05)
    hub = Edge({"format": "json"})
    if how == "fails":
        hub.failures["get_twin"] = [ConnectionFailedError()] * 3
    else:
        hub.held["get_twin"] = threading.Event()
    drive(hub)
    hub.until(lambda: len(hub.sent) >= 1)
    if how == "hangs":
        hub.until(lambda: len(hub.sent) >= 5)
        in_order(hub, rows)
        hub.held["get_twin"].set()
    hub.until(lambda: hub.sent[-1].content_type == "application/json")


def test_desired_properties(drive, rows):
    """A patch is taken on the way; what cannot be is refused and told, and the old value stays."""
    hub = Edge()
    module = drive(hub)
    hub.until(lambda: hub.reported.get("desiredVersion") == 1)
    assert hub.reported["rate"] == 100.0
    assert hub.reported["progress"]["rows"] == len(rows)
    hub.desire(2, rate=50, format="xml", file="none.csv", typo=1)
    hub.until(lambda: hub.reported.get("desiredVersion") == 2)
    found = hub.reported
    assert (found["rate"], found["format"], found["file"]) == (50.0, "csv", "data/car.csv")
    assert set(found["errors"]) == {"format", "file", "typo"}
    assert found["errors"]["format"] == "is 'xml'; csv or json belongs there"
    assert "none.csv does not exist" in found["errors"]["file"]
    hub.desire(3, format="json", file=None, typo=None)
    hub.until(lambda: hub.reported.get("desiredVersion") == 3)
    assert hub.reported["errors"] == {}
    hub.desire(2, rate=1)  # an older one that comes late
    assert hub.method("status")[1]["rate"] == 50.0
    module.stop()
    numbers = [int(message.custom_properties["row"]) for message in hub.sent]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    ("desired", "refused", "in_force"),
    [
        ({"rate": 80, "source": "can", "bus": "log:drive.blf"}, ["rate"], ("can", "log:drive.blf", 10.0)),
        ({"rate": 20, "source": "can", "bus": "log:none.blf"}, ["source", "bus"], ("csv", None, 20.0)),
        ({"rate": 80, "source": "can", "bus": "log:none.blf"}, ["source", "bus"], ("csv", None, 80.0)),
    ],
)
def test_a_source_is_taken_as_a_whole(desired, refused, in_force, tmp_path, drive):
    """A source without a bus that works is not taken; a rate beside it is, if it fits what is in force then."""
    from itertools import islice

    from iotedge_lab.car.can.encoder import frames
    from iotedge_lab.car.can.log import write_log

    write_log(tmp_path / "drive.blf", frames(islice(drives.rows(drives.drive_path("city-01")), 101)))
    if desired["bus"] == "log:drive.blf":
        desired = {**desired, "bus": f"log:{tmp_path}/drive.blf"}
        in_force = ("can", desired["bus"], in_force[2])
    hub = Edge()
    drive(hub, replace(Settings(), rate=10.0))
    hub.until(lambda: hub.reported.get("desiredVersion") == 1)
    hub.desire(2, **desired)
    hub.until(lambda: hub.reported.get("desiredVersion") == 2)
    found = hub.reported
    assert (found["source"], found.get("bus"), found["rate"]) == in_force
    assert list(found["errors"]) == refused
    hub.desire(3, **dict.fromkeys(desired))
    hub.until(lambda: hub.reported.get("desiredVersion") == 3)
    assert (hub.reported["source"], hub.reported["rate"], hub.reported["errors"]) == ("csv", 10.0, {})


def test_another_file_begins_another_drive(drive, tmp_path, rows):
    """From its first row, as its first lap, under its own name; the report counts anew, the sequence goes on."""
    (tmp_path / "short.csv").write_text("\n".join([HEADER, *(row.to_csv_line() for row in rows[500:503])]))
    hub = Edge()
    drive(hub)
    hub.until(lambda: len(hub.sent) > 5)
    hub.desire(2, file=str(tmp_path / "short.csv"))
    hub.until(lambda: hub.sent[-1].custom_properties["lap"] == "3")
    first = next(n for n, each in enumerate(hub.sent) if each.custom_properties["driveId"] == "short")
    places = [(each.custom_properties["lap"], each.custom_properties["row"]) for each in hub.sent[first:]][:7]
    assert places == [("1", "1"), ("1", "2"), ("1", "3"), ("2", "1"), ("2", "2"), ("2", "3"), ("3", "1")]
    assert [each.data for each in hub.sent[first : first + 3]] == [row.to_csv_line() for row in rows[500:503]]
    numbers = [int(each.custom_properties["sequence"]) for each in hub.sent]
    assert numbers == list(range(1, len(numbers) + 1))
    hub.method("pause")
    progress = hub.method("status")[1]["progress"]
    assert progress["rows"] == 3
    assert progress["laps"] == progress["lap"] - (progress["row"] != 3)


def test_what_the_twin_said_meanwhile_is_asked_for(drive):
    """A hub does not tell a patch again: after each reconnect the whole twin is read."""
    hub = Edge()
    drive(hub)
    hub.until(lambda: hub.reported.get("desiredVersion") == 1)
    hub.twin["desired"] = {"$version": 7, "rate": 25}
    hub.lose()
    hub.until(lambda: hub.reported.get("desiredVersion") == 7)
    assert hub.reported["rate"] == 25.0


def test_a_lost_connection_is_made_again_by_the_module(drive):
    """The SDK gives up after some errors; the module does not."""
    hub = Edge()
    drive(hub)
    hub.until(lambda: hub.sent)
    hub.failures["connect"] = [CredentialError(), ConnectionFailedError()]
    hub.lose()
    hub.until(lambda: hub.calls.count("connect") >= 4)
    hub.until(lambda: hub.client.connected)


def test_an_earlier_runs_errors_are_taken_back(drive):
    """What the twin still reports of a run before this one is brought up to date."""
    hub = Edge()
    hub.twin["reported"] |= {"errors": {"rate": "was bad"}, "old": 1}
    hub.patches.append({"errors": {"rate": "was bad"}, "old": 1})
    drive(hub)
    hub.until(lambda: hub.reported.get("desiredVersion") == 1)
    assert hub.reported["errors"] == {}
    assert "old" not in hub.reported


def test_progress_is_reported_now_and_then(drive):
    """Every `reportSeconds`, and only what is new."""
    hub = Edge({"reportSeconds": 0.1})
    drive(hub)
    hub.until(lambda: len(hub.patches) >= 3)
    assert hub.patches[-1].keys() == {"progress"}
    assert hub.patches[-1]["progress"]["sent"] > hub.patches[-2]["progress"]["sent"]


def test_methods(drive):
    """They act at once, and what they change is reported."""
    hub = Edge()
    drive(hub, replace(Settings(), rate=2.0))
    hub.until(lambda: hub.reported.get("desiredVersion") == 1)
    assert hub.method("setSpeed", {"speed": 50}) == (200, {"speed": 50, "messagesPerSecond": 100.0})
    hub.until(lambda: hub.reported.get("speed") == 50)
    hub.until(lambda: len(hub.sent) > 20)
    assert hub.method("pause") == (200, {"paused": True})
    hub.until(lambda: hub.reported.get("paused") is True)
    assert hub.method("setSpeed", {"speed": 0})[0] == 400
    assert hub.method("hello")[0] == 404
    seen = hub.method("status")[1]["progress"]["sent"]
    assert hub.method("resume") == (200, {"paused": False})
    hub.until(lambda: len(hub.sent) > seen + 5)
    hub.failures["answer"] = [ConnectionDroppedError()]
    with pytest.raises(IndexError):  # no answer of this one went out
        hub.answers.clear()
        hub.method("pause")
    assert hub.method("status")[1]["paused"] is True


def test_an_edge_hub_that_is_not_there_yet(drive, caplog):
    """Connecting is tried again with a new client each time, in whatever step it failed."""
    hub = Edge()
    hub.failures["create"] = [OSError("no workload API"), None]
    hub.failures["connect"] = [ConnectionFailedError("refused")]
    drive(hub)
    hub.until(lambda: hub.sent)
    assert hub.calls.count("create") == 3
    assert hub.calls.count("shutdown") == 1
    assert caplog.text.count("cannot be reached yet") == 2


def test_an_environment_that_cannot_be_used_ends_it(drive, caplog):
    """A malformed connection string is not tried again: exit code 2."""
    hub = Edge()
    hub.failures["create"] = [ValueError("Invalid Connection String")]
    codes = []
    ended = threading.Event()
    drive(hub, failed=lambda code: (codes.append(code), ended.set()))
    assert ended.wait(PATIENCE)
    assert codes == [2]
    assert "edge environment cannot be used: Invalid Connection String" in caplog.text


def test_an_error_of_its_own_ends_it(drive, monkeypatch, caplog):
    """What nobody expects is logged with its traceback, and the exit code is 1: the edge agent starts it again."""
    monkeypatch.setattr(car_module, "to_message", lambda *_: 1 // 0)
    codes = []
    ended = threading.Event()
    drive(Edge(), failed=lambda code: (codes.append(code), ended.set()))
    assert ended.wait(PATIENCE)
    assert codes == [1]
    assert "ZeroDivisionError" in caplog.text


def test_stopped_while_a_row_waits_for_its_acknowledgement(drive):
    """An edge hub that does not answer does not keep the module from ending."""
    hub = Edge()
    hub.held["send"] = threading.Event()
    module = drive(hub)
    hub.until(lambda: "send" in hub.calls)
    module.stop()
    assert hub.calls[-1] == "shutdown"
    assert hub.calls.count("send") == 1
