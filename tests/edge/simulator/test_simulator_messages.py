"""What is posted to the simulator: the body, word for word as the testing utility takes it, and what is refused."""

import json

import pytest

from iotedge_lab.edge.simulator.messages import read_posted
from iotedge_lab.errors import UsageError
from iotedge_lab.wire.topics import decode_properties

INPUTS = ("input1", "input2")

TAKEN = [
    # what is posted, the body that the module gets, its properties
    ({"data": "hello world"}, b'"hello world"', {}),
    ({"data": {"a": [1, 2.5, None, True]}}, b'{"a":[1,2.5,null,true]}', {}),
    ({"data": [{"field1": "1.0"}]}, b'[{"field1":"1.0"}]', {}),
    ({"data": "Zürich 🚗"}, '"Zürich 🚗"'.encode(), {}),
    ({"data": 0}, b"0", {}),
    ({"data": False}, b"false", {}),
    ({"data": ""}, b'""', {}),
    (
        {"data": 1, "properties": {"a": "b c", "test": True, "n": 1.5}},
        b"1",
        {"a": "b c", "test": "true", "n": "1.5"},
    ),
    ({"data": 1, "properties": None}, b"1", {}),
    ({"data": 1, "properties": {"a/b&c=d": "%?#"}}, b"1", {"a/b&c=d": "%?#"}),
]


@pytest.mark.parametrize(("said", "body", "properties"), TAKEN)
def test_a_message(said, body, properties):
    """The data arrives as JSON without blanks, properties as text."""
    posted = read_posted(json.dumps({"inputName": "input2", **said}).encode(), INPUTS)
    assert (posted.input, posted.body) == ("input2", body)
    system, given = decode_properties(posted.bag)
    assert system == {"iothub-outputname": "input2"}
    assert given == properties


def test_system_properties():
    """messageId, correlationId and userId are those of the message."""
    said = {"inputName": "input1", "data": 1, "messageId": "m 1", "correlationId": "c", "userId": 7}
    system, _ = decode_properties(read_posted(json.dumps(said).encode(), INPUTS).bag)
    assert system == {
        "iothub-outputname": "input1",
        "message-id": "m 1",
        "correlation-id": "c",
        "user-id": "7",
    }


def test_half_a_surrogate_pair_is_escaped():
    """As `JSON.stringify` writes it: what arrives is JSON in UTF-8 in any case."""
    posted = read_posted(rb'{"inputName": "input1", "data": "\ud83d"}', INPUTS)
    assert posted.body == rb'"\ud83d"'


REFUSED = [
    (b"", "No request body provided"),
    (b"  ", "No request body provided"),
    (b"{", "Failed to parse the message JSON - please ensure that JSON is valid"),
    (b'{"inputName": "input1", "data": NaN}', "JSON is valid"),
    (b"[" * 100_000, "JSON is valid"),
    (b"[]", "is a JSON array"),
    (b"null", "is a JSON null"),
    (b'{"data": 1}', "Cannot get inputName in request body"),
    (b'{"channel": "input1", "data": 1}', "Cannot get inputName in request body"),
    (b'{"inputName": 7, "data": 1}', "Cannot get inputName in request body"),
    (b'{"inputName": "input3", "data": 1}', 'start it with -i "input1,input2,input3"'),
    (b'{"inputName": "input1"}', "Cannot find message data in request body"),
    (b'{"inputName": "input1", "data": null}', "Cannot find message data in request body"),
    (b'{"inputName": "input1", "data": 1, "properties": [1]}', "is a JSON array"),
    (b'{"inputName": "input1", "data": 1, "properties": {"a": {}}}', "'a' is a JSON object"),
    (b'{"inputName": "input1", "data": 1, "properties": {"$.mid": "x"}}', "begins with '$.'"),
    (b'{"inputName": "input1", "data": 1, "properties": {"": "x"}}', "is empty"),
    (rb'{"inputName": "input1", "data": 1, "properties": {"a": "\ud83d"}}', "'a' is a JSON text"),
    (b'{"inputName": "input1", "data": 1, "messageId": []}', "'messageId' is a JSON array"),
    (json.dumps({"inputName": "input1", "data": "x" * 262_143}).encode(), "262145 bytes as JSON"),
]


@pytest.mark.parametrize(("body", "word"), REFUSED, ids=[each[1][:40] for each in REFUSED])
def test_what_is_refused(body, word):
    """With a word that says what to post instead."""
    with pytest.raises(UsageError) as refused:
        read_posted(body, INPUTS)
    assert word in str(refused.value)


def test_the_largest_message():
    """256 KB of JSON and no byte more."""
    said = json.dumps({"inputName": "input1", "data": "x" * 262_142}).encode()
    assert len(read_posted(said, INPUTS).body) == 262_144
