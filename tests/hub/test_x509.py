"""Devices that authenticate by certificate: thumbprints, authorities, over every protocol, with the vendor's SDK."""

import contextlib
import json
import time
from datetime import UTC, datetime

import pytest
import requests
from azure.iot.device import X509, IoTHubDeviceClient, IoTHubModuleClient
from azure.iot.device.aio import IoTHubDeviceClient as AioDeviceClient
from azure.iot.device.exceptions import CredentialError
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from finding import annotations, find
from house import HOST, FakeTransport
from leftovers import collect_leftovers
from pki import authority, issue

from iotedge_lab.errors import ArgumentInvalid, HubNotRunning, QuotaExceeded, Unauthorized
from iotedge_lab.hub.certificates import AUTHORITIES
from iotedge_lab.hub.mqtt_front import MqttFront
from iotedge_lab.lab import Lab
from iotedge_lab.rest import RestError
from iotedge_lab.serve.sniffing import ConnectionInfo
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.packets import ConnackCode

BY_X509 = {"scope": "device", "type": "x509Certificate", "issuer": "external", "acceptingIpFilterRule": None}


def _self_signed(pair, *, secondary=None, digest="sha1"):
    thumbs = {"primaryThumbprint": getattr(pair, digest)}
    if secondary:
        thumbs["secondaryThumbprint"] = getattr(secondary, digest)
    return {"type": "selfSigned", "x509Thumbprint": thumbs}


@pytest.fixture(autouse=True)
def _tidy(request):
    """After each test with the vendor's clients."""
    yield
    if "lab" in request.fixturenames:
        collect_leftovers()


# -- the rules, without a protocol ---------------------------------------------------------------------


@pytest.fixture
def make(house):
    """`issue` by the house's clock."""
    now = datetime.fromtimestamp(house.clock.now(), UTC)
    return lambda *args, **options: issue(*args, now=now, **options)


@pytest.fixture
def root(house):
    """An authority that the house trusts."""
    made = authority(now=datetime.fromtimestamp(house.clock.now(), UTC))
    house.hub.certificates.register("root", made.pem)
    return made


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
@pytest.mark.parametrize("which", [0, 1])
def test_either_thumbprint_opens(house, make, digest, which):
    """Primary and secondary, SHA-1 and SHA-256."""
    pairs = (make("any name"), make("another"))
    house.register("d", authentication=_self_signed(pairs[0], secondary=pairs[1], digest=digest))
    admission = house.hub.devices.admit(HOST, "d", "", None, pairs[which].sent)
    assert (admission.identity.device, admission.expiry) == ("d", None)
    assert json.loads(admission.auth_method) == BY_X509


def _with_colons(text):
    return ":".join(text[at : at + 2] for at in range(0, len(text), 2))


@pytest.mark.parametrize("spell", [str.upper, str.lower, _with_colons])
def test_spellings_of_a_thumbprint(house, make, spell):
    """Case and colons do not matter."""
    pair = make("d")
    body = {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": spell(pair.sha1)}}
    house.register("d", authentication=body)
    house.hub.devices.admit(HOST, "d", "", None, pair.sent)


THUMB_FAULTS = {
    "another certificate": (lambda make, _: make("d").sent, "not a registered one"),
    "none": (lambda *_: (), "showed no certificate"),
    "rubbish": (lambda *_: (b"\x30\x03abc",), "cannot be read"),
    "the right one behind another": (
        lambda make, good: (*make("d").sent, *good.sent),
        "not a registered one",
    ),
    "an authority's": (lambda make, _: make("d", ca=True).sent, "not a registered one"),
}


@pytest.mark.parametrize("fault", THUMB_FAULTS)
def test_a_wrong_certificate_is_told_what_is_wrong(house, make, fault):
    """401002 with the reason."""
    sent, word = THUMB_FAULTS[fault]
    good = make("d")
    house.register("d", authentication=_self_signed(good))
    house.hub.devices.admit(HOST, "d", "", None, good.sent)
    with pytest.raises(Unauthorized, match=word):
        house.hub.devices.admit(HOST, "d", "", None, sent(make, good))


@pytest.mark.parametrize("kind", ["selfSigned", "certificateAuthority"])
def test_the_dates_count_by_the_hubs_clock(house, make, root, kind):
    """Before its first moment and after its last a certificate opens nothing."""
    pair = make("d", root if kind == "certificateAuthority" else None, days=(1, 2))
    house.register("d", authentication=_self_signed(pair) | {"type": kind})
    admit = lambda: house.hub.devices.admit(HOST, "d", "", None, pair.sent)  # noqa: E731 - asked thrice
    with pytest.raises(Unauthorized, match="is valid from"):
        admit()
    house.clock.advance(86_400)
    admit()
    house.clock.advance(86_401)
    with pytest.raises(Unauthorized, match="ended at"):
        admit()


def test_a_certificate_does_not_open_a_device_with_keys(house, make):
    """The kind of the identity decides, not what the client shows; and the other way round."""
    pair = make("d")
    house.register("keys")
    house.register("cert", authentication=_self_signed(pair))
    with pytest.raises(Unauthorized, match="authenticates by SAS"):
        house.hub.devices.admit(HOST, "keys", "", None, pair.sent)
    with pytest.raises(Unauthorized, match="selfSigned"):
        house.hub.devices.admit(HOST, "cert", "", house.token("cert", key="a2V5" * 8), pair.sent)
    house.hub.devices.admit(HOST, "keys", "", house.token("keys"), pair.sent)


def test_a_connection_outlives_what_it_was_opened_with(house, make):
    """New keys, another thumbprint: the connection stays, as on Azure, and a new one needs the new."""
    house.register("keys")
    old = house.token("keys")
    wire = house.connected("keys", token=old)
    pair = make("cert")
    house.register("cert", authentication=_self_signed(pair))
    house.hub.devices.admit(HOST, "cert", "", None, pair.sent)
    fresh = {"primaryKey": "bmV3" * 8, "secondaryKey": "b3RoZXIh" * 8}
    house.hub.identities.put("keys", "", {"authentication": {"symmetricKey": fresh}}, "*")
    house.hub.identities.put("cert", "", {"authentication": _self_signed(make("cert"))}, "*")
    assert wire.publish(b"still here")
    with pytest.raises(Unauthorized, match="another key"):
        house.hub.devices.admit(HOST, "keys", "", old)
    with pytest.raises(Unauthorized, match="not a registered one"):
        house.hub.devices.admit(HOST, "cert", "", None, pair.sent)
    house.clock.advance(3601)
    house.hub.tick()
    assert wire.transport.closed


def test_disabled_or_unknown_comes_first(house, make):
    """The right certificate of a disabled device opens nothing."""
    pair = make("d")
    house.register("d", authentication=_self_signed(pair), status="disabled", statusReason="sold")
    for device, word in (("d", "sold"), ("nobody", "no identity")):
        with pytest.raises(Unauthorized, match=word):
            house.hub.devices.admit(HOST, device, "", None, pair.sent)


def test_where_certificates_cannot_be_asked_for_it_is_said(house, make):
    """The reason stands in the refusal."""
    pair = make("d")
    house.register("d", authentication=_self_signed(pair))
    house.hub.devices.no_certificates = "OpenSSL is out of reach."
    with pytest.raises(Unauthorized, match="OpenSSL is out of reach"):
        house.hub.devices.admit(HOST, "d", "", None, pair.sent)


# -- authorities ---------------------------------------------------------------------------------------

USE = x509.ExtendedKeyUsage


def _key_usage(**given):
    names = [
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
    ]
    names += ["key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})


CHAINS = {
    "by the root": lambda make, root: make("d", root),
    "by an intermediate": lambda make, root: _below(make, root, 1),
    "by the last of three": lambda make, root: _below(make, root, 3),
    "with the root sent too": lambda make, root: _below(make, root, 1, more=(root,)),
    "in another order": lambda make, root: _below(make, root, 3, shuffle=True),
    "for clients": lambda make, root: make(
        "d", root, extensions=[(USE([ExtendedKeyUsageOID.CLIENT_AUTH]), False)]
    ),
    "for anything": lambda make, root: make(
        "d", root, extensions=[(USE([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), True)]
    ),
    "with a name for servers": lambda make, root: make(
        "d", root, extensions=[(x509.SubjectAlternativeName([x509.DNSName("d.example")]), False)]
    ),
}


def _below(make, root, count, *, more=(), shuffle=False, device="d", **options):
    issuers, above = [], root
    for number in range(count):
        above = make(f"Intermediate {number}", above, **({"ca": True} | options))
        issuers.insert(0, above)
    return make(device, above, chain=(*(issuers[::-1] if shuffle else issuers), *more))


@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_to_a_registered_authority_opens(house, make, root, chain):
    """Directly, or by intermediates that the device sends along."""
    pair = CHAINS[chain](make, root)
    house.register("d", authentication={"type": "certificateAuthority"})
    admission = house.hub.devices.admit(HOST, "d", "", None, pair.sent)
    assert json.loads(admission.auth_method) == BY_X509


BAD_CHAINS = {
    "another's name": (lambda make, root: make("other", root), "common name 'other'"),
    "another case": (lambda make, root: make("D", root), "common name 'D'"),
    "two names": (lambda make, root: make(["d", "other"], root), "common name"),
    "self-signed": (lambda make, _: make("d"), "not registered"),
    "a stranger's": (
        lambda make, _: make("d", make("Stranger", ca=True)),
        "'CN=Stranger', which is not registered",
    ),
    "the root's name, another key": (lambda make, _: make("d", make("Test root", ca=True)), "not registered"),
    "intermediate not sent": (
        lambda make, root: make("d", make("Middle", root, ca=True)),
        "send its intermediate",
    ),
    "an intermediate that is none": (
        lambda make, root: _below(make, root, 1, ca=False),
        "not that of an authority",
    ),
    "no basic constraints": (lambda make, root: _below(make, root, 1, ca=None), "not that of an authority"),
    "another device's as issuer": (
        lambda make, root: make("d", (thief := make("thief", root)), chain=[thief]),
        "not that of an authority",
    ),
    "too long a path": (
        lambda make, root: make(
            "d",
            (low := make("Low", (high := make("High", root, ca=True, path_length=0)), ca=True)),
            chain=[low, high],
        ),
        "allows 0 further",
    ),
    "an expired intermediate": (lambda make, root: _below(make, root, 1, days=(-5, -1)), "ended at"),
    "not for signing": (
        lambda make, root: _below(make, root, 1, extensions=[(_key_usage(digital_signature=True), True)]),
        "not for signing",
    ),
    "for servers": (
        lambda make, root: make("d", root, extensions=[(USE([ExtendedKeyUsageOID.SERVER_AUTH]), False)]),
        "not for clients",
    ),
    "a critical extension": (
        lambda make, root: make(
            "d",
            root,
            extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0"), True)],
        ),
        "1.2.3.4",
    ),
}


@pytest.mark.parametrize("chain", BAD_CHAINS)
def test_a_chain_that_does_not_hold_is_refused(house, make, root, chain):
    """401002 with the link that breaks."""
    build, word = BAD_CHAINS[chain]
    house.register("d", authentication={"type": "certificateAuthority"})
    with pytest.raises(Unauthorized, match=word):
        house.hub.devices.admit(HOST, "d", "", None, build(make, root).sent)


def test_rubbish_in_a_chain_is_refused(house, make, root):
    """What cannot be read is not skipped."""
    house.register("d", authentication={"type": "certificateAuthority"})
    pair = make("d", make("Middle", root, ca=True))
    with pytest.raises(Unauthorized, match="cannot be read"):
        house.hub.devices.admit(HOST, "d", "", None, (*pair.sent, b"rubbish"))


def test_an_authority_may_be_an_intermediate(house, make):
    """Only the one that is registered counts, not what stands above it."""
    top = make("Top", ca=True)
    middle = make("Middle", top, ca=True)
    house.register("d", authentication={"type": "certificateAuthority"})
    with pytest.raises(Unauthorized, match="none is registered"):
        house.hub.devices.admit(HOST, "d", "", None, make("d", middle).sent)
    house.hub.certificates.register("middle", middle.pem)
    house.hub.devices.admit(HOST, "d", "", None, make("d", middle).sent)
    with pytest.raises(Unauthorized, match="not registered"):
        house.hub.devices.admit(HOST, "d", "", None, make("d", top).sent)


def test_a_module_has_both_names(house, make, root):
    """The certificate of a module is for `{device}/{module}`; the device's does not open it."""
    house.register("d")
    house.register("d", "m", authentication={"type": "certificateAuthority"})
    admission = house.hub.devices.admit(HOST, "d", "m", None, make("d/m", root).sent)
    assert json.loads(admission.auth_method) == BY_X509 | {"scope": "module"}
    for name in ("d", "m", "d/other"):
        with pytest.raises(Unauthorized, match="common name"):
            house.hub.devices.admit(HOST, "d", "m", None, make(name, root).sent)


def test_authorities_are_kept(house, make, root):
    """Across a restart and a reset; one that is deleted is trusted no more."""
    pair = make("d", root)
    house.restart()
    house.hub.reset()
    house.register("d", authentication={"type": "certificateAuthority"})
    house.hub.devices.admit(HOST, "d", "", None, pair.sent)
    assert house.hub.certificates.delete("root")
    assert not house.hub.certificates.delete("root")
    with pytest.raises(Unauthorized, match="none is registered"):
        house.hub.devices.admit(HOST, "d", "", None, pair.sent)


NO_AUTHORITIES = {
    "not PEM": lambda *_: "hello",
    "empty": lambda *_: "",
    "cut": lambda _, root: root.pem[:200],
    "two": lambda make, root: root.pem + make("Two", ca=True).pem,
    "a device's": lambda make, root: make("d", root).pem,
    "not an authority": lambda make, _: make("No", ca=False).pem,
    "expired": lambda make, _: make("Old", ca=True, days=(-9, -1)).pem,
    "with its key": lambda _, root: (
        root.pem + "-----BEGIN PRIVATE KEY-----\nMIG=\n-----END PRIVATE KEY-----\n"
    ),
    "too long": lambda _, root: root.pem + " " * 70_000,
    "not ASCII": lambda *_: "-----BEGIN CERTIFICATE-----\n\ud800\n-----END CERTIFICATE-----\n",
}


@pytest.mark.parametrize("what", NO_AUTHORITIES)
def test_what_is_no_authority_is_refused(house, make, root, what):
    """400004, and nothing is changed."""
    with pytest.raises(ArgumentInvalid):
        house.hub.certificates.register("root", NO_AUTHORITIES[what](make, root))
    assert [each.pem for each in house.hub.certificates.authorities()] == [root.pem]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü", "x" * 65, "a\n"])
def test_names_that_no_authority_may_have(house, root, name):
    """1 to 64 letters, digits, '.', '_', '-'."""
    with pytest.raises(ArgumentInvalid):
        house.hub.certificates.register(name, root.pem)


def test_twenty_five_authorities(house, root):
    """The 26th is 403002; a known name may be replaced still."""
    for number in range(1, AUTHORITIES):
        house.hub.certificates.register(f"root-{number}", root.pem)
    with pytest.raises(QuotaExceeded):
        house.hub.certificates.register("one-more", root.pem)
    house.hub.certificates.register("root-1", root.pem)


def test_over_mqtt(house, make):
    """CONNECT without a password: accepted with the certificate, CONNACK 5 without it, and kept beyond an hour."""
    pair = make("d")
    house.register("d", authentication=_self_signed(pair))
    codes = []
    for sent in (pair.sent, (), make("d").sent):
        front = MqttFront(house.hub, ConnectionInfo(("", 1), ("", 2), True, None, None, sent))
        transport = FakeTransport(front)
        front.connection_made(transport)
        client = MqttClient("d", f"{HOST}/d/?api-version=2021-04-12", None, keep_alive=0)
        front.data_received(client.connect())
        codes.append(client.receive(transport.written)[0].code)
        if sent == pair.sent:
            for _ in range(60):  # a day and more; silence alone would end it
                house.clock.advance(1500)
                front.data_received(client.ping())
                house.hub.tick()
            assert not transport.closed
    assert codes == [ConnackCode.ACCEPTED, ConnackCode.NOT_AUTHORIZED, ConnackCode.NOT_AUTHORIZED]


# -- the vendor's SDK against a running hub --------------------------------------------------------------


@pytest.fixture(scope="module")
def ca(lab):
    """An authority that the running hub trusts."""
    made = authority("Fleet root")
    lab.add_ca_certificate("fleet", made.pem)
    return made


@contextlib.contextmanager
def _device(lab, name, pair, folder, **options):
    """The vendor's client; shut down at the end."""
    certificate, key = pair.files(folder)
    client = IoTHubDeviceClient.create_from_x509_certificate(
        X509(certificate, key), lab.hostname, name, **options
    )
    try:
        yield client
    finally:
        client.shutdown()


@pytest.mark.parametrize("which", ["primary", "secondary"])
def test_self_signed_with_the_sdk(lab, registry, consume, tmp_path, which):
    """A device registered by `create_device_with_x509` sends, has its twin, and is marked so at the endpoint."""
    pairs = {"primary": issue("x"), "secondary": issue("y")}
    name = f"self-{which}"
    registry.create_device_with_x509(name, pairs["primary"].sha1, pairs["secondary"].sha1, "enabled")
    with _device(lab, name, pairs[which], tmp_path) as client:
        client.send_message(name)
        assert client.get_twin()["desired"] == {"$version": 1}
        assert registry.get_device(name).connection_state == "Connected"
    event = find(consume(), lambda event: event.body_as_str() == name)
    assert json.loads(annotations(event)["iothub-connection-auth-method"]) == BY_X509


def test_by_authority_with_the_sdk(lab, registry, ca, tmp_path):
    """A device that was registered without any thumbprint, with an intermediate in its file."""
    registry.create_device_with_certificate_authority("by-ca", "enabled")
    middle = issue("Fleet middle", ca, ca=True)
    with _device(lab, "by-ca", issue("by-ca", middle, chain=[middle]), tmp_path) as client:
        client.send_message("hello")
        client.patch_twin_reported_properties({"speed": 3})
    assert registry.get_twin("by-ca").properties.reported["speed"] == 3


def test_a_module_by_certificate_with_the_sdk(lab, registry, ca, device, tmp_path):
    """`IoTHubModuleClient.create_from_x509_certificate`."""
    registry.create_module_with_certificate_authority(device, "m", None)
    certificate, key = issue(f"{device}/m", ca).files(tmp_path)
    client = IoTHubModuleClient.create_from_x509_certificate(
        X509(certificate, key), lab.hostname, device, "m"
    )
    try:
        client.send_message("from the module")
    finally:
        client.shutdown()


async def test_with_the_asynchronous_sdk(lab, registry, ca, tmp_path):
    """`azure.iot.device.aio` does the same, and answers a method."""
    registry.create_device_with_certificate_authority("by-ca-aio", "enabled")
    certificate, key = issue("by-ca-aio", ca).files(tmp_path)
    client = AioDeviceClient.create_from_x509_certificate(X509(certificate, key), lab.hostname, "by-ca-aio")
    try:
        await client.send_message("hello")
        assert (await client.get_twin())["reported"] == {"$version": 1}
    finally:
        await client.shutdown()


def test_refused_with_the_sdk(lab, registry, ca, tmp_path):
    """Another's certificate raises `CredentialError`, as a wrong key does."""
    registry.create_device_with_certificate_authority("by-ca-2", "enabled")
    with (
        _device(lab, "by-ca-2", issue("somebody", ca), tmp_path, connection_retry=False) as client,
        pytest.raises(CredentialError),
    ):
        client.connect()


def test_over_websocket_with_the_sdk(lab, registry, ca, tmp_path, monkeypatch):
    """MQTT over WebSocket hands the certificate of its TLS connection on."""
    for name, value in lab.env(proxy=True).items():
        monkeypatch.setenv(name, value)
    registry.create_device_with_certificate_authority("by-ca-ws", "enabled")
    with _device(lab, "by-ca-ws", issue("by-ca-ws", ca), tmp_path, websockets=True) as client:
        client.send_message("over WebSocket")
        assert registry.get_device("by-ca-ws").connection_state == "Connected"


def _post(lab, name, **options):
    return requests.post(
        f"https://{lab.hostname}:{lab._told.https_port}/devices/{name}/messages/events?api-version=2021-04-12",
        data=b"over HTTPS",
        verify=str(lab.ca_file),
        timeout=30,
        **options,
    )


def test_over_https(lab, registry, ca, tmp_path):
    """A request without a token: the certificate of its TLS connection counts."""
    registry.create_device_with_certificate_authority("by-ca-https", "enabled")
    assert _post(lab, "by-ca-https", cert=issue("by-ca-https", ca).files(tmp_path)).status_code == 204
    refused = _post(lab, "by-ca-https", cert=issue("other", ca).files(tmp_path, "other"))
    assert refused.status_code == 401
    assert "common name" in refused.json()["Message"]
    assert _post(lab, "by-ca-https").status_code == 401


# -- the calls -------------------------------------------------------------------------------------------


def test_authorities_over_rest(lab, ca):
    """PUT, GET, list, DELETE; in the shape of the resource on Azure."""
    rest = lab.rest()
    other = authority("Other")
    made = rest.call("PUT", "/lab/certificates/other", {"certificate": other.pem})
    assert (made["name"], made["properties"]["subject"]) == ("other", "CN=Other")
    assert made["properties"]["thumbprint"] == other.sha1.upper()
    assert made["properties"]["isVerified"] is True
    assert rest.call("GET", "/lab/certificates/other") == made
    assert [each["name"] for each in rest.call("GET", "/lab/certificates")["value"]] == ["fleet", "other"]
    rest.call("DELETE", "/lab/certificates/other")
    for method in ("GET", "DELETE"):
        with pytest.raises(RestError) as caught:
            rest.call(method, "/lab/certificates/other")
        assert caught.value.http_status == 404
    with pytest.raises(RestError, match="no certificate"):
        lab.add_ca_certificate("bad", "hello")


def test_authorities_as_plain_pem(lab, ca):
    """`curl --data-binary @root.pem` does it too; other policies may not."""
    owner = ConnectionString.parse(lab.service_connection_string)
    url = f"https://{owner.host_name}/lab/certificates/plain"

    def put(pem, key, name):
        token = sas.build(lab.hostname, key, int(time.time()) + 60, name)
        return requests.put(
            url, data=pem, headers={"Authorization": token}, verify=str(lab.ca_file), timeout=30
        ).status_code

    keys = lab._told.keys
    assert put(authority("Plain").pem, keys["iothubowner"], "iothubowner") == 200
    assert put("hello", keys["iothubowner"], "iothubowner") == 400
    pem = authority("In pieces").pem.encode()
    pieces = (pem[start : start + 100] for start in range(0, len(pem), 100))
    assert put(pieces, keys["iothubowner"], "iothubowner") == 200
    for name in ("service", "registryReadWrite", "device", "registryRead"):
        assert put(authority("Plain").pem, keys[name], name) == 401
    lab.rest().call("DELETE", "/lab/certificates/plain")


def test_lab_of_azure_refuses(tmp_path, monkeypatch):
    """On Azure certificates are registered in the portal."""
    monkeypatch.setenv(
        "IOTHUB_CONNECTION_STRING",
        "HostName=h.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5",
    )
    with pytest.raises(HubNotRunning, match="on Azure"):
        Lab.open(tmp_path).add_ca_certificate("a", "pem")
