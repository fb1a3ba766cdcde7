"""The module over a client that a test holds in its hand: rows from four threads, swaps under load, stops, restarts."""

import hashlib
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from azure.iot.device.exceptions import ConnectionDroppedError, ConnectionFailedError
from car_filter import FOLDER, PATIENCE, offset, release
from filter_car import car as car_module
from filter_car import fetching, supply, telling
from filter_car import outbox as filter_outbox
from filter_car.car import INPUT, FilterCar
from filter_car.settings import Settings
from filter_car.shelf import MOST_LOADS
from filter_car.trial import Verdict

from iotedge_lab.car import drives
from iotedge_lab.car.device import edge, outbox, twin
from iotedge_lab.car.predictor import Predictor
from iotedge_lab.errors import DataError

ROWS = list(islice(drives.rows(drives.drive_path("city-01")), 3000))
STORE = {}  # models by address


@pytest.fixture(autouse=True)
def _no_time_to_lose(monkeypatch):
    for module, name, value in (
        (edge, "RETRY", 0.01), (edge, "SHUTDOWN", 0.5), (outbox, "RETRY", 0.01),
        (twin, "RETRY", 0.01),
        (supply, "FIRST_PAUSE", 0.05), (supply, "LOOK", 0.01), (car_module, "LAST_WORDS", 5.0),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


@pytest.fixture(autouse=True)
def _store(monkeypatch):
    """Models come from `STORE`; fetching itself has its own tests."""
    STORE.clear()

    def fetch(told, url, part, pause, wanted, **_):
        if not wanted():
            raise fetching.Unwanted
        found = STORE.get(url)
        if found is None:
            raise fetching.Unfetched("the storage has no such blob")
        part.write_bytes(found)
        if hashlib.sha256(found).hexdigest() != told.sha256:
            raise fetching.Wrong("it is another file")

    monkeypatch.setattr(fetching, "fetch", fetch)


class Edge:
    """An edge hub: hands over rows as the SDK does, keeps what is sent, and is away or slow as it is told."""

    def __init__(self, **desired):
        self.twin = {"desired": {"$version": 1, "reportSeconds": 0.1, **desired}, "reported": {"$version": 1}}
        self.news = threading.Condition()
        self.sent, self.requests, self.patches, self.answers = [], [], [], []
        self.failing = False
        self.slow = None
        self.client = None
        self.clients = []
        self._threads = ThreadPoolExecutor(4)

    def create(self):
        self.client = Client(self)
        self.clients.append(self.client)
        return self.client

    def close(self):
        self._threads.shutdown()

    def bring(self, row, number=None, identity="", *, input_name=INPUT, body=None):
        """A message, on one of the SDK's four threads."""
        properties = {"driveId": "d"} | ({} if number is None else {"sequence": str(number)})
        message = SimpleNamespace(
            data=(row.to_csv_line() if body is None else body).encode(),
            message_id=identity,
            custom_properties=properties,
            input_name=input_name,
        )
        client = self.client
        return self._threads.submit(lambda: client.on_message_received(message))

    def until(self, condition):
        with self.news:
            assert self.news.wait_for(condition, PATIENCE), (
                len(self.sent),
                self.reported,
                self.requests[-3:],
            )

    def desire(self, **desired):
        self.twin["desired"]["$version"] += 1
        patch = {"$version": self.twin["desired"]["$version"], **desired}
        self.twin["desired"].update(desired)
        self.client.on_twin_desired_properties_patch_received(patch)
        return patch["$version"]

    def method(self, name, payload=None):
        request = SimpleNamespace(name=name, payload=payload, request_id="1")
        self.client.on_method_request_received(request)
        return self.answers[-1].status, self.answers[-1].payload

    def give(self, told, content):
        """Answer a request for a model."""
        url = f"https://storage/{told['version']}?sig=secret"
        STORE[url] = content
        self.until(lambda: any(each["version"] == told["version"] for each in self.requests))
        payload = {name: told[name] for name in ("name", "version", "sha256")}
        return self.method("fetchModel", payload | {"url": url})[0]

    @property
    def reported(self):
        found = {}
        for patch in self.patches:
            merge(found, patch)
        return found

    @property
    def bodies(self):
        return [json.loads(message.data) for message in self.sent]

    def serves(self, version):
        return lambda: (
            (self.reported.get("model") or {}).get("version") == version and "pending" not in self.reported
        )

    def refuses(self, version):
        def refused():
            pending = self.reported.get("pending") or {}
            return (pending.get("version"), pending.get("status")) == (version, "refused")

        return refused


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
        self.on_message_received = None

    def connect(self):
        assert self.on_message_received is not None, "rows that come now are dropped"
        if self.hub.failing:
            raise ConnectionFailedError("away")
        self.connected = True
        self.on_connection_state_change()

    def get_twin(self):
        return self.hub.twin

    def patch_twin_reported_properties(self, patch):
        with self.hub.news:
            self.hub.patches.append(json.loads(json.dumps(patch)))
            self.hub.news.notify_all()

    def send_message_to_output(self, message, output):
        if self.hub.slow is not None:
            assert self.hub.slow.wait(PATIENCE)
        with self.hub.news:
            if self.hub.failing:
                raise ConnectionDroppedError("away")
            if output == telling.OUTPUT:
                self.hub.sent.append(message)
            else:
                assert output == telling.REQUESTS
                assert dict(message.custom_properties) == {"messageType": "modelRequest"}
                self.hub.requests.append(json.loads(message.data))
            self.hub.news.notify_all()

    def send_method_response(self, response):
        self.hub.answers.append(response)

    def shutdown(self):
        self.connected = False


class Trials:
    """What a trial says, and how often there was one."""

    def __init__(self):
        self.verdicts, self.count = {}, 0

    def attempt(self, path):
        self.count += 1
        return self.verdicts.get(path.stem, Verdict("", 0.01))


@pytest.fixture
def trials():
    return Trials()


@pytest.fixture
def filtering(tmp_path, trials):
    """`filtering(hub)`: a module with this hub, in one folder for all; stopped at the end."""
    started, hubs = [], []

    def start(hub, settings=None, **more):
        made = FilterCar(
            replace(settings or Settings(), folder=str(tmp_path / "models")),
            FOLDER,
            create=hub.create,
            attempt=trials.attempt,
            **more,
        )
        started.append(made)
        hubs.append(hub)
        made.start()
        hub.until(lambda: "model" in hub.reported)
        return made

    yield start
    for made in started:
        made.stop()
    for hub in hubs:
        hub.close()


def complete(hub, rows):
    """Each row was answered once, in order."""
    assert [told["seconds"] for told in hub.bodies] == [row.seconds for row in rows]


def test_rows_from_four_threads(filtering):
    """However the SDK's threads mix them up, each row is answered once and in the order of its drive."""
    hub = Edge()
    filtering(hub)
    for number, row in enumerate(ROWS[:1500], 1):
        hub.bring(row, number, f"m{number}")
    hub.until(lambda: len(hub.sent) == 1500)
    complete(hub, ROWS[:1500])
    predictor = Predictor(FOLDER / "model.onnx")
    assert [told["predicted"] for told in hub.bodies] == [
        pytest.approx(predictor.predict(row).speed, abs=1e-4) for row in ROWS[:1500]
    ]
    assert len({message.message_id for message in hub.sent}) == 1500


def test_swaps_under_load_lose_nothing(filtering):
    """Three models and back, while rows stream in: each row is answered once, by the model of its time."""
    hub = Edge()
    module = filtering(hub)
    numbers = itertools.count()
    ending = threading.Event()

    def stream():
        for n in numbers:
            if ending.is_set():
                return
            row = replace(ROWS[n % len(ROWS)], seconds=n / 10.0)
            hub.bring(row, n + 1, f"m{n}").result()

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        served = ["0"]
        for version in ("1", "2", "3"):
            content = offset(100.0 * int(version))
            told = release(content, version)
            seen = len(hub.sent)
            hub.until(lambda seen=seen: len(hub.sent) > seen + 50)
            hub.desire(model=told)
            assert hub.give(told, content) == 202
            hub.until(hub.serves(version))
            served.append(version)
        seen = len(hub.sent)
        hub.until(lambda: len(hub.sent) > seen + 50)
        hub.desire(model=None)
        hub.until(hub.serves("0"))
        seen = len(hub.sent)
        hub.until(lambda: len(hub.sent) > seen + 50)
    finally:
        ending.set()
        thread.join()
    count = next(numbers) - 1
    hub.until(lambda: len(hub.sent) >= count)
    found = hub.bodies
    assert [told["seconds"] for told in found] == [n / 10.0 for n in range(count)]
    versions = [version for version, _ in itertools.groupby(told["modelVersion"] for told in found)]
    assert versions == [*served, "0"]
    predictor = Predictor(FOLDER / "model.onnx")
    for n, told in enumerate(found):
        speed = predictor.predict(replace(ROWS[n % len(ROWS)], seconds=n / 10.0)).speed
        assert told["predicted"] == pytest.approx(speed + 100.0 * int(told["modelVersion"]), abs=1e-3)
    assert module.status(fresh=True)["health"]["swaps"] == 4


def test_a_message_that_comes_twice(filtering):
    """An edge hub may bring a message again; it is answered once. Another one with its id is another one."""
    hub = Edge()
    module = filtering(hub)
    for n in (0, 1, 1, 0, 2):
        hub.bring(ROWS[n], n + 1, f"m{n}").result()
    hub.bring(ROWS[3], 4, "m2").result()
    hub.bring(ROWS[3], None, "").result()  # without an id, the row's own seconds tell
    hub.bring(ROWS[4], 5, "m4").result()
    hub.until(lambda: len(hub.sent) == 5)
    hub.until(lambda: module.status(fresh=True)["health"]["duplicates"] == 3)
    complete(hub, ROWS[:5])


def test_what_is_no_row_is_dropped(filtering, caplog):
    """Counted, logged once for each fault, and the next row is served; messages to other inputs are not its own."""
    hub = Edge()
    module = filtering(hub)
    for body in ("nonsense", "nonsense", "{", ROWS[0].to_csv_line()):
        hub.bring(None, body=body).result()
    hub.bring(ROWS[1], input_name="input2").result()
    hub.bring(ROWS[2]).result()
    hub.until(lambda: len(hub.sent) == 2)
    complete(hub, [ROWS[0], ROWS[2]])
    health = module.status(fresh=True)["health"]
    assert (health["rows"], health["unreadable"], health["errors"]) == (2, 3, 0)
    assert "no JSON" in health["lastUnreadable"]
    dropped = [record for record in caplog.records if "is dropped" in record.getMessage()]
    assert len(dropped) == 2
    assert "came to input2" in caplog.text


def test_only_what_matters(filtering):
    """A threshold by the twin: what is further off is sent, what is saved is counted in messages and bytes."""
    hub = Edge(threshold=10.0)
    module = filtering(hub)
    predictor = Predictor(FOLDER / "model.onnx")
    rows = ROWS[:400]
    off = [row for row in rows if abs(predictor.predict(row).speed - row.speed) > 10.0]
    assert 10 < len(off) < 390
    for number, row in enumerate(rows, 1):
        hub.bring(row, number)
    hub.until(lambda: module.status(fresh=True)["health"]["rows"] == 400 and len(hub.sent) == len(off))
    complete(hub, off)
    hub.until(lambda: module.status(fresh=True)["health"]["sent"] == len(off))
    health = module.status(fresh=True)["health"]
    assert (health["dropped"], health["savedMessages"]) == (400 - len(off),) * 2
    sent = sum(len(m.data) + sum(len(k) + len(v) for k, v in m.custom_properties.items()) for m in hub.sent)
    assert health["bytesSent"] == sent
    assert health["savedBytes"] == health["bytesIn"] - sent
    version = hub.desire(threshold="much", everyNth=100, nonsense=1)
    hub.until(lambda: hub.reported.get("desiredVersion") == version)
    assert set(hub.reported["errors"]) == {"threshold", "nonsense"}
    assert (hub.reported["threshold"], hub.reported["everyNth"]) == (10.0, 100)


def test_a_challenger_beside_the_champion(filtering):
    """Only its numbers are sent; it may become the champion without being fetched again, and be taken away."""
    hub = Edge()
    filtering(hub)
    content = offset(5.0)
    told = release(content, "9")
    hub.desire(challenger=told)
    assert hub.give(told, content) == 202
    hub.until(lambda: (hub.reported.get("challenger") or {}).get("version") == "9")
    asked = len(hub.requests)
    hub.bring(ROWS[0], 1)
    hub.until(lambda: len(hub.sent) == 1)
    body = hub.bodies[0]
    assert body["modelVersion"] == "0"
    assert body["challenger"]["modelVersion"] == "9"
    assert body["challenger"]["predicted"] == pytest.approx(body["predicted"] + 5.0, abs=1e-4)
    assert body["challenger"]["error"] == pytest.approx(body["error"] + 5.0, abs=1e-4)
    hub.desire(model=told, challenger=None)
    hub.until(lambda: hub.serves("9")() and "challenger" not in hub.reported)
    hub.bring(ROWS[1], 2)
    hub.until(lambda: len(hub.sent) == 2)
    assert hub.bodies[1]["modelVersion"] == "9"
    assert "challenger" not in hub.bodies[1]
    hub.desire(model=release(content, "10"))  # the same file, registered once more
    hub.until(hub.serves("10"))
    assert len(hub.requests) == asked


def test_it_asks_until_it_is_answered(filtering):
    """With growing pauses; what is given to it must be what it wants; no answer and no report shows the address."""
    hub = Edge()
    filtering(hub)
    content = offset(1.0)
    told = release(content, "4")
    hub.desire(model=told)
    hub.until(lambda: len(hub.requests) >= 3)
    assert hub.requests[0] == {name: told[name] for name in ("name", "version", "sha256", "blob")}
    assert hub.reported["pending"] == {"version": "4", "status": "asking", "reason": ""}
    assert hub.method("fetchModel", {"name": "car-speed"})[0] == 400
    other = {"name": "car-speed", "version": "5", "sha256": told["sha256"], "url": "https://x/y"}
    assert hub.method("fetchModel", other)[0] == 409
    assert hub.method("fetchModel", other | {"version": "4"})[0] == 202  # there is nothing at that address
    hub.until(lambda: hub.reported["pending"]["reason"] == "the storage has no such blob")
    assert hub.give(told, content) == 202
    hub.until(hub.serves("4"))
    assert hub.method("fetchModel", other | {"version": "4"})[0] == 409
    assert "secret" not in json.dumps(hub.patches)
    assert hub.method("status")[1]["model"]["version"] == "4"


@pytest.mark.parametrize("by", ["trial", "file", "twin"])
def test_a_model_that_is_refused(filtering, trials, by):
    """What serves goes on, the reason is reported, and another model may come; the same one when it is wanted anew."""
    hub = Edge()
    filtering(hub)
    content = offset(1.0)
    told = release(content, "4")
    if by == "trial":
        trials.verdicts[told["sha256"]] = Verdict("the process that tried it crashed (SIGSEGV)")
    hub.desire(model=told | ({"sha256": "12"} if by == "twin" else {}))
    if by != "twin":
        assert hub.give(told, b"something else" if by == "file" else content) == 202
    hub.until(hub.refuses("4"))
    says = {"trial": "crashed", "file": "another file", "twin": "64 hexadecimal digits"}
    assert says[by] in hub.reported["pending"]["reason"]
    assert ("model" in hub.reported["errors"]) == (by == "twin")
    assert hub.method("fetchModel", {**told, "url": "https://x"})[0] == 409
    hub.bring(ROWS[0], 1)
    hub.until(lambda: len(hub.sent) == 1)
    assert hub.bodies[0]["modelVersion"] == hub.reported["model"]["version"] == "0"
    trials.verdicts.clear()
    hub.requests.clear()
    hub.desire(model=None)
    hub.until(lambda: "pending" not in hub.reported)
    hub.desire(model=told)
    assert hub.give(told, content) == 202
    hub.until(hub.serves("4"))


def test_another_one_is_wanted_meanwhile(filtering):
    """What was asked for is forgotten."""
    hub = Edge()
    filtering(hub)
    first, second = release(offset(1.0), "1"), release(offset(2.0), "2")
    hub.desire(model=first)
    hub.until(lambda: hub.requests)
    hub.desire(model=second)
    assert hub.give(second, offset(2.0)) == 202
    hub.until(hub.serves("2"))
    assert hub.method("fetchModel", {**first, "url": "https://x"})[0] == 409


def test_a_restart_serves_what_served(filtering, trials):
    """From its disk, without asking; also before the edge hub can be reached. A removed one gives way to its own."""
    hub = Edge()
    module = filtering(hub)
    contents = {"4": offset(400.0), "5": offset(500.0)}
    wanted = {"model": release(contents["4"], "4"), "challenger": release(contents["5"], "5")}
    hub.desire(**wanted)
    for told in wanted.values():
        assert hub.give(told, contents[told["version"]]) == 202
    hub.until(lambda: hub.serves("4")() and "challenger" in hub.reported)
    since = hub.reported["model"]["since"]
    module.stop()
    tried = trials.count
    hub = Edge(**wanted)
    module = filtering(hub)
    hub.bring(ROWS[0], 1)
    hub.until(lambda: len(hub.sent) == 1 and "desiredVersion" in hub.reported)
    assert hub.bodies[0]["modelVersion"] == "4"
    assert hub.bodies[0]["challenger"]["modelVersion"] == "5"
    assert hub.reported["model"]["since"] == since
    assert (hub.requests, trials.count) == ([], tried)
    module.stop()
    hub = Edge()  # meanwhile the twin was changed: nothing is wanted
    filtering(hub)
    hub.until(lambda: hub.serves("0")() and "challenger" not in hub.reported)


def test_a_kept_file_that_was_changed(filtering, tmp_path):
    """It is not served: the module begins with its own, and asks."""
    content = offset(4.0)
    told = release(content, "4")
    hub = Edge(model=told)
    module = filtering(hub)
    assert hub.give(told, content) == 202
    hub.until(hub.serves("4"))
    module.stop()
    Path(tmp_path / "models" / f"{told['sha256']}.onnx").write_bytes(offset(5.0))
    hub = Edge(model=told)
    filtering(hub)
    hub.bring(ROWS[0], 1)
    hub.until(lambda: len(hub.sent) == 1)
    assert hub.bodies[0]["modelVersion"] == "0"
    assert hub.give(told, content) == 202
    hub.until(hub.serves("4"))


def test_a_model_that_takes_the_module_with_it(filtering, tmp_path):
    """What the trial does not find: after some starts in which it did not serve its rows it is not loaded again."""
    content = offset(4.0)
    told = release(content, "4")
    hub = Edge(model=told)
    module = filtering(hub)
    assert hub.give(told, content) == 202
    hub.until(hub.serves("4"))
    module.stop()  # it stands for a crash: the state on the disk is the same
    for _ in range(MOST_LOADS - 1):
        hub = Edge(model=told)
        module = filtering(hub)
        hub.until(hub.serves("4"))
        module.stop()
    hub = Edge(model=told)
    module = filtering(hub)
    hub.until(hub.refuses("4"))
    assert "ended 3 times while it served" in hub.reported["pending"]["reason"]
    assert hub.reported["model"]["version"] == "0"


def test_a_model_that_has_proved_itself(filtering):
    """A hundred rows later it may be loaded as often as there are restarts."""
    content = offset(4.0)
    told = release(content, "4")
    hub = Edge(model=told)
    module = filtering(hub)
    assert hub.give(told, content) == 202
    hub.until(hub.serves("4"))
    for number, row in enumerate(ROWS[: supply.PROOF], 1):
        hub.bring(row, number)
    hub.until(lambda: len(hub.sent) == supply.PROOF)
    shelf = module._shelf
    hub.until(lambda: shelf.entry("model").loads == 0 or hub.news.wait(0.02))
    module.stop()
    for _ in range(MOST_LOADS):
        hub = Edge(model=told)
        module = filtering(hub)
        hub.until(hub.serves("4"))
        module.stop()


def test_an_edge_hub_that_is_away(filtering):
    """Answers wait and come in order when it is back, each once."""
    hub = Edge()
    filtering(hub)
    hub.failing = True
    for number, row in enumerate(ROWS[:50], 1):
        hub.bring(row, number)
    hub.client.connected = False
    hub.client.on_connection_state_change()
    hub.failing = False
    hub.until(lambda: len(hub.sent) == 50)
    complete(hub, ROWS[:50])


def test_stopped_with_rows_in_hand(filtering, monkeypatch):
    """What was acknowledged to the edge hub and could not be answered is answered at the next start, first."""
    monkeypatch.setattr(car_module, "LAST_WORDS", 0.3)
    hub = Edge()
    module = filtering(hub)
    hub.failing = True
    for number, row in enumerate(ROWS[:600], 1):
        hub.bring(row, number, f"m{number}").result()
    hub.until(lambda: module._outbox.waiting == filter_outbox.AHEAD or hub.news.wait(0.02))
    module.stop()
    assert hub.sent == []
    again = Edge()
    filtering(again)
    again.until(lambda: len(again.sent) == 600)
    again.bring(ROWS[700], 1, "m701")
    again.until(lambda: len(again.sent) == 601)
    complete(again, [*ROWS[:600], ROWS[700]])
    assert again.reported["health"]["sent"] <= 601


def test_a_module_without_a_model(tmp_path):
    """A file that is none ends it at once, with the reason."""
    (tmp_path / "model.onnx").write_bytes(b"none")
    with pytest.raises(DataError, match="no model that onnxruntime can run"):
        FilterCar(Settings(), tmp_path, create=Edge().create)
    with pytest.raises(DataError, match=r"other\.onnx cannot be read"):
        FilterCar(Settings(model_file="other.onnx"), tmp_path, create=Edge().create)


def test_another_file_by_its_variable(filtering, tmp_path):
    """FILTER_MODEL's file serves as the version `local`."""
    (tmp_path / "mine.onnx").write_bytes(offset(3.0))
    hub = Edge()
    filtering(hub, Settings(model_file=str(tmp_path / "mine.onnx")))
    hub.bring(ROWS[0], 1)
    hub.until(lambda: len(hub.sent) == 1)
    assert hub.bodies[0]["modelVersion"] == hub.reported["model"]["version"] == "local"


def test_a_line_in_the_log_as_the_blog_has_it(filtering, caplog):
    """Sending Prediction: 33.95982, Actual Speed: 29.375; one a second."""
    caplog.set_level("INFO", "ModuleFilterCar")
    hub = Edge()
    filtering(hub)
    row = ROWS[600]
    for number in (1, 2, 3):
        hub.bring(replace(row, seconds=number / 10.0), number)
    hub.until(lambda: len(hub.sent) == 3)
    lines = [each.getMessage() for each in caplog.records if each.getMessage().startswith("Sending")]
    speed = Predictor(FOLDER / "model.onnx").predict(row).speed
    assert lines == [f"Sending Prediction: {speed:.5f}, Actual Speed: {row.speed:.12g}"]
