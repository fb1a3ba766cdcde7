"""ModuleFilterCar's parts, without a process and without an edge hub: rows, their order, what is said and kept."""

import json
import math
import random
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pytest
from car_filter import FOLDER, of_sum, release
from filter_car import leftovers, telling
from filter_car.matters import Choice
from filter_car.model import own
from filter_car.order import HOLD, SETTLE, Order
from filter_car.release import Release
from filter_car.rows import arrival, read
from filter_car.serving import CARS, Serving
from filter_car.settings import Settings, from_environment
from filter_car.shelf import MODELS, Entry, Shelf
from hypothesis import given
from hypothesis import strategies as st

from iotedge_lab.car import drives
from iotedge_lab.car.predictor import Prediction, Predictor
from iotedge_lab.car.rows import HEADER
from iotedge_lab.errors import DataError

DRIVE = list(islice(drives.rows(drives.drive_path("city-01")), 600))


def message(body, identity="", **properties):
    data = body if isinstance(body, bytes) else body.encode()
    return SimpleNamespace(data=data, message_id=identity, custom_properties=properties)


def came(row, at=0.0, drive="d", number=None):
    """A row that has come."""
    more = {} if number is None else {"sequence": str(number)}
    return arrival(message(row.to_csv_line(), driveId=drive, **more), at)


# -- rows ----------------------------------------------------------------------------------------------


def test_a_row_in_either_form():
    """The blog's line, with a quoted time, further cells and a line end, and a JSON object, give the same row."""
    row = DRIVE[100]
    quoted = replace(row, time="2 March, 8:00")
    forms = (row.to_csv_line(), row.to_csv_line() + ",12,,x\r\n", "\ufeff" + row.to_csv_line(), row.to_json(),
             json.dumps({**row.to_dict(), "EngineCounter": 5}, indent=1))  # fmt: skip
    for form in forms:
        assert read(form.encode()) == row
    assert read(quoted.to_csv_line().encode()) == quoted


GOOD = DRIVE[0].to_csv_line()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "1 cells of 11"),
        (b"\xff\xfe", "no UTF-8"),
        (HEADER.encode(), "seconds is 'Seconds'"),
        (GOOD.rpartition(",")[0].encode(), "10 cells of 11"),
        ((GOOD + "\n" + GOOD).encode(), "several lines"),
        (GOOD.replace(",0,", ",nan,", 1).encode(), "seconds is 'nan'"),
        (GOOD.replace(GOOD.split(",")[8], "1_000", 1).encode(), "is '1_000'"),
        ((GOOD.rpartition(",")[0] + ",full").encode(), "acceleration_gs is 'full'"),
        (b"{", "no JSON"),
        (b"[" * 5000, "no JSON"),
        (b"[1, 2]", "not '\\[1, 2\\]'"),
        (b'{"time": "x"}', "lacks seconds"),
        (json.dumps({**DRIVE[0].to_dict(), "speed": "fast"}).encode(), "speed is 'fast'"),
        (b"EchoModule says hello", "1 cells of 11"),
    ],
)
def test_what_is_no_row_is_told(body, says):
    """Each has its own reason."""
    with pytest.raises(DataError, match=says):
        read(body)


def test_what_comes_with_a_row():
    """Sender, drive, number and size; a number that is none is passed over."""
    found = arrival(message(GOOD, "m1", driveId="monday", sequence="17", **{"$.cmid": "Sim"}), 5.0)
    assert (found.car, found.drive, found.number, found.message_id, found.at) == (
        ("Sim", "monday"), "monday", 17, "m1", 5.0,
    )  # fmt: skip
    assert found.size == len(GOOD) + len("driveIdmonday") + len("sequence17") + len("$.cmidSim")
    for number in ("-1", "1.5", "x", "9" * 30, ""):
        assert arrival(message(GOOD, sequence=number), 0.0).number is None
    assert arrival(message(GOOD), 0.0).car == ("", "")


# -- order ---------------------------------------------------------------------------------------------


def shuffled(items, reach, seed):
    """The items as four threads may hand them on: each at most so many places off."""
    chance = random.Random(seed)
    keyed = sorted((place + chance.uniform(0, reach), place, item) for place, item in enumerate(items))
    return [item for _, _, item in keyed]


def served(arrivals, step=0.001):
    """All that comes out, each item being looked at `step` s after the one before; then what is left."""
    order, found, now = Order(), [], 0.0
    for one in arrivals:
        each = replace(one, at=now)
        if order.put(each):
            found.append(each)
        while not isinstance(one := order.take(now), float):
            found.append(one)
        now += step
    while len(order):
        one = order.take(now)
        if isinstance(one, float):
            assert 0.0 < one <= HOLD
            now += one + 1e-9
        else:
            found.append(one)
    assert order.take(now) == math.inf
    return found


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(2, 120), st.booleans())
def test_rows_are_put_in_order(seed, reach, count, numbered):
    """However they are mixed up within a while: each comes out once, those of a drive in their order."""
    rows = []
    for n in range(count):
        drive, number = f"d{n % 3}", n // 3
        rows.append(came(DRIVE[number], drive=drive, number=number + 1 if numbered else None))
    found = served(shuffled(rows, reach, seed))
    assert len(found) == count
    for drive in ("d0", "d1", "d2"):
        seconds = [each.row.seconds for each in found if each.drive == drive]
        assert seconds == sorted(seconds)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 8), max_size=100))
def test_nothing_is_left_out(seed, numbers):
    """Whatever the numbers are, whatever comes twice: as many come out as went in."""
    rows = [came(DRIVE[number], number=number if n % 2 else None) for n, number in enumerate(numbers)]
    assert len(served(shuffled(rows, 5, seed))) == len(rows)


def test_what_follows_is_due_at_once():
    """Number 1 and each next one wait for nothing; after a gap a row waits for what may still come."""
    order = Order()
    assert not order.put(came(DRIVE[1], number=1))
    assert order.take(0.0).number == 1
    assert order.put(came(DRIVE[2], number=2))
    assert order.put(came(DRIVE[3], number=3))
    assert len(order) == 0
    order.put(came(DRIVE[5], at=1.0, number=5))
    assert order.take(1.0) == pytest.approx(HOLD)
    order.put(came(DRIVE[4], at=1.1, number=4))
    assert [order.take(1.1).number, order.take(1.1).number] == [4, 5]
    order.put(came(DRIVE[9], at=2.0, number=9))
    assert order.take(2.0 + HOLD).number == 9
    order.put(came(DRIVE[0], at=3.0, number=1))  # the sender has started again
    assert order.take(3.0).number == 1


def test_rows_without_numbers_wait_a_moment():
    """They go by their seconds; those that step back begin anew, after those that do not."""
    order = Order()
    for place in (500, 501, 0, 502, 1):
        order.put(came(DRIVE[place], at=0.0))
        assert order.take(0.0) == pytest.approx(SETTLE)
    # The first that is served is the lowest, as nothing was there before: here the recording had begun anew.
    first = came(DRIVE[499], at=-1.0)
    order.put(first)
    found = []
    while len(order):
        found.append(order.take(SETTLE).row.seconds)
    assert found == [DRIVE[place].seconds for place in (0, 1, 499, 500, 501, 502)]
    for place in (1, 503, 0, 504):
        order.put(came(DRIVE[place], at=1.0))
    found = [order.take(1.0 + SETTLE).row.seconds for _ in range(4)]
    assert found == [DRIVE[place].seconds for place in (503, 504, 0, 1)]


def test_many_cars_are_not_remembered_for_ever():
    """The places of the latest are kept; rows of all of them are served."""
    rows = [came(DRIVE[n % 2], drive=f"d{n}", number=1) for n in range(300)]
    assert len(served(rows)) == 300


def test_a_stop_waits_for_nothing():
    """All that waits comes out, in order."""
    order = Order()
    for number in (9, 5, 7):
        order.put(came(DRIVE[number], number=number))
    assert [each.number for each in order.flush()] == [5, 7, 9]
    assert len(order) == 0


# -- serving -------------------------------------------------------------------------------------------


class Fake:
    """A model whose predictor a test makes."""

    def __init__(self, version, predict, predictor=None):
        self.version = version
        self.predictor = predictor or self
        self.features = SimpleNamespace(push=lambda _: None)
        self.predict = predict

    def for_another_car(self):
        return self


@pytest.fixture(scope="module")
def bundled():
    return own(FOLDER / "model.onnx", "0", "now")


@pytest.fixture(scope="module")
def windowed():
    """A model that looks back 10 s."""
    return Fake("w", None, Predictor(of_sum()))


def test_each_car_has_its_own_window(bundled):
    """Rows of many cars by turns: each prediction is that of the car alone, and the memory has its bounds."""
    serving, alone = Serving(bundled), Predictor(FOLDER / "model.onnx")
    for n, row in enumerate(DRIVE[:50]):
        said = serving.answer(came(row, drive="a"))
        assert said.prediction == alone.predict(row)
        other = serving.answer(came(DRIVE[n + 300], drive="b"))
        assert (other.version, other.challenger) == ("0", None)
    for n in range(3 * CARS):
        serving.answer(came(DRIVE[0], drive=f"c{n}"))
    assert serving.duplicates == 0
    assert serving.answer(came(DRIVE[0], drive=f"c{n}")) is None
    assert serving.duplicates == 1


def test_a_new_model_has_its_window_full(windowed):
    """A model that looks back 10 s takes over without a warm-up, and predicts what it would have predicted anyway."""
    swapped, always = Serving(windowed), Serving(windowed)
    for row in DRIVE[:300]:
        swapped.answer(came(row))
        always.answer(came(row))
    swapped.put("model", windowed)
    swapped.put("challenger", windowed)
    for row in DRIVE[300:]:
        said, expected = swapped.answer(came(row)), always.answer(came(row))
        assert not said.prediction.warmup
        assert said.prediction.speed == pytest.approx(expected.prediction.speed, abs=1e-4)
        assert said.challenger == said.prediction
    assert swapped.records["challenger"].rows == 300
    swapped.put("challenger", None)
    assert swapped.answer(came(replace(DRIVE[0], seconds=900.0))).challenger is None


def test_a_model_that_fails_on_a_row(bundled):
    """A champion's failure is the row's, a challenger's its own; the next row is served."""

    def sometimes(row):
        if row.seconds % 1.0 < 0.05:
            raise RuntimeError("no")
        return Prediction(math.nan if row.seconds % 1.0 > 0.85 else 10.0, warmup=False)

    serving = Serving(bundled)
    serving.put("challenger", Fake("2", sometimes))
    found = [serving.answer(came(row)) for row in DRIVE[:100]]
    assert all(each.challenger_version == "2" for each in found)
    assert sum(each.challenger is None for each in found) == serving.records["challenger"].failures == 20
    serving.put("model", Fake("3", sometimes))
    good = 0
    for row in DRIVE[100:200]:
        try:
            good += serving.answer(came(row)) is not None
        except DataError as error:
            assert "model 3" in str(error)  # noqa: PT017
    assert (good, serving.records["model"].failures) == (80, 20)
    assert serving.records["model"].mean is not None


# -- what matters --------------------------------------------------------------------------------------


def said(error, drive="d", challenger=""):
    row = replace(DRIVE[0], speed=20.0)
    return SimpleNamespace(arrival=came(row, drive=drive), error=error, challenger_version=challenger)


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        (Settings(), [0, 1, 2, 3, 4, 5]),
        (Settings(threshold=2.0), [1, 4]),
        (Settings(every_nth=4), [0, 4]),
        (Settings(threshold=2.0, every_nth=3), [0, 1, 3, 4]),
        (Settings(threshold=1000.0), []),
    ],
)
def test_what_is_sent(settings, sent):
    """Errors beyond the threshold, to either side, and each so manieth row; without a wish everything."""
    choice = Choice()
    errors = [0.0, 2.5, 2.0, -1.0, -7.0, 0.1]
    assert [n for n, error in enumerate(errors) if choice.sends(said(error), settings)] == sent


def test_rows_are_counted_by_car_and_a_challenger_is_judged_fairly():
    """Every second row of each drive; beside a challenger the champion's error chooses nothing."""
    choice, settings = Choice(), Settings(threshold=1.0, every_nth=2)
    for n in range(4):
        assert (
            choice.sends(said(0.0, "a"), settings) == choice.sends(said(0.0, "b"), settings) == (n % 2 == 0)
        )
    assert [choice.sends(said(9.0, "c", "2"), settings) for _ in range(4)] == [True, False, True, False]
    assert all(choice.sends(said(0.0, "c", "2"), Settings(threshold=1.0)) for _ in range(4))


# -- what is said --------------------------------------------------------------------------------------


def test_a_prediction_as_a_message(bundled):
    """The contract's members and properties; the id follows from the row's."""
    serving = Serving(bundled)
    serving.put("challenger", bundled)
    found = serving.answer(arrival(message(DRIVE[7].to_csv_line(), "id-1", driveId="monday"), 0.0))
    sent, again = telling.to_message(found), telling.to_message(found)
    told = json.loads(sent.data)
    assert list(told) == [
        "driveId", "time", "seconds", "predicted", "actual", "error", "low", "high", "warmup", "modelVersion",
        "challenger",
    ]  # fmt: skip
    assert told["error"] == pytest.approx(told["predicted"] - told["actual"], abs=2e-5)
    assert told["low"] <= told["predicted"] <= told["high"]
    assert told["challenger"] == {"modelVersion": "0", "predicted": told["predicted"], "error": told["error"]}
    assert dict(sent.custom_properties) == {
        "messageType": "prediction", "modelVersion": "0", "driveId": "monday",
    }  # fmt: skip
    assert (sent.content_type, sent.content_encoding) == ("application/json", "utf-8")
    assert (
        sent.message_id == again.message_id != telling.to_message(serving.answer(came(DRIVE[8]))).message_id
    )
    long = replace(found, arrival=replace(found.arrival, message_id="x" * 128))
    assert len(telling.to_message(long).message_id) <= 128
    assert telling.size(sent) == len(sent.data) + sum(
        len(a) + len(b) for a, b in sent.custom_properties.items()
    )


class Controls:
    def __init__(self, taken):
        self.taken, self.offers = taken, []

    def status(self, *, fresh=False):
        return {"fresh": fresh}

    def offer(self, **asked):
        self.offers.append(asked)
        return self.taken


OFFER = {
    "name": "n",
    "version": "3",
    "sha256": "AB" * 32,
    "url": "https://x.blob.core.windows.net/m/a?sig=secret",
}


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (OFFER, 202),
        (OFFER | {"url": "http://127.0.0.5:10000/m/a?sig=secret"}, 202),
        (OFFER | {"url": "http://example.com/m/a?sig=secret"}, 400),
        (OFFER | {"url": "file:///etc/passwd"}, 400),
        (OFFER | {"url": "https://[secret"}, 400),
        (OFFER | {"url": ""}, 400),
        (OFFER | {"version": 3}, 400),
        ({"name": "n"}, 400),
        (None, 400),
        ("3", 400),
    ],
)
def test_fetch_model(payload, status):
    """202 for an address that is wanted; what does not fit is refused, and no answer shows the address."""
    controls = Controls(taken=True)
    found, told = telling.answer(controls, "fetchModel", payload)
    assert found == status
    assert "secret" not in json.dumps(told)
    assert len(controls.offers) == (status == 202)
    if status == 202:
        assert controls.offers[0]["sha256"] == "ab" * 32
        assert telling.answer(Controls(taken=False), "fetchModel", payload)[0] == 409


def test_other_methods():
    """`status` is fresh; what there is not is told."""
    assert telling.answer(Controls(taken=True), "status", None) == (200, {"fresh": True})
    status, told = telling.answer(Controls(taken=True), "reboot", {})
    assert status == 404
    assert "fetchModel, status" in told["error"]


# -- releases, settings, the disk ----------------------------------------------------------------------


def test_a_release_is_read_and_written():
    """As the twin has it; a version may be a number."""
    told = release(b"x", "3")
    assert Release.read(told).to_dict() == told
    assert Release.read(told | {"version": 3, "size": 1.0, "sha256": told["sha256"].upper()}) == Release.read(
        told
    )


@pytest.mark.parametrize(
    "change",
    [
        {"version": ""}, {"version": None}, {"version": True}, {"version": "a\nb"}, {"sha256": "12"}, {"sha256": 5},
        {"size": 0}, {"size": -1}, {"size": 1.5}, {"size": "12"}, {"size": True}, {"size": 10**12}, {"blob": []},
        {"name": "x" * 2000},
    ],
)  # fmt: skip
def test_a_release_that_is_none(change):
    """Each is told what belongs there."""
    with pytest.raises(ValueError, match="an object"):
        Release.read(release(b"x", "3") | change)


def test_settings_from_the_environment():
    """Files by variables alone; what is wrong names the variable."""
    found = from_environment({"FILTER_MODEL": "m/x.onnx", "FILTER_FOLDER": "kept", "FILTER_EVERY_NTH": "5"})
    assert (found.model_file, found.folder, found.every_nth, found.threshold) == ("m/x.onnx", "kept", 5, None)
    for name, value in {"FILTER_MODEL": " ", "FILTER_THRESHOLD": "much", "FILTER_EVERY_NTH": "0"}.items():
        with pytest.raises(ValueError, match=name):
            from_environment({name: value})


def put(shelf, content, version):
    told = Release.read(release(content, version))
    shelf.part(told).write_bytes(content)
    shelf.adopt(told)
    return told


def test_the_shelf_outlives_the_module(tmp_path):
    """What serves is known again, counted as loaded until it has proved itself; a changed file is not that model."""
    shelf = Shelf(tmp_path / "models")
    one = put(shelf, b"one", "1")
    shelf.put("model", Entry(one, "then"))
    again = Shelf(tmp_path / "models")
    assert again.load("model") == Entry(one, "then", 2)
    assert again.has(one)
    again.prove("model")
    assert Shelf(tmp_path / "models").load("model") == Entry(one, "then", 1)
    assert Shelf(tmp_path / "models").load("challenger") is None
    shelf.path(one).write_bytes(b"two")
    assert not shelf.has(one)
    assert (tmp_path / "models").stat().st_mode & 0o777 == 0o700


def test_the_shelf_does_not_grow(tmp_path):
    """Those that serve stay, and some of the latest besides."""
    shelf = Shelf(tmp_path)
    all_of_them = [put(shelf, f"model {n}".encode(), str(n)) for n in range(8)]
    shelf.put("model", Entry(all_of_them[0], "then"))
    shelf.part(all_of_them[7]).write_bytes(b"some of it")
    shelf.tidy()
    assert shelf.has(all_of_them[0])
    assert len(list(tmp_path.glob("*.onnx"))) == MODELS
    assert shelf.part(all_of_them[7]).exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"model": 5}', '{"model": {"release": {}, "since": "", "loads": 1}}']
)
def test_a_state_that_cannot_be_read(tmp_path, text):
    """The module begins without it."""
    (tmp_path / "state.json").write_text(text)
    assert Shelf(tmp_path).entry("model") is None


def test_a_shelf_that_cannot_be_written(tmp_path):
    """It says so, and the module goes on."""
    (tmp_path / "models").write_text("a file where a folder belongs")
    shelf = Shelf(tmp_path / "models")
    shelf.put("model", Entry(Release.read(release(b"x", "1")), "then"))
    assert "models are lost at a restart" in shelf.problem


def test_what_could_not_be_sent_is_kept(tmp_path):
    """Body, id and properties come back in order; a broken line costs itself alone."""
    messages = [telling.new_message(f'{{"n":{n}}}', f"id-{n}", {"driveId": "ö=&"}) for n in range(3)]
    assert leftovers.keep(tmp_path, messages) == 3
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("a") as file:
        file.write("[1]\n")
    found = leftovers.found(tmp_path)
    assert [(each.data, each.message_id, each.custom_properties) for each in found] == [
        (each.data, each.message_id, each.custom_properties) for each in messages
    ]
    assert leftovers.keep(tmp_path, []) == 0
    assert leftovers.found(tmp_path) == []
    assert not list(tmp_path.iterdir())
