"""What a body of a job may say, and what is wrong with one that says something else."""

import pytest
from scheduling import TAG, method, update

from iotedge_lab.errors import ArgumentInvalid, ArgumentNull, PreconditionFailed
from iotedge_lab.hub.jobs.job import DEFAULT_SECONDS, Draft, Kind


def test_a_twin_update():
    """Tags and desired properties; all else that the SDK's model of a twin has is left out."""
    twin = TAG | {
        "properties": {"desired": {"rate": 5}, "reported": {"x": 1}},
        "deviceId": None,
        "version": 3,
    }
    draft = Draft.read("job-1", update("tags.floor = 3", twin))
    assert (draft.kind, draft.condition, draft.start) == (Kind.TWIN, "tags.floor = 3", None)
    assert draft.content == {"tags": {"done": True}, "properties": {"desired": {"rate": 5}}}
    assert draft.seconds == DEFAULT_SECONDS


def test_a_method():
    """As the body of a direct method has it."""
    body = method(name="blink", payload=[1], maxExecutionTimeInSeconds=20, jobId="job-1")
    draft = Draft.read("job-1", body)
    assert draft.kind is Kind.METHOD
    assert draft.content == {"methodName": "blink", "payload": [1]}
    assert draft.seconds == 20


TIMES = [
    ("2030-01-31T12:00:00Z", 1896091200.0),
    ("2030-01-31T13:00:00+01:00", 1896091200.0),
    ("2030-01-31T12:00:00", 1896091200.0),  # none named: UTC
    ("2030-01-31T12:00:00.1234567Z", 1896091200.123456),  # as .NET writes it
    (None, None),
    ("", None),
]


@pytest.mark.parametrize(("given", "seconds"), TIMES)
def test_start_times(given, seconds):
    """ISO 8601, with any zone; without one a job begins at once."""
    assert Draft.read("j", update(startTime=given)).start == seconds


WRONG = [
    # what is changed in a good body, and what the message says
    ({"type": "scheduleTwinUpdate"}, "type is 'scheduleTwinUpdate'"), ({"type": None}, "type is None"),
    ({"type": ["scheduleUpdateTwin"]}, "type is"), ({"type": "export"}, "type is 'export'"),
    ({"jobId": "other"}, "jobId is 'other'"), ({"jobId": 5}, "jobId is 5"),
    ({"queryCondition": None}, "queryCondition is missing"), ({"queryCondition": ""}, "queryCondition is missing"),
    ({"queryCondition": 5}, "queryCondition is a text"), ({"queryCondition": ["a"]}, "queryCondition is a text"),
    ({"startTime": "tomorrow"}, "startTime is a time"), ({"startTime": 1896091200}, "startTime is a time"),
    ({"startTime": "9999-12-31T23:59:59-12:00"}, "startTime is a time"),
    ({"startTime": "0001-01-01T00:00:00+12:00"}, "startTime is a time"),
    ({"startTime": "2030-02-30T00:00:00Z"}, "startTime is a time"), ({"startTime": {}}, "startTime is a time"),
    ({"maxExecutionTimeInSeconds": -1}, "whole number"), ({"maxExecutionTimeInSeconds": "60"}, "whole number"),
    ({"maxExecutionTimeInSeconds": 1.5}, "whole number"), ({"maxExecutionTimeInSeconds": True}, "whole number"),
    ({"maxExecutionTimeInSeconds": 2**31}, "whole number"),
    ({"updateTwin": None}, "has updateTwin"), ({"updateTwin": []}, "has updateTwin"),
    ({"updateTwin": {"etag": "*"}}, "neither tags nor"),
    ({"updateTwin": {"etag": "*", "desired": {"a": 1}}}, "neither tags nor"),
    ({"updateTwin": {"etag": "*", "tags": 5}}, "tags"), ({"updateTwin": {"etag": "*", "tags": {"a.b": 1}}}, "a.b"),
    ({"updateTwin": {"etag": "*", "properties": {"desired": [1]}}}, "properties.desired is a JSON object"),
    ({"updateTwin": {"etag": "*", "properties": {"desired": {"a": "x" * 5000}}}}, "4096"),
    ({"updateTwin": {"etag": "*", "properties": []}}, "neither tags nor"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "word"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong(change, word):
    """Each is a 400 that names the field."""
    with pytest.raises(ArgumentInvalid) as caught:
        Draft.read("j", update() | change)
    assert word in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("etag", [None, "", "AAAAAAAAAAE=", 5])
def test_another_etag(etag):
    """A job updates twins whatever their version; on Azure any other etag than '*' is a 412."""
    with pytest.raises(PreconditionFailed, match=r"etag='\*'"):
        Draft.read("j", update(twin=TAG | {"etag": etag}))


@pytest.mark.parametrize(
    "call", [None, [], {}, {"methodName": ""}, {"methodName": "m", "responseTimeoutInSeconds": 1}]
)
def test_methods_that_are_none(call):
    """As for a direct method by itself."""
    with pytest.raises(ArgumentInvalid):
        Draft.read("j", method() | {"cloudToDeviceMethod": call})
    with pytest.raises(ArgumentNull, match="has cloudToDeviceMethod"):
        Draft.read("j", update() | {"type": "scheduleDeviceMethod"})


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "a_b", "ä", "a/b", "a.b", "j\n"])
def test_ids_that_are_none(name):
    """1 to 64 letters, digits and dashes."""
    with pytest.raises(ArgumentInvalid, match="no id of a job"):
        Draft.read(name, update())
    Draft.read("A-z0-9" + "x" * 58, update())
