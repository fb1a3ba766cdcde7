"""Reading events: what edges say, who said it, and what is no such message."""

import json
import math
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from iotedge_lab.rollout.messages import Prediction, Request, Sender, read

NOW = datetime(2026, 3, 2, tzinfo=UTC)
PREDICTED = {
    "driveId": "d", "time": "t", "seconds": 1.5, "predicted": 30.0, "actual": 28.0, "error": 2.0,
    "low": None, "high": None, "warmup": False, "modelVersion": "3",
}  # fmt: skip
ASKED = {"name": "car-speed", "version": "3", "sha256": "a" * 64, "blob": "models/car-speed/3/model.onnx"}


def event(body, kind="prediction", **more):
    text = body if isinstance(body, str) else json.dumps(body)
    return SimpleNamespace(
        properties={b"messageType": kind.encode()} if kind else None,
        system_properties={
            b"iothub-connection-device-id": b"edge", b"iothub-connection-module-id": b"ModuleFilterCar"
        },
        enqueued_time=NOW,
        body_as_str=lambda: text,
    )  # fmt: skip


def test_a_prediction():
    """Its numbers; the sender as the hub has it, not as the message says."""
    found = read(event(PREDICTED | {"device": "another"}))
    assert isinstance(found, Prediction)
    assert found.sender == Sender("edge", "ModuleFilterCar")
    assert (found.drive, found.seconds, found.error, found.version, found.beside) == (
        "d",
        1.5,
        2.0,
        "3",
        None,
    )
    assert (found.enqueued, found.warmup) == (NOW, False)


def test_with_a_challenger():
    """Its error is worked out here; a challenger without a number does not spoil the champion's row."""
    beside = {"modelVersion": 4, "predicted": 27.0, "error": 99.0}
    assert read(event(PREDICTED | {"challenger": beside})).beside.error == 1.0
    assert read(event(PREDICTED | {"challenger": beside})).beside.version == "4"
    assert read(event(PREDICTED | {"challenger": None})).beside is None
    for none in (None, "x", math.nan):
        found = read(event(PREDICTED | {"challenger": beside | {"predicted": none}}))
        assert (found.error, found.beside.error) == (2.0, math.inf)


def test_a_request():
    """Four words."""
    found = read(event(ASKED, "modelRequest"))
    assert found == Request(Sender("edge", "ModuleFilterCar"), "car-speed", "3", "a" * 64, ASKED["blob"])


@pytest.mark.parametrize("kind", ["", "detection", "telemetry"])
def test_others(kind):
    """Whatever else comes by is not looked into."""
    assert read(event("no JSON", kind)) is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("no JSON", "prediction"),
        ("[1]", "prediction"),
        (json.dumps(PREDICTED | {"predicted": math.nan}), "prediction"),
        (json.dumps(PREDICTED | {"actual": "30"}), "prediction"),
        (json.dumps(PREDICTED | {"seconds": True}), "prediction"),
        (json.dumps({key: value for key, value in PREDICTED.items() if key != "modelVersion"}), "prediction"),
        (json.dumps(ASKED | {"blob": ""}), "modelRequest"),
        (json.dumps(ASKED | {"sha256": {}}), "modelRequest"),
    ],
)
def test_what_is_not_what_it_says(body, kind):
    """Refused, so that it is counted."""
    with pytest.raises(ValueError, match=r".+"):
        read(event(body, kind))
