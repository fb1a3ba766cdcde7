"""Edge devices: what they may do with their own token, and whom they may act for."""

import time

import pytest
from http_calls import Caller
from pki import issue

from iotedge_lab.errors import ArgumentInvalid, DeviceNotFound, ModuleNotFound
from iotedge_lab.hub.scopes import member, members, page_size
from iotedge_lab.rest import quote
from iotedge_lab.wire import sas

EDGE = {"capabilities": {"iotEdge": True}}


# -- scopes, without a protocol ------------------------------------------------------------------------


@pytest.fixture
def tree(house):
    """An edge device with a leaf, an edge device below it with a leaf, and a stranger."""
    top = house.register("top", **EDGE)
    low = house.register("low", **EDGE, parentScopes=[top.device_scope])
    house.register("leaf", deviceScope=top.device_scope)
    house.register("leaf", "m")
    house.register("low-leaf", deviceScope=low.device_scope)
    house.register("stranger")
    house.register("top", "mine")
    return house.hub.identities


def _ids(page):
    return [each.device for each in page.devices], [f"{each.device}/{each.module}" for each in page.modules]


def test_who_is_in_a_scope(tree):
    """The edge device and its modules, leaves and theirs, edge devices below without theirs; and no one else."""
    assert _ids(members(tree, tree.get("top"), 100, "")) == (
        ["leaf", "low", "top"],
        ["leaf/m", "top/$edgeAgent", "top/$edgeHub", "top/mine"],
    )
    assert _ids(members(tree, tree.get("low"), 100, ""))[0] == ["low", "low-leaf"]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages(tree, size):
    """Every size of page leads through all, once."""
    devices, modules, mark = [], [], ""
    for _ in range(3):
        page = members(tree, tree.get("top"), size, mark)
        assert len(page.devices) <= size
        devices += _ids(page)[0]
        modules += _ids(page)[1]
        mark = page.following
        if not mark:
            break
    assert not mark
    assert devices == ["leaf", "low", "top"]
    assert len(modules) == 4


@pytest.mark.parametrize("mark", ["#", "ÿ", "a", "/w=="])
def test_a_mark_that_is_none(tree, mark):
    """400004."""
    with pytest.raises(ArgumentInvalid):
        members(tree, tree.get("top"), 1, mark)


def test_one_of_a_scope(tree):
    """Also of a scope below; not of one above, nor one that is nowhere."""
    top, low = tree.get("top"), tree.get("low")
    for device in ("top", "leaf", "low", "low-leaf"):
        assert _ids(member(tree, top, device, "")) == ([device], [])
    assert _ids(member(tree, top, "leaf", "m")) == (["leaf"], ["leaf/m"])
    for edge, device in ((top, "stranger"), (top, "nobody"), (low, "top"), (low, "leaf")):
        with pytest.raises(DeviceNotFound):
            member(tree, edge, device, "")
    with pytest.raises(ModuleNotFound):
        member(tree, top, "leaf", "none")


def test_parents_in_a_circle_end(house):
    """Scopes that lead back to themselves are followed to the documented depth, and no further."""
    first = house.register("first", **EDGE)
    second = house.register("second", **EDGE, parentScopes=[first.device_scope])
    house.hub.identities.put("first", "", {"parentScopes": [second.device_scope]}, "*")
    other = house.register("other", **EDGE)
    with pytest.raises(DeviceNotFound):
        member(house.hub.identities, other, "first", "")


@pytest.mark.parametrize(("value", "size"), [(None, 1000), (0, 1000), ("0", 1000), (7, 7), ("1000", 1000)])
def test_page_sizes(value, size):
    """0 and none are the most."""
    assert page_size(value) == size


@pytest.mark.parametrize("value", [True, -1, 1001, "x", "", "٣", 1.5, [], "99999999999999999999"])
def test_page_sizes_that_are_none(value):
    """400004."""
    with pytest.raises(ArgumentInvalid):
        page_size(value)


# -- scopes of devices ---------------------------------------------------------------------------------


def test_a_leaf_has_its_parents_scope_in_both_places(house):
    """deviceScope or parentScopes may be given; '' takes it out, and an update that names neither leaves it."""
    scope = house.register("edge", **EDGE).device_scope
    by_scope = house.register("a", deviceScope=scope)
    by_parent = house.register("b", parentScopes=[scope])
    for leaf in (by_scope, by_parent):
        assert (leaf.device_scope, leaf.parent_scopes) == (scope, (scope,))
        kept, _ = house.hub.identities.put(leaf.device, "", {"status": "enabled"}, "*")
        assert (kept.device_scope, kept.parent_scopes) == (scope, (scope,))
    for leaf, body in (("a", {"deviceScope": ""}), ("b", {"parentScopes": []})):
        out, _ = house.hub.identities.put(leaf, "", body, "*")
        assert (out.device_scope, out.parent_scopes) == (None, ())


def test_a_leaf_that_becomes_an_edge_device(house):
    """It gets a scope of its own, and its parent stays its parent."""
    scope = house.register("edge", **EDGE).device_scope
    house.register("leaf", deviceScope=scope)
    grown, _ = house.hub.identities.put("leaf", "", EDGE, "*")
    assert grown.device_scope.startswith("ms-azure-iot-edge://leaf-")
    assert grown.parent_scopes == (scope,)


# -- over HTTPS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def edge(lab):
    """An edge device with a leaf in its scope, one below it, and a plain device."""
    rest = lab.rest()
    scope = rest.call("PUT", "/devices/edge", {"deviceId": "edge", **EDGE})["deviceScope"]
    rest.call("PUT", "/devices/leaf", {"deviceId": "leaf", "deviceScope": scope})
    rest.call("PUT", "/devices/nested", {"deviceId": "nested", "parentScopes": [scope], **EDGE})
    rest.call("PUT", "/devices/plain", {"deviceId": "plain"})
    return "edge"


AGENT, HUB = "$edgeAgent", "$edgeHub"


@pytest.fixture(params=[None, AGENT, HUB], ids=["device", "agent", "hub"])
def caller(lab, edge, request):
    """The edge device, or one of its system modules, over HTTPS."""
    return Caller(lab, edge, request.param)


def test_an_edge_device_looks_after_its_modules(lab, caller):
    """Create, read, list, update and delete, as the runtime does; what it reads holds the keys."""
    path = f"/devices/edge/modules/{quote('tempSensor')}"
    body = {
        "moduleId": "tempSensor",
        "deviceId": "edge",
        "managedBy": "IotEdge",
        "authentication": {"type": "sas"},
    }
    made = caller.call("PUT", path, json=body, version="2017-11-08-preview")
    assert (made.status_code, made.json()["managedBy"]) == (201, "IotEdge")
    assert caller.call("GET", path).json()["authentication"]["symmetricKey"]["primaryKey"]
    listed = [each["moduleId"] for each in caller.call("GET", "/devices/edge/modules").json()]
    assert listed == [AGENT, HUB, "tempSensor"]
    changed = caller.call("PUT", path, json=body, headers={"If-Match": "*"})
    assert (changed.status_code, changed.json()["generationId"]) == (200, made.json()["generationId"])
    assert caller.call("GET", f"/twins/edge/modules/{'tempSensor'}").json()["moduleId"] == "tempSensor"
    assert caller.call("GET", "/twins/edge").json()["deviceId"] == "edge"
    assert caller.call("DELETE", path, headers={"If-Match": "*"}).status_code == 204
    assert caller.call("GET", path).status_code == 404


CLOSED = [
    ("GET", "/devices/edge"),
    ("PUT", "/devices/edge"),
    ("DELETE", "/devices/edge"),
    ("GET", "/devices"),
    ("GET", "/devices/leaf/modules"),
    ("PUT", "/devices/leaf/modules/m"),
    ("GET", "/devices/nested/modules/$edgeHub"),
    ("GET", "/twins/leaf"),
    ("PATCH", "/twins/edge"),
    ("PUT", "/twins/edge/modules/$edgeHub"),
    ("POST", "/lab/reset"),
    ("GET", "/devices/nested/modules/$edgeHub/devicesAndModulesInDeviceScope"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_what_its_token_does_not_open(caller, method, path):
    """401 for anything that is not its own modules, its scope, and reading its own twins."""
    assert caller.call(method, path, json={}).status_code == 401


def test_other_modules_and_plain_devices_may_not(lab, edge):
    """A module of the user's, and a device without the edge capability, look after nothing."""
    lab.rest().call("PUT", "/devices/edge/modules/users", {"moduleId": "users"})
    assert Caller(lab, "edge", "users").call("GET", "/devices/edge/modules").status_code == 401
    refused = Caller(lab, "plain").call("GET", "/devices/plain/modules")
    assert refused.status_code == 401
    assert "no edge device" in refused.json()["Message"]
    lab.rest().call("DELETE", "/devices/edge/modules/users")


def test_an_old_or_foreign_token_may_not(lab, edge):
    """The signature and the end of the token count here as everywhere."""
    caller = Caller(lab, edge)
    leaf = Caller(lab, "leaf").token
    forged = caller.token.replace("sig=", "sig=A")
    ended = caller.token[: caller.token.index("&se=")] + "&se=1"
    for token in (forged, ended, leaf, ""):
        caller.token = token
        assert caller.call("GET", "/devices/edge/modules").status_code == 401


def test_by_certificate(lab, edge, tmp_path):
    """An edge device that authenticates by certificate looks after its modules too."""
    pair = issue("any")
    auth = {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": pair.sha256}}
    lab.rest().call("PUT", "/devices/edge-x509", {"deviceId": "edge-x509", "authentication": auth, **EDGE})
    caller = Caller(lab, edge)
    caller.token = None
    files = pair.files(tmp_path)
    answer = caller.call("GET", "/devices/edge-x509/modules", cert=files)
    assert [each["moduleId"] for each in answer.json()] == [AGENT, HUB]
    assert caller.call("GET", "/devices/edge/modules", cert=files).status_code == 401


BASE = "/devices/edge/modules/$edgeHub"


def test_devices_and_modules_in_scope(lab, edge):
    """As edgeHub asks for them: with keys by which it verifies tokens offline, page by page."""
    caller = Caller(lab, edge, HUB)
    whole = caller.call("GET", f"{BASE}/devicesAndModulesInDeviceScope", version="2018-08-30-preview").json()
    assert [each["deviceId"] for each in whole["devices"]] == ["edge", "leaf", "nested"]
    assert [each["moduleId"] for each in whole["modules"]] == [AGENT, HUB]
    assert whole["continuationLink"] is None
    leaf = whole["devices"][1]
    key = leaf["authentication"]["symmetricKey"]["primaryKey"]
    sas.verify(sas.parse(Caller(lab, "leaf").token), key, time.time())
    assert leaf["deviceScope"] == leaf["parentScopes"][0] == whole["devices"][0]["deviceScope"]
    got, path, query = [], f"{BASE}/devicesAndModulesInDeviceScope", "&deviceCount=1&continuationToken="
    for _ in range(3):
        page = caller.call("GET", path, query=query).json()
        got += [each["deviceId"] for each in page["devices"]]
        link = page["continuationLink"]
        if link is None:
            break
        path, _, rest = link.partition("?")
        query = "&" + "&".join(part for part in rest.split("&") if not part.startswith("api-version"))
    assert got == ["edge", "leaf", "nested"]


def test_the_target_scope(lab, edge):
    """The newer form: a POST with the chain from the target up; also for an edge device below."""
    caller = Caller(lab, edge, HUB)
    path = f"{BASE}/devicesAndModulesInTargetDeviceScope"

    def ask(**body):
        return caller.call("POST", path, json=body, version="2020-06-30-preview")

    first = ask(pageSize=2, authChain="edge").json()
    assert [each["deviceId"] for each in first["devices"]] == ["edge", "leaf"]
    second = ask(pageSize=2, authChain="edge", continuationLink=first["continuationLink"]).json()
    assert ([each["deviceId"] for each in second["devices"]], second["continuationLink"]) == (
        ["nested"],
        None,
    )
    below = ask(pageSize=0, authChain="nested;edge").json()
    assert [each["deviceId"] for each in below["devices"]] == ["nested"]
    assert ask(pageSize=0, authChain="plain;edge").status_code == 401
    assert ask(pageSize=0, authChain="leaf;edge").status_code == 401
    assert ask(pageSize=0, authChain="nobody;edge").status_code == 404
    assert ask(pageSize=-1, authChain="edge").status_code == 400
    assert ask(pageSize=1, authChain="edge", continuationLink=5).status_code == 400


def test_one_identity(lab, edge):
    """By either form; 404 for who is not in the scope."""
    caller = Caller(lab, edge, HUB)

    def old(device, module=""):
        query = f"&targetDeviceId={device}&targetModuleId={module}"
        return caller.call("GET", f"{BASE}/deviceAndModuleInDeviceScope", query=query)

    def new(device, module=None):
        body = {"targetDeviceId": device, "targetModuleId": module, "authChain": f"{device};edge"}
        return caller.call("POST", f"{BASE}/getDeviceAndModuleOnBehalfOf", json=body)

    for ask in (old, new):
        found = ask("leaf").json()
        assert [each["deviceId"] for each in found["devices"]] == ["leaf"]
        assert (found["modules"], found["continuationLink"]) == ([], None)
        assert [each["moduleId"] for each in ask("edge", HUB).json()["modules"]] == [HUB]
        assert ask("plain").status_code == 404
        assert ask("leaf", "none").status_code == 404
        assert ask("").status_code == 400


def test_a_registry_reader_may_ask_too(lab, edge):
    """And a device that is no edge device has no scope: 400004."""
    rest = lab.rest()
    assert len(rest.call("GET", f"{BASE}/devicesAndModulesInDeviceScope")["devices"]) == 3
    rest.call("PUT", "/devices/plain/modules/m", {"moduleId": "m"})
    answer = Caller(lab, "plain", "m").call("GET", "/devices/plain/modules/m/devicesAndModulesInDeviceScope")
    assert answer.status_code == 401
