"""Who may do what, how identities merge, and what consumer groups are: the hub's rules, without a protocol."""

import base64

import pytest
from house import HOST

from iotedge_lab.errors import (
    AccessDenied,
    ArgumentInvalid,
    DeviceAlreadyExists,
    DeviceNotFound,
    ModuleAlreadyExists,
    ModuleNotFound,
    PreconditionFailed,
    TooManyModules,
    Unauthorized,
)
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.devices import DeviceAccess
from iotedge_lab.hub.identities import MODULES_PER_DEVICE, etag_matches, iso
from iotedge_lab.wire import sas

KEY = base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()
THUMB = "A1" * 20


# -- policies ------------------------------------------------------------------------------------------

R, W, S, D = Right.REGISTRY_READ, Right.REGISTRY_WRITE, Right.SERVICE_CONNECT, Right.DEVICE_CONNECT


def _token(house, name, *, secondary=False, seconds=60, resource=HOST, raw_key=False):
    policy = house.hub.access.policies[name]
    key = policy.secondary_key if secondary else policy.primary_key
    return sas.build(resource, key, int(house.clock.now()) + seconds, name, raw_key=raw_key)


@pytest.mark.parametrize(
    ("name", "grants"),
    [
        ("iothubowner", {R, W, S, D}),
        ("service", {S}),
        ("device", {D}),
        ("registryRead", {R}),
        ("registryReadWrite", {R, W}),
    ],
)
@pytest.mark.parametrize("right", [R, W, S, D])
def test_each_policy_grants_its_rights_and_no_other(house, name, grants, right):
    """A token opens what its policy grants, by either key."""
    for secondary in (False, True):
        token = _token(house, name, secondary=secondary)
        if right in grants:
            assert house.hub.access.require(token, right).name == name
        else:
            with pytest.raises(AccessDenied, match=name):
                house.hub.access.require(token, right)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda h: _token(h, "service", seconds=-1), "expired"),
        (lambda h: sas.build(HOST, KEY, 2_000_000_000, "service"), "another key"),
        (lambda h: sas.build(HOST, KEY, 2_000_000_000, "nobody"), "no shared access policy"),
        (lambda h: sas.build(HOST, KEY, 2_000_000_000), "names no shared access policy"),
        (lambda h: _token(h, "service", resource="elsewhere.azure-devices.net"), "elsewhere"),
        (lambda h: _token(h, "service") + "&se=99999999999", "twice"),
        (lambda h: _token(h, "service").replace("&se=1", "&se=2"), "another key"),
        (lambda h: _token(h, "service").replace("skn=service", "skn=iothubowner"), "another key"),
        (lambda h: "", "SharedAccessSignature"),
    ],
)
def test_a_wrong_token_is_told_what_is_wrong(house, make, word):
    """401 with the reason, and never with a key in it: 401003 for a token that has ended, else 401002."""
    with pytest.raises(Unauthorized, match=word) as caught:
        house.hub.access.check(make(house))
    assert caught.value.code == (401003 if word == "expired" else 401002)
    for policy in house.hub.access.policies.values():
        assert policy.primary_key not in str(caught.value)


@pytest.mark.parametrize(
    "resource", [HOST, f"{HOST}:8443", HOST.upper(), "127.0.0.1:443", f"sb://{HOST}/iothub-ehub-lab"]
)
def test_the_names_of_the_hub(house, resource):
    """Port, scheme, path and case of the host do not matter."""
    assert house.hub.access.check(_token(house, "service", resource=resource)).policy.name == "service"


def test_event_hubs_clients_sign_with_the_keys_text(house):
    """A signature by the key's text counts where it is asked for, and nowhere else."""
    token = _token(house, "service", raw_key=True)
    assert house.hub.access.check(token, raw_key=True).policy.name == "service"
    with pytest.raises(Unauthorized):
        house.hub.access.check(token)


def test_a_device_scoped_policy_token_opens_no_service_call(house):
    """A token that a policy signed for one device speaks for that device alone."""
    token = _token(house, "iothubowner", resource=f"{HOST}/devices/d")
    with pytest.raises(Unauthorized):
        house.hub.access.require(token, R)


def test_policies_and_keys_stay_across_a_restart(house):
    """The keys of a hub are made once."""
    before = dict(house.hub.access.policies)
    keys = [key for policy in before.values() for key in (policy.primary_key, policy.secondary_key)]
    assert len(set(keys)) == 10
    house.restart()
    assert house.hub.access.policies == before


def test_no_key_in_a_repr(house):
    """A policy in a traceback or a log gives nothing away."""
    policy = house.hub.access.policies["iothubowner"]
    assert policy.primary_key not in repr(policy)
    identity = house.register("d")
    assert identity.primary_key not in repr(identity)
    assert identity.secondary_key not in repr(identity)


def test_a_disabled_or_certificate_device_is_refused_in_words(house):
    """The log says why."""
    access = DeviceAccess(house.hub.identities, house.hub.access, house.clock)
    house.register("off", status="disabled", statusReason="in the garage")
    with pytest.raises(Unauthorized, match="in the garage"):
        access.admit(HOST, "off", "", house.token("off"))
    house.register(
        "cert", authentication={"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": THUMB}}
    )
    with pytest.raises(Unauthorized, match="selfSigned"):
        access.admit(HOST, "cert", "", house.token("cert", key=KEY))


# -- identities ----------------------------------------------------------------------------------------


def test_create_makes_two_keys(house):
    """Keys that are not given are made: 32 bytes each, and different."""
    made = house.register("d")
    keys = (made.primary_key, made.secondary_key)
    assert len(set(keys)) == 2
    assert [len(base64.b64decode(key)) for key in keys] == [32, 32]
    assert made.status == "enabled"


def test_an_update_keeps_what_it_does_not_name(house):
    """Keys, status, edge capability and generation stay; the etag changes."""
    symmetric = {"primaryKey": KEY, "secondaryKey": OTHER}
    first = house.register(
        "d", authentication={"symmetricKey": symmetric}, status="disabled", capabilities={"iotEdge": True}
    )
    house.clock.advance(5)
    second, new = house.hub.identities.put("d", "", {"statusReason": "why"}, first.etag)
    assert not new
    for name in (
        "primary_key",
        "secondary_key",
        "status",
        "iot_edge",
        "generation_id",
        "device_scope",
        "status_updated",
    ):
        assert getattr(second, name) == getattr(first, name), name
    assert second.status_reason == "why"
    assert second.etag != first.etag


def test_one_key_may_be_changed_alone(house):
    """A key that is given replaces that one; an empty one is left as it is."""
    first = house.register("d")
    body = {"authentication": {"symmetricKey": {"primaryKey": KEY, "secondaryKey": ""}}}
    second, _ = house.hub.identities.put("d", "", body, "*")
    assert (second.primary_key, second.secondary_key) == (KEY, first.secondary_key)


def test_a_certificate_device_keeps_its_thumbprints(house):
    """An update that does not speak of authentication leaves the device able to connect."""
    body = {
        "type": "selfSigned",
        "x509Thumbprint": {"primaryThumbprint": THUMB, "secondaryThumbprint": "B2" * 32},
    }
    first = house.register("d", authentication=body)
    second, _ = house.hub.identities.put("d", "", {"status": "disabled"}, "*")
    assert (second.auth_type, second.primary_thumbprint, second.secondary_thumbprint) == (
        "selfSigned",
        THUMB,
        "B2" * 32,
    )
    assert first.primary_key is second.primary_key is None


def test_the_kind_of_authentication_may_change(house):
    """From keys to a certificate the keys go; back again fresh ones are made."""
    house.register("d")
    to_cert = {"authentication": {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": THUMB}}}
    cert, _ = house.hub.identities.put("d", "", to_cert, "*")
    assert (cert.primary_key, cert.primary_thumbprint) == (None, THUMB)
    back, _ = house.hub.identities.put("d", "", {"authentication": {"type": "sas"}}, "*")
    assert back.primary_key
    assert back.primary_thumbprint is None


def test_the_time_of_the_status_is_that_of_its_change(house):
    """statusUpdatedTime moves with the status alone."""
    house.register("d")
    house.clock.advance(10)
    off, _ = house.hub.identities.put("d", "", {"status": "disabled"}, "*")
    changed = house.clock.now()
    house.clock.advance(10)
    same, _ = house.hub.identities.put("d", "", {"statusReason": "x"}, "*")
    assert off.status_updated == same.status_updated == changed


def test_an_edge_device_has_its_two_modules(house):
    """A device with iotEdge comes with $edgeAgent, $edgeHub and a scope, which its modules do not have."""
    edge = house.register("e", capabilities={"iotEdge": True})
    assert [module.module for module in house.hub.identities.modules("e")] == ["$edgeAgent", "$edgeHub"]
    assert edge.device_scope == f"ms-azure-iot-edge://e-{edge.generation_id}"
    assert house.hub.identities.get("e", "$edgeHub").primary_key


@pytest.mark.parametrize("device", ["e", "plain"])
def test_an_edge_capability_given_later_makes_the_modules_too(house, device):
    """A device that becomes an edge device by an update has the system modules then, once."""
    house.register(device, capabilities={"iotEdge": device == "e"})
    house.hub.identities.put(device, "", {"capabilities": {"iotEdge": True}}, "*")
    assert [module.module for module in house.hub.identities.modules(device)] == ["$edgeAgent", "$edgeHub"]


@pytest.mark.parametrize(
    "body",
    [
        {"status": "broken"},
        {"status": 1},
        {"status": ["enabled"]},
        {"statusReason": "x" * 129},
        {"statusReason": 5},
        {"statusReason": "\ud800"},
        {"capabilities": {"iotEdge": "yes"}},
        {"capabilities": []},
        {"authentication": "sas"},
        {"authentication": {"type": "magic"}},
        {"authentication": {"type": ["sas"]}},
        {"authentication": {"symmetricKey": []}},
        {"authentication": {"symmetricKey": {"primaryKey": "not base64!"}}},
        {"authentication": {"symmetricKey": {"primaryKey": "c2hvcnQ="}}},
        {"authentication": {"symmetricKey": {"primaryKey": 5}}},
        {"authentication": {"symmetricKey": {"primaryKey": base64.b64encode(b"x" * 65).decode()}}},
        {"authentication": {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": "xyz"}}},
        {"authentication": {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": {}}}},
        {"deviceScope": ["a"]},
        {"deviceScope": 7},
        {"deviceScope": "\ud800"},
        {"parentScopes": "a"},
        {"parentScopes": [1]},
        {"deviceId": "other"},
        {"deviceId": 5},
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_whole(house, body):
    """400004, and neither a new identity nor a change of an old one."""
    before = house.register("old")
    for device, match in (("d", None), ("old", "*")):
        with pytest.raises(ArgumentInvalid):
            house.hub.identities.put(device, "", body, match)
    assert house.hub.identities.find("d") is None
    assert house.hub.identities.get("old") == before


def test_a_wrong_managed_by_is_refused(house):
    """A module's managedBy is a text."""
    house.register("d")
    for wrong in ({"a": 1}, 5, ["x"]):
        with pytest.raises(ArgumentInvalid):
            house.hub.identities.put("d", "m", {"managedBy": wrong}, None)


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a/b",
        "../etc/passwd",
        "a+b",
        "a#b",
        "ü",
        "a\0b",
        "a\nb",
        "x" * 129,
        '"',
        "a;b",
        "<a>",
        "a\\b",
        "☃",
    ],
)
def test_ids_that_no_device_may_have(house, name):
    """400004 for what MQTT could not carry or IoT Hub does not allow."""
    house.register("d")
    for device, module in ((name, ""), ("d", name)):
        with pytest.raises(ArgumentInvalid):
            house.hub.identities.put(device, module, {}, None)


@pytest.mark.parametrize(
    "name", ["a", "x" * 128, "a-b:c.d%_*?!(),=@$'e", "'OR'1'='1", "%2e%2e", "..", "DROP-TABLE'--", "$x"]
)
def test_ids_that_a_device_may_have(house, name):
    """Every character that IoT Hub allows is kept as it is, in ids of up to 128."""
    house.register(name)
    house.register(name, name)
    assert house.hub.identities.get(name).device == name
    assert house.hub.identities.get(name, name).module == name
    assert house.hub.identities.count() == (1, 1, 0)


def test_ids_are_case_sensitive(house):
    """Two ids that differ in case are two devices."""
    house.register("Dev")
    house.register("dev")
    assert house.hub.identities.count()[0] == 2


def test_create_and_update_are_told_apart_by_the_etag(house):
    """Create over an old one is 409, update of a stranger 404, with an old etag 412."""
    put, delete = house.hub.identities.put, house.hub.identities.delete
    made = house.register("d")
    with pytest.raises(DeviceAlreadyExists):
        put("d", "", {}, None)
    with pytest.raises(DeviceNotFound):
        put("nobody", "", {}, "*")
    with pytest.raises(DeviceNotFound):
        put("nobody", "m", {}, None)
    with pytest.raises(ModuleNotFound):
        put("d", "m", {}, "*")
    house.register("d", "m")
    with pytest.raises(ModuleAlreadyExists):
        put("d", "m", {}, None)
    with pytest.raises(PreconditionFailed):
        put("d", "", {}, "old")
    with pytest.raises(PreconditionFailed):
        delete("d", "", '"old"')
    changed, _ = put("d", "", {}, f'"{made.etag}"')
    with pytest.raises(PreconditionFailed):
        put("d", "", {}, made.etag)
    delete("d", "", changed.etag)
    with pytest.raises(DeviceNotFound):
        house.hub.identities.get("d", "m")


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        ("*", True),
        ("abc=", True),
        ('"abc="', True),
        ('"x", "abc="', True),
        ("x", False),
        ('""', False),
        ("", False),
        ('"abc"', False),
    ],
)
def test_if_match(header, matches):
    """RFC 9110, 13.1.1; quotes may be missing, as the SDKs send it."""
    assert etag_matches(header, "abc=") is matches


def test_no_more_than_fifty_modules(house):
    """413003 for the 51st, and an update of the fiftieth still works."""
    house.register("d")
    for number in range(MODULES_PER_DEVICE):
        house.register("d", f"m{number}")
    with pytest.raises(TooManyModules):
        house.register("d", "one-more")
    house.hub.identities.put("d", "m49", {}, "*")


def test_a_list_is_in_order_and_limited(house):
    """Devices come by id, as many as asked for."""
    for name in ("c", "a", "b"):
        house.register(name)
        house.register(name, "m")
    assert [device.device for device in house.hub.identities.devices(10)] == ["a", "b", "c"]
    assert [device.device for device in house.hub.identities.devices(2)] == ["a", "b"]


def test_a_recreated_device_is_another_one(house):
    """The generation id tells a device from its predecessor of the same name."""
    first = house.register("d")
    house.hub.identities.delete("d", "", None)
    assert house.register("d").generation_id != first.generation_id


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "0001-01-01T00:00:00Z"),
        (1.5, "1970-01-01T00:00:01.500000Z"),
        (0, "1970-01-01T00:00:00.000000Z"),
    ],
)
def test_times(seconds, text):
    """As the service writes them: UTC with Z, and the year 1 for never."""
    assert iso(seconds) == text


# -- consumer groups -----------------------------------------------------------------------------------


def test_consumer_groups_know_no_case(house):
    """A group is found whatever the case, made once, and kept across a restart."""
    for _ in range(2):
        house.hub.create_consumer_group("Mine")
        house.hub.create_consumer_group("mine")
    house.restart()
    assert house.hub.consumer_groups() == ["$Default", "Mine"]
    assert house.hub.consumer_group("MINE") == "Mine"
    assert house.hub.consumer_group("$default") == "$Default"
    assert house.hub.consumer_group("yours") is None
    assert house.hub.delete_consumer_group("mINE")
    assert not house.hub.delete_consumer_group("mine")


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "ü", "x" * 51, "$Other", "a'b", "a\n"])
def test_names_that_no_group_may_have(house, name):
    """1 to 50 letters, digits, '.', '-', '_', a letter or digit first."""
    with pytest.raises(ArgumentInvalid):
        house.hub.create_consumer_group(name)
    assert house.hub.consumer_groups() == ["$Default"]


def test_the_default_group_stays(house):
    """$Default is always there and cannot be deleted."""
    house.hub.create_consumer_group("$Default")
    for name in ("$Default", "$default"):
        with pytest.raises(ArgumentInvalid):
            house.hub.delete_consumer_group(name)
    assert house.hub.consumer_groups() == ["$Default"]
