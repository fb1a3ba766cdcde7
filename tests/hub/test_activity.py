"""Whether a device is there, and when it was last heard of: as it really is, whatever it speaks."""

import pytest
from house import House
from http_calls import Caller

from iotedge_lab.errors import StoreUnavailable
from iotedge_lab.hub.command_message import Draft
from iotedge_lab.hub.identities import iso
from iotedge_lab.wire.mqtt.packets import PublishRun
from iotedge_lab.wire.topics import method_response_topic, reported_patch_topic, twin_get_topic

DEVICEBOUND = "devices/d/messages/devicebound/#"


def _shown(house, device="d", module=""):
    return house.hub.identities.to_json(house.hub.identities.get(device, module))


def _last(house, device="d", module=""):
    return _shown(house, device, module)["lastActivityTime"]


@pytest.fixture
def wire(house):
    """A connected device whose clock has moved on since it connected."""
    made = house.connected("d")
    made.send(made.client.subscribe([(DEVICEBOUND, 1)])[1])
    house.clock.advance(100)
    return made


@pytest.mark.parametrize(
    "topic", [None, twin_get_topic("1"), reported_patch_topic("1"), method_response_topic(200, "1")]
)
def test_what_it_sends_counts(house, wire, topic):
    """Telemetry, twin requests, reported properties, answers."""
    before = _last(house)
    wire.publish(b"{}", topic=topic)
    assert _last(house) == iso(house.clock.now()) > before


def test_what_it_receives_counts(house, wire):
    """A cloud-to-device message, when it is acknowledged; sent to it alone is not received."""
    before = _last(house)
    house.hub.commands.send(Draft("d", b"x"), lambda _: None)
    house.turns.run()
    [run] = [event for event in wire.answers() if isinstance(event, PublishRun)]
    assert _last(house) == before
    wire.send(run.acks)
    assert _last(house) == iso(house.clock.now())


def test_a_device_and_its_module_are_heard_of_each_for_itself(house, wire):
    """Nothing of a module makes its device active."""
    module = house.connected("d", "m")
    before = _last(house)
    house.clock.advance(5)
    module.publish(b"x")
    assert _last(house) == before
    assert _last(house, module="m") == iso(house.clock.now())


def test_it_is_kept_once_a_minute(house, wire):
    """A hub that is killed has lost a minute of it at most; the device that was connected shows as it is: away."""
    wire.publish(b"x")
    house.clock.advance(60)
    house.hub.tick()
    told = _last(house)
    house.clock.advance(30)
    wire.publish(b"y")
    assert _last(house) > told
    house.restart()
    assert (_last(house), _shown(house)["connectionState"]) == (told, "Disconnected")


def test_it_is_kept_when_the_hub_stops(house):
    """Also that of a device that had no connection which could end."""
    house.register("d")
    house.hub.identities.heard("d", "")
    told = _last(house)
    house.hub.close()
    house.hub.close()
    house.start()
    assert _last(house) == told == iso(house.clock.now())


def test_a_full_disk_does_not_stop_it(house, wire, monkeypatch):
    """What cannot be kept now is kept later."""
    wire.publish(b"x")
    told = _last(house)

    def full():
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(house.hub.store, "transaction", full)
        with pytest.raises(StoreUnavailable):
            house.hub.identities.keep_activity()
    house.hub.identities.keep_activity()
    house.restart()
    assert _last(house) == told


def test_who_is_gone_is_not_heard_of(house):
    """A device that was deleted meanwhile."""
    house.hub.identities.heard("nobody", "")
    assert house.hub.identities.connected_devices() == 0
    house.register("d")
    house.hub.identities.heard("d", "")
    house.hub.identities.delete("d", "", None)
    house.hub.identities.keep_activity()
    house.register("d")
    assert _last(house) == iso(None)


def test_over_https(lab, device):
    """Sending and receiving count; the device shows as disconnected, as on Azure."""
    rest, caller = lab.rest(), Caller(lab, device)

    def seen():
        identity = rest.call("GET", caller.path)
        assert identity["connectionState"] == "Disconnected"
        assert identity["connectionStateUpdatedTime"] == iso(None)
        return identity["lastActivityTime"]

    box = f"{caller.path}/messages/deviceBound"
    assert caller.call("GET", box).status_code == 204
    assert seen() == iso(None)
    assert caller.send(b"x").status_code == 204
    sent = seen()
    assert sent > iso(None)
    assert rest.call("GET", f"/twins/{device}")["lastActivityTime"] == sent
    assert rest.call("GET", "/statistics/service") == {"connectedDeviceCount": 0}


def test_a_source_may_be_forgotten_and_read_again(tmp_path, monkeypatch):
    """The hub remembers so many senders; who sent what is in the store."""
    monkeypatch.setattr("iotedge_lab.hub.log.SOURCES_KNOWN", 3)
    house = House(tmp_path)
    names = [f"d{number}" for number in range(8)]
    for name in names * 2:
        house.connected(name).publish(name.encode())
    assert sorted({(event.source.device, event.body.decode()) for event in house.events()}) == [
        (name, name) for name in names
    ]
    assert len(house.hub.log._sources) <= 3
    house.hub.close()
