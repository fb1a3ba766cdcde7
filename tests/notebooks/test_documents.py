"""Documents of the hub: readable, without noise, and without a key, whatever form they come in."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from azure.iot.hub.models import Device, Module, Twin

from iotedge_lab.errors import ConnectionStringError, UsageError
from iotedge_lab.show import documents

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I="
IDENTITY = {
    "deviceId": "edge-1",
    "generationId": "5",
    "etag": "MQ==",
    "status": "enabled",
    "statusReason": None,
    "connectionState": "Disconnected",
    "authentication": {
        "type": "sas",
        "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY},
        "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
    },
    "capabilities": {"iotEdge": True},
    "deviceScope": "ms-azure-iot-edge://edge-1-5",
}
SHOWN = {
    "deviceId": "edge-1",
    "generationId": "5",
    "etag": "MQ==",
    "status": "enabled",
    "connectionState": "Disconnected",
    "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "***", "secondaryKey": "***"}},
    "capabilities": {"iotEdge": True},
    "deviceScope": "ms-azure-iot-edge://edge-1-5",
}


@pytest.mark.parametrize("form", [dict, Device.deserialize], ids=["REST", "SDK"])
def test_an_identity_shows_everything_but_its_keys(form: Callable[[dict[str, Any]], Any]) -> None:
    """Keys are ***, nulls are left out, names are in alphabetical order; in text and in HTML."""
    shown = documents.identity(form(IDENTITY))
    assert json.loads(repr(shown)) == SHOWN
    assert list(json.loads(repr(shown))) == sorted(SHOWN)
    assert KEY[:12] not in repr(shown) + shown._repr_html_()
    assert "&quot;iotEdge&quot;: true" in shown._repr_html_()


def test_a_modules_identity_shows_no_key_either() -> None:
    """A module is masked as a device is."""
    module = {"deviceId": "edge-1", "moduleId": "$edgeHub", "authentication": IDENTITY["authentication"]}
    shown = repr(documents.identity(Module.deserialize(module)))
    assert json.loads(shown)["authentication"] == SHOWN["authentication"]


TWIN = {
    "deviceId": "car-1",
    "etag": "AAAA",
    "tags": {"iotedgeLab": True, "list": [{"sasToken": "SharedAccessSignature"}]},
    "properties": {
        "desired": {"a": 1, "$version": 2, "$metadata": {"$lastUpdated": "now"}},
        "reported": {"$version": 1, "$metadata": {}},
    },
}


@pytest.mark.parametrize("form", [dict, Twin.deserialize], ids=["REST", "SDK"])
def test_a_twin_shows_both_sides_without_metadata(form: Callable[[dict[str, Any]], Any]) -> None:
    """Id, tags, desired and reported stay, `$metadata` and the rest go, secrets in lists too are masked."""
    assert json.loads(repr(documents.twin(form(TWIN)))) == {
        "deviceId": "car-1",
        "tags": {"iotedgeLab": True, "list": [{"sasToken": "***"}]},
        "properties": {"desired": {"a": 1, "$version": 2}, "reported": {"$version": 1}},
    }


@pytest.mark.parametrize("show", [documents.identity, documents.twin])
def test_what_is_no_model_is_refused_with_what_to_hand_over(show: Callable[[Any], Any]) -> None:
    """An id in place of the identity is the usual slip."""
    with pytest.raises(UsageError, match=r"registry\.get_device"):
        show("car-1")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"HostName=h;DeviceId=d;SharedAccessKey={KEY}", "HostName=h;DeviceId=d;SharedAccessKey=***"),
        (
            f"HostName=h;SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}",
            "HostName=h;SharedAccessKeyName=iothubowner;SharedAccessKey=***",
        ),
        (
            "Endpoint=sb://h/;SharedAccessSignature=SharedAccessSignature sr=h&sig=abcdefgh&se=1",
            "Endpoint=sb://h/;SharedAccessSignature=***",
        ),
        ("HostName=h;DeviceId=d;x509=true", "HostName=h;DeviceId=d;x509=true"),
    ],
)
def test_a_connection_string_shows_its_parts_and_no_secret(text: str, shown: str) -> None:
    """The line is whole but for key or signature."""
    assert repr(documents.connection_string(text)) == shown


def test_what_is_no_connection_string_is_refused_without_being_shown() -> None:
    """Somebody who hands over a bare key does not read it in the error."""
    with pytest.raises(ConnectionStringError) as caught:
        documents.connection_string(KEY)
    assert KEY[:12] not in str(caught.value)


def _error(body: str, status: int = 404, **headers: str) -> Exception:
    error = RuntimeError("Operation returned an invalid status code 'Not Found'")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    error.response = SimpleNamespace(text=body, status_code=status, headers=named)  # type: ignore[attr-defined]
    return error


REFUSALS = [
    (
        json.dumps(
            {
                "Message": "ErrorCode:DeviceNotOnline;it is away",
                "ExceptionMessage": 'Tracking ID:1-TimeStamp:2;{"errorCode": 404103, "message": "it is away"}',
            }
        ),
        {},
        {"httpStatus": 404, "errorCode": 404103, "name": "DeviceNotOnline", "message": "it is away"},
    ),
    (
        json.dumps({"Message": json.dumps({"errorCode": 404103, "message": "it is away"})}),
        {"iothub_errorcode": "DeviceNotOnline"},
        {"httpStatus": 404, "errorCode": 404103, "name": "DeviceNotOnline", "message": "it is away"},
    ),
    (json.dumps({"Message": "[1]"}), {}, {"httpStatus": 404, "message": "[1]"}),
    ("Bad gateway\n", {}, {"httpStatus": 404, "message": "Bad gateway"}),
    ("[]", {}, {"httpStatus": 404, "message": "[]"}),
]


@pytest.mark.parametrize(("body", "headers", "shown"), REFUSALS)
def test_a_refusal_is_read_in_each_form_that_hubs_give_it(
    body: str, headers: dict[str, str], shown: dict[str, Any]
) -> None:
    """Status, code, word and sentence are found, wrapped either way; what is not there is left out."""
    assert json.loads(repr(documents.refusal(_error(body, **headers)))) == shown


def test_an_error_without_an_answer_is_no_refusal() -> None:
    """A lost connection has no response, and the words say which error would have one."""
    with pytest.raises(UsageError, match=r"ConnectionError carries no answer.*HttpOperationError"):
        documents.refusal(ConnectionError("gone"))
