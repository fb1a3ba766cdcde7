"""Registering in bulk, against a registry that remembers what it was asked and against a real hub."""

import pytest

from iotedge_lab.clock import FakeClock
from iotedge_lab.errors import LabError, UsageError
from iotedge_lab.fleet.plan import Plan
from iotedge_lab.fleet.registration import Registration
from iotedge_lab.rest import RestError


class FakeRegistry:
    """Answers as a hub whose list ends at `listed`, and refuses a bulk of which one device is there."""

    def __init__(self, listed=1000):
        self.devices = {}
        self.tags = {}
        self.calls = []
        self.listed = listed
        self.broken = False

    def call(self, method, path, body=None, *, headers=None, query=None, timeout=10.0):
        self.calls.append((method, path, len(body) if isinstance(body, list) else 1))
        device = path.rpartition("/")[2]
        if (method, path) == ("GET", "/devices"):
            return list(self.devices.values())[: self.listed]
        if (method, path) == ("POST", "/devices"):
            return self.bulk(body)
        if path.startswith("/twins/"):
            if method == "PATCH":
                self.tags[device] = body["tags"]
            return {"tags": self.tags.get(device, {})}
        if method == "PUT":
            self.devices[device] = body
        if device not in self.devices:
            raise RestError(404, "DeviceNotFound", device)
        return self.devices.pop(device) if method == "DELETE" else self.devices[device]

    def bulk(self, entries):
        if self.broken:
            raise RestError(403, "QuotaExceeded", "no more devices")
        failed = False
        for entry in entries:
            device = entry["id"]
            creates = entry["importMode"] == "create"
            if creates == (device in self.devices):
                failed = True
            elif creates:
                self.devices[device] = {"deviceId": device, "authentication": entry["authentication"]}
                self.tags[device] = entry["tags"]
            else:
                del self.devices[device]
        if failed:
            raise RestError(400, "", '{"isSuccessful": false}')
        return {"isSuccessful": True}

    def own(self, device, key="b3du"):
        """A device of the user's."""
        keys = {"primaryKey": key}
        self.devices[device] = {"deviceId": device, "authentication": {"symmetricKey": keys}}


def registration(registry, **plan):
    return Registration(registry, Plan(**plan), FakeClock())


def test_a_hundred_at_a_time_with_keys_of_their_own():
    """250 devices take three requests; each has the tag and a key that no other has."""
    registry = FakeRegistry()
    logins = registration(registry, cars=250).register()
    assert [count for method, _, count in registry.calls if method == "POST"] == [100, 100, 50]
    assert [login.device for login in logins] == Plan(cars=250).devices
    assert len({login.key for login in logins}) == 250
    assert all(tags == {"iotedgeLab": {"fleet": "car-"}} for tags in registry.tags.values())


def test_what_is_there_is_taken_as_it_is_and_stays():
    """A device of the user's keeps its key, and is not deleted; those of the fleet are, after a restart too."""
    registry = FakeRegistry()
    registry.own("car-0002")
    first = registration(registry, cars=3).register()
    assert first[1].key == "b3du"
    again = registration(registry, cars=3)
    assert again.register() == first
    assert again.made == []
    assert again.remove() == 2
    assert list(registry.devices) == ["car-0002"]


def test_a_list_that_ends_early_is_made_up_for():
    """Devices beyond the list's end are found when the bulk refuses them."""
    registry = FakeRegistry(listed=0)
    registry.own("car-0002")
    made = registration(registry, cars=3)
    assert [login.key == "b3du" for login in made.register()] == [False, True, False]
    assert made.made == ["car-0001", "car-0003"]
    assert registry.tags["car-0003"] == {"iotedgeLab": {"fleet": "car-"}}


def test_a_refusal_leaves_nothing_behind():
    """What was made before the hub said no is deleted."""
    registry = FakeRegistry()
    made = registration(registry, cars=150)
    bulk, asked = registry.bulk, []

    def second_fails(entries):
        asked.append(len(entries))
        registry.broken = len(asked) == 2
        return bulk(entries)

    registry.bulk = second_fails
    with pytest.raises(RestError, match="no more devices"):
        made.register()
    assert registry.devices == {}


def test_a_device_without_a_key_is_told():
    """One that authenticates by certificate cannot be driven."""
    registry = FakeRegistry()
    registry.own("car-0001", key=None)
    with pytest.raises(UsageError, match="by certificate"):
        registration(registry, cars=1).register()


def test_somebody_else_deleted_one():
    """Then the others are deleted one by one, and all are gone."""
    registry = FakeRegistry()
    made = registration(registry, cars=3)
    made.register()
    del registry.devices["car-0002"]
    assert made.remove() == 3
    assert registry.devices == {}


def test_a_real_hub(shared_lab):
    """Create, find again, delete; twins carry the tag."""
    rest = shared_lab.rest()
    one = registration(rest, cars=120, prefix="reg-")
    first = one.register()
    assert rest.call("GET", "/twins/reg-0120")["tags"] == {"iotedgeLab": {"fleet": "reg-"}}
    rest.call("DELETE", "/devices/reg-0007", headers={"If-Match": "*"})
    again = registration(rest, cars=120, prefix="reg-")
    second = again.register()
    assert [a == b for a, b in zip(first, second, strict=True)].count(False) == 1
    assert again.remove() == 120
    with pytest.raises(LabError, match="404"):
        rest.call("GET", "/devices/reg-0001")
