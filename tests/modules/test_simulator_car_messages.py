"""What is sent, what methods answer, and what is reported: tables."""

import json
import math
from dataclasses import replace

import pytest
from simulator_car.methods import answer
from simulator_car.reading import Reading, alerts, body, to_message
from simulator_car.report import difference
from simulator_car.settings import Settings

from iotedge_lab.car.device.twin import reported
from iotedge_lab.car.rows import CarRow
from iotedge_lab.errors import UsageError

ROW = CarRow("2026-03-01 10:31:37.000700", 0.0007, 30.27, -97.74, 0.0, 30.647, -0.5, 12.0, 944.0, -0.01, 0.05)
LINE = "2026-03-01 10:31:37.000700,0.0007,30.27,-97.74,0,30.647,-0.5,12,944,-0.01,0.05"


def test_a_line_of_csv():
    """The blog's columns in their order, further signals behind them; no content type that routes look into."""
    assert body(Reading(ROW), "csv") == LINE
    assert (
        body(Reading(ROW, extras={"Gear": 4.0, "BrakeForce": None, "Heat": 0.25}), "csv") == f"{LINE},4,,0.25"
    )
    message = to_message(Reading(ROW), Settings(), 7, "an id")
    assert message.data == LINE
    assert (message.content_type, message.content_encoding, message.message_id) == (
        "text/csv",
        "utf-8",
        "an id",
    )


def test_an_object_of_json():
    """The columns by name, further signals beside them; content type and encoding let routes see the body."""
    assert json.loads(body(Reading(ROW), "json")) == ROW.to_dict()
    extras = {"Gear": 4.0, "BrakeForce": None}
    assert json.loads(body(Reading(ROW, extras=extras), "json")) == ROW.to_dict() | extras
    message = to_message(Reading(ROW), replace(Settings(), format="json"), 7, "x")
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert CarRow.from_json(message.data) == ROW


def test_properties():
    """All values are text, as application properties are."""
    message = to_message(Reading(ROW, 2, 17), replace(Settings(), drive_id="monday"), 40, "x")
    assert message.custom_properties == {"driveId": "monday", "lap": "2", "row": "17", "sequence": "40"}
    stale = to_message(Reading(ROW, stale=True), Settings(), 1, "x")
    assert stale.custom_properties["stale"] == "true"


@pytest.mark.parametrize(
    ("speed", "acceleration", "found"),
    [
        (45.0, -0.19, []),
        (45.001, 0.0, ["speeding"]),
        (0.0, -0.2, ["braking"]),
        (50.0, -0.5, ["braking", "speeding"]),
        (0.0, 0.5, []),
    ],
)
def test_alerts(speed, acceleration, found):
    """At or below the braking limit, above the speed limit; the gravest is `alert`, each has a flag of its own."""
    row = replace(ROW, speed=speed, acceleration_gs=acceleration)
    assert alerts(row, Settings()) == found
    properties = to_message(Reading(row), Settings(), 1, "x").custom_properties
    assert properties.get("alert") == (found[0] if found else None)
    assert {name for name in ("braking", "speeding") if properties.get(name) == "true"} == set(found)


def test_limits_can_be_set():
    """Other limits, other alerts."""
    settings = replace(Settings(), speed_limit=30.0, braking_limit=-9.0)
    assert alerts(replace(ROW, acceleration_gs=-1.0), settings) == ["speeding"]


class Controls:
    """A car that a method acts on."""

    def __init__(self):
        self.speed, self.paused = 1.0, False

    def set_speed(self, speed):
        if speed > 1000:
            raise UsageError("too fast")
        self.speed = speed

    def set_paused(self, *, paused):
        self.paused = paused

    def status(self):
        return {"speed": self.speed, "messagesPerSecond": 2 * self.speed, "paused": self.paused}


METHODS = [
    ("setSpeed", {"speed": 4}, 200, {"speed": 4, "messagesPerSecond": 8}),
    ("setSpeed", {"speed": 0.5, "more": 1}, 200, {"speed": 0.5, "messagesPerSecond": 1.0}),
    ("setSpeed", {"speed": 2000}, 400, {"error": "too fast"}),
    ("pause", None, 200, {"paused": True}),
    ("resume", {"any": "thing"}, 200, {"paused": False}),
    ("status", None, 200, {"speed": 1.0, "messagesPerSecond": 2.0, "paused": False}),
]


@pytest.mark.parametrize(("name", "payload", "status", "answered"), METHODS)
def test_methods(name, payload, status, answered):
    """Status and payload of each, as documented."""
    assert answer(Controls(), name, payload) == (status, answered)


@pytest.mark.parametrize(
    "payload", [None, 4, "4", [4], {}, {"speed": "4"}, {"speed": True}, {"speed": None}, {"speed": math.nan}]
)
def test_payloads_that_do_not_fit(payload):
    """400, with what was given and what belongs there; nothing changes."""
    controls = Controls()
    status, answered = answer(controls, "setSpeed", payload)
    assert status == 400
    assert '{"speed": 10}' in answered["error"]
    assert controls.speed == 1.0


@pytest.mark.parametrize("name", ["stop", "SetSpeed", "", "x" * 500])
def test_methods_that_there_are_not(name):
    """404, with those that there are."""
    status, answered = answer(Controls(), name, None)
    assert status == 404
    assert answered["error"].endswith("there are setSpeed, pause, resume, status")
    assert len(answered["error"]) < 200


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({}, {"a": 1, "b": None}, {"a": 1}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": True}, {"a": True}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": 1}, {}, {"a": None}),
        ({"a": None}, {}, {}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}}, {"a": {"y": 3}}),
        ({"a": {"x": 1}}, {"a": {}}, {"a": {"x": None}}),
        ({"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": {"x": 1}}, {"a": 1}, {"a": 1}),
        ({}, {"a": {}}, {}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 2]}),
    ],
)
def test_a_report_says_what_is_new(before, after, patch):
    """The patch makes one of the other, as the hub merges it, and has nothing that the hub knows."""
    assert difference(before, after) == patch


def test_what_an_earlier_run_has_reported():
    """The hub's own members are not the module's."""
    twin = {"reported": {"$version": 4, "$metadata": {}, "rate": 1.0}, "desired": {}}
    assert reported(twin) == {"rate": 1.0}
    assert reported({}) == {}
