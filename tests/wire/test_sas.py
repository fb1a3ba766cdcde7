"""Shared access signatures: those of the SDKs verify, and nothing else does."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.errors import Unauthorized, UsageError
from iotedge_lab.wire import sas

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(range(1, 33))).decode()
NOW = 1_700_000_000


def _device_sdk(resource, key):
    from azure.iot.device.common.auth import SymmetricKeySigningMechanism
    from azure.iot.device.common.auth.sastoken import RenewableSasToken

    return str(RenewableSasToken(resource, SymmetricKeySigningMechanism(key)))


def _hub_rest(resource, key):
    from azure.iot.hub.sastoken import SasToken

    return str(SasToken(resource, key, "iothubowner"))


def _hub_amqp(resource, key):
    """What azure-iot-hub's C2D client gives to uamqp, which asks for it when it connects."""
    from azure.iot.hub import iothub_amqp_client

    seen = []

    class Stop(Exception):
        pass

    class Auth:
        def __init__(self, get_token, **_):
            seen.append(get_token().token)
            raise Stop

    old = iothub_amqp_client.uamqp.authentication.JWTTokenAuth
    iothub_amqp_client.uamqp.authentication.JWTTokenAuth = Auth
    try:
        with pytest.raises(Stop):
            iothub_amqp_client.IoTHubAmqpClientSharedAccessKeyAuth(resource, "service", key)
    finally:
        iothub_amqp_client.uamqp.authentication.JWTTokenAuth = old
    return seen[0]


def _event_hubs(resource, key):
    from azure.eventhub._client_base import EventHubSharedKeyCredential

    return EventHubSharedKeyCredential("iothubowner", key).get_token(resource).token


# Who signs, what for; then `sr` as it must be sent, the key name, and whether the key is taken as text.
SDKS = {
    "a device": (
        _device_sdk,
        "lab.azure-devices.net/devices/dev1",
        "lab.azure-devices.net%2Fdevices%2Fdev1",
        None,
        False,
    ),
    "a module": (
        _device_sdk,
        "h/devices/d(1)!/modules/$edgeHub",
        "h%2Fdevices%2Fd%281%29%21%2Fmodules%2F%24edgeHub",
        None,
        False,
    ),
    "the service, REST": (_hub_rest, "localhost:8443", "localhost%3A8443", "iothubowner", False),
    "the service, AMQP": (_hub_amqp, "localhost", "localhost", "service", False),
    "Event Hubs": (
        _event_hubs,
        "sb://127.0.0.1:5672/hub",
        "sb%3A%2F%2F127.0.0.1%3A5672%2Fhub",
        "iothubowner",
        True,
    ),
}


@pytest.mark.parametrize(("maker", "resource", "sent", "name", "raw"), SDKS.values(), ids=SDKS.keys())
def test_tokens_of_the_sdks(maker, resource, sent, name, raw):
    """The unmodified SDK's token is read and verified; another key, or the key read otherwise, is refused."""
    if maker in (_hub_rest, _hub_amqp):
        pytest.importorskip("uamqp", reason="azure-iot-hub cannot be imported without it")
    token = sas.parse(maker(resource, KEY))
    assert (token.resource, token.resource_decoded, token.key_name) == (sent, resource, name)
    sas.verify(token, KEY, token.expiry - 1, raw_key=raw)
    for key, wrong_raw in ((OTHER, raw), (KEY, not raw)):
        with pytest.raises(Unauthorized, match="another key"):
            sas.verify(token, key, token.expiry - 1, raw_key=wrong_raw)


def test_a_signature_worked_out_by_hand():
    """HMAC-SHA256 over resource, line feed and expiry, with nothing of the library in between."""
    import hashlib
    import hmac

    digest = hmac.new(bytes(range(32)), b"h%2Fdevices%2Fd\n1700000000", hashlib.sha256).digest()
    assert sas.sign("h%2Fdevices%2Fd", NOW, KEY) == base64.b64encode(digest).decode()
    text = hmac.new(KEY.encode(), b"x\n5", hashlib.sha256).digest()
    assert sas.sign("x", 5, KEY, raw_key=True) == base64.b64encode(text).decode()


@pytest.mark.parametrize("sent", ["h%2fdevices%2fd", "h%2Fdevices%2Fd", "h/devices/d"])
def test_the_resource_is_taken_as_sent(sent):
    """Escapes in small or capital letters, or none, verify as they were signed and not as one another."""
    token = sas.parse(f"SharedAccessSignature sr={sent}&sig={sas.sign(sent, NOW, KEY)}&se={NOW}")
    assert token.resource_decoded == "h/devices/d"
    sas.verify(token, KEY, NOW - 1)
    with pytest.raises(Unauthorized):
        sas.verify(sas.SasToken(sent + "%20", token.signature, NOW), KEY, NOW - 1)


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.binary(min_size=1).map(lambda key: base64.b64encode(key).decode()),
    st.integers(1, 10**12),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_what_is_built_verifies(resource, key, expiry, name):
    """Any resource and name come through, and the last second is still right."""
    token = sas.parse(sas.build(resource, key, expiry, name))
    assert (token.resource_decoded, token.expiry, token.key_name) == (resource, expiry, name)
    sas.verify(token, key, expiry - 1)


def test_parts_may_come_in_any_order():
    """Order, parts of other senders, and a prefix in small letters make no difference."""
    signature = sas.sign("h", NOW, KEY)
    token = sas.parse(f"sharedaccesssignature se={NOW}&skn=&x=1&sig={signature}&sr=h&x=2")
    sas.verify(token, KEY, 0)
    assert token.key_name is None


def test_a_plus_that_was_not_encoded():
    """Base64 in plain letters, '+' and '/' included, is read as it stands."""
    assert sas.parse("SharedAccessSignature sr=h&sig=a+/b=&se=1").signature == "a+/b="


MALFORMED = {
    "": "begin",
    "sr=h&sig=SECRET&se=1": "begin",
    "Bearer SECRET": "begin",
    "SharedAccessSignature ": "without '='",
    "SharedAccessSignature sig=SECRET&se=1": r"resource \(sr=\)",
    "SharedAccessSignature sr=&sig=SECRET&se=1": r"resource \(sr=\)",
    "SharedAccessSignature sr=h&se=1": r"signature \(sig=\)",
    "SharedAccessSignature sr=h&sig=SECRET": r"expiry \(se=\)",
    "SharedAccessSignature sr=h&sig=SECRET&se=soon": "whole number",
    "SharedAccessSignature sr=h&sig=SECRET&se=-1": "whole number",
    "SharedAccessSignature sr=h&sig=SECRET&se=1.5": "whole number",
    "SharedAccessSignature sr=h&sig=SECRET&se=²": "whole number",
    "SharedAccessSignature sr=h&sig=SECRET&se=" + "9" * 5000: "whole number",
    "SharedAccessSignature sr=h&sig=SECRET&sig=SECRET&se=1": "sig= twice",
    "SharedAccessSignature sr=h&SECRET&se=1": "without '='",
}


@pytest.mark.parametrize(("token", "message"), MALFORMED.items())
def test_malformed_tokens(token, message):
    """The part that is missing is named, and nothing of the token is shown."""
    with pytest.raises(Unauthorized, match=message) as caught:
        sas.parse(token)
    assert "SECRET" not in str(caught.value)


def test_expiry_and_signature_are_told_apart():
    """A token that is too old says by how much; one that is wrong as well says only that it is wrong."""
    token = sas.parse(sas.build("h/devices/d", KEY, NOW))
    sas.verify(token, KEY, NOW - 1)
    with pytest.raises(Unauthorized, match=r"expired 90 s ago"):
        sas.verify(token, KEY, NOW + 90)
    with pytest.raises(Unauthorized, match="expired"):
        sas.verify(token, KEY, NOW)
    with pytest.raises(Unauthorized, match="another key") as caught:
        sas.verify(token, OTHER, NOW + 90)
    for secret in (token.signature, KEY, OTHER):
        assert secret not in str(caught.value)
    assert token.signature not in repr(token)


@pytest.mark.parametrize("signature", ["", "x", "ä", "\ud800", "A" * 44])
def test_wrong_signatures(signature):
    """Whatever stands for a signature is refused, not stumbled over."""
    with pytest.raises(Unauthorized):
        sas.verify(sas.SasToken("h", signature, NOW), KEY, 0)


def test_each_part_is_signed():
    """Another resource or another expiry under the same signature is refused."""
    token = sas.parse(sas.build("h/devices/d", KEY, NOW))
    for changed in (
        sas.SasToken(token.resource + "0", token.signature, NOW),
        sas.SasToken(token.resource, token.signature, NOW + 1),
    ):
        with pytest.raises(Unauthorized, match="another key"):
            sas.verify(changed, KEY, 0)


def test_primary_and_secondary_key():
    """Either key of an identity does, and the one that fits is told."""
    token = sas.parse(sas.build("h", KEY, NOW))
    assert sas.verify_any(token, [KEY, OTHER], 0) == 0
    assert sas.verify_any(token, [OTHER, KEY], 0) == 1
    with pytest.raises(Unauthorized):
        sas.verify_any(token, [], 0)


@pytest.mark.parametrize("key", ["", "abc", "not base64!", "YWJj\n", "YWJjZA=", "ä"])
def test_malformed_keys(key):
    """A key that is not base64 is our caller's mistake, and is not shown."""
    with pytest.raises(UsageError, match="not base64") as caught:
        sas.build("h", key, NOW)
    assert not key or repr(key) not in str(caught.value)


@pytest.mark.parametrize(
    ("token", "target", "covers"),
    [
        ("h", "h", True),
        ("h", "h/devices/dev1", True),
        ("h/", "h/devices/dev1", True),
        ("h/devices/dev1", "h/devices/dev1", True),
        ("h/devices/dev1/", "h/devices/dev1", True),
        ("h/devices/dev1", "h/devices/dev1/modules/m", True),
        ("h/devices/dev1/modules/m", "h/devices/dev1", False),
        ("h/devices/dev1", "h/devices/dev10", False),
        ("h/devices/dev10", "h/devices/dev1", False),
        ("h/devices/dev1", "h/devices/DEV1", False),
        ("h/devices/dev1", "h", False),
        ("H.Example", "h.example/devices/d", True),
        ("h:8443", "h/devices/d", True),
        ("h", "h:8443/devices/d", True),
        ("h2", "h/devices/d", False),
        ("h", "h2/devices/d", False),
        ("sb://h:5672/hub", "h/hub", True),
        ("sb://h/hub", "h/hub2", False),
        ("sb://h/", "sb://h/hub/ConsumerGroups/$Default", True),
        ("https://h", "h", True),
        ("[::1]:8443", "[::1]/devices/d", True),
        ("[::1]:8443", "[::2]/devices/d", False),
        ("", "h", False),
        ("", "", False),
        ("/devices/d", "h/devices/d", False),
        ("h//devices/d", "h/devices/d", True),
        ("h/devices//d", "h/devices/d", False),
    ],
)
def test_scope(token, target, covers):
    """A token speaks for its resource and all below it, segment by segment."""
    assert sas.scope_covers(token, target) is covers
