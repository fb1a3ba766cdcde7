"""Fleets on real hubs: what was acknowledged is in the log, once and in order, whatever happens in between."""

import asyncio
import json
import os
import signal
from collections import defaultdict
from itertools import islice

import psutil
import pytest

from iotedge_lab.clock import SystemClock
from iotedge_lab.errors import EnvironmentProblem, HubNotRunning, LabError, UsageError
from iotedge_lab.fleet import Fleet
from iotedge_lab.fleet.plan import Plan
from iotedge_lab.fleet.replay import Garage, endless
from iotedge_lab.hub.events import Cursor
from iotedge_lab.hub.log import Log
from iotedge_lab.hub.store import Store


def stored(lab):
    """Stop the hub and read its log: device to events, in order."""
    lab.stop()
    store = Store(lab.state_dir / "hub.db")
    try:
        log = Log(store, SystemClock())
        found = defaultdict(list)
        for number in range(log.partitions):
            for event in Cursor(log, number, 0).take(1_000_000):
                found[event.source.device].append(event)
        return found
    finally:
        store.close()


def assert_complete(log, fleet, summary):
    """Each car's events are its drive's rows from its offset on, as many as it sent: none lost, twice or swapped."""
    garage = Garage(fleet.plan)
    assert set(log) == {car.device for car in summary.cars}
    for index, car in enumerate(summary.cars):
        assert car.sent == car.acknowledged > 0
        assert (car.drive, car.offset) == (garage.trip(index).drive, garage.trip(index).offset)
        rows = islice(endless(garage.rows(index), car.offset, fleet.plan.rate), car.sent)
        assert [event.body for event in log[car.device]] == [row.to_json().encode() for row in rows]
        assert {event.properties["driveId"] for event in log[car.device]} == {car.drive}


def test_all_that_is_acknowledged_is_in_the_log_once_and_in_order(lab):
    """Twenty cars for two seconds at 20 Hz; the observer is told how it goes."""
    fleet = Fleet(lab, cars=20, rate=20)
    seen = []
    summary = fleet.run(2.0, seen.append, 0.2)
    assert len(seen) >= 5
    assert max(status.connected for status in seen) == 20
    assert seen[-1].acknowledged <= summary.acknowledged == summary.sent
    assert 700 <= summary.sent <= 1000
    assert 0 < summary.p50_ms <= summary.p99_ms <= summary.longest_ms
    assert (summary.reconnects, summary.refused, summary.cut_off, summary.unacknowledged) == (0, (), (), 0)
    assert fleet.stop() is summary
    log = stored(lab)
    assert_complete(log, fleet, summary)
    braking = [e for events in log.values() for e in events if json.loads(e.body)["acceleration_gs"] <= -0.2]
    alerts = [e for events in log.values() for e in events if e.properties.get("alert") == "braking"]
    assert alerts == braking


def test_a_hub_that_is_down_and_dies_again(lab, until):
    """The cars come back by themselves, and each row is in the log once, in order; the drives waited."""
    fleet = Fleet(lab, cars=10, rate=20)
    fleet.register()
    lab.crash()
    with fleet:
        until(lambda: "no hub listens" in fleet.status().trouble)
        lab.start()
        until(lambda: fleet.status().connected == 10 and fleet.status().acknowledged > 100)
        assert fleet.status().reconnects == 0
        lab.crash()
        until(lambda: fleet.status().connected == 0)
        lab.start()
        until(lambda: fleet.status().connected == 10)
        before = fleet.status().acknowledged
        until(lambda: fleet.status().acknowledged > before + 100)
        summary = fleet.stop()
    assert summary.reconnects == 10
    assert summary.held > 0
    assert_complete(stored(lab), fleet, summary)


def test_a_hub_that_is_gone_at_the_end(lab, until):
    """The summary says which cars were cut off and why, and counts what nobody has acknowledged."""
    with Fleet(lab, cars=3, rate=10) as fleet:
        until(lambda: fleet.status().acknowledged > 10)
        lab.crash()
        until(lambda: fleet.status().connected == 0)
        in_flight = fleet.status().in_flight
        summary = fleet.stop()
    assert [car.device for car in summary.cut_off] == fleet.plan.devices
    assert all(car.trouble for car in summary.cars)
    assert summary.unacknowledged == in_flight
    assert summary.refused == ()


def test_tokens_are_renewed_in_time_and_processes_share_the_cars(lab):
    """Before the hub would close the connection; two processes, one fleet; nothing is lost, and none comes twice."""
    fleet = Fleet(lab, plan=Plan(cars=5, rate=20, processes=2, token_seconds=3.0))
    summary = fleet.run(3.5)
    assert summary.renewals >= 5
    assert summary.reconnects == 0
    assert_complete(stored(lab), fleet, summary)


def test_the_hub_refuses_one_car_and_the_others_drive(shared_lab):
    """A disabled device and one with another key are told by name; the rest is not disturbed."""
    fleet = Fleet(shared_lab, cars=6, rate=10, prefix="some-")
    fleet.register()
    rest = shared_lab.rest()
    disabled = rest.call("GET", "/devices/some-0002")
    rest.call("PUT", "/devices/some-0002", disabled | {"status": "disabled"}, headers={"If-Match": "*"})
    other = rest.call("GET", "/devices/some-0005")
    keys = {
        "primaryKey": "bm90IHRoZSBrZXkgb2YgdGhhdCBjYXI=",
        "secondaryKey": "bm9yIGlzIHRoaXMgb25lLCBpbiB0cnV0aA==",
    }
    other["authentication"] = {"type": "sas", "symmetricKey": keys}
    rest.call("PUT", "/devices/some-0005", other, headers={"If-Match": "*"})
    summary = fleet.run(1.0)
    assert [car.device for car in summary.refused] == ["some-0002", "some-0005"]
    assert all("not authorised" in car.refusal for car in summary.refused)
    assert [car.sent for car in summary.cars if car.refusal] == [0, 0]
    assert all(car.sent == car.acknowledged > 5 for car in summary.cars if not car.refusal)
    assert fleet.remove() == 6


def test_a_car_that_is_disabled_on_the_way_is_out(shared_lab, until):
    """The hub closes its connection and lets it in no more; the other drives on."""
    with Fleet(shared_lab, cars=2, rate=10, prefix="out-") as fleet:
        until(lambda: fleet.status().acknowledged > 4)
        rest = shared_lab.rest()
        device = rest.call("GET", "/devices/out-0001")
        rest.call("PUT", "/devices/out-0001", device | {"status": "disabled"}, headers={"If-Match": "*"})
        until(lambda: fleet.status().refused == 1)
        assert fleet.status().connected == 1
        before = fleet.status().acknowledged
        until(lambda: fleet.status().acknowledged > before + 4)


def test_none_is_let_in(shared_lab):
    """Then a run ends with the reason, and does not wait for ever."""
    fleet = Fleet(shared_lab, cars=2, prefix="none-")
    for device in fleet.register():
        shared_lab.rest().call("DELETE", f"/devices/{device}", headers={"If-Match": "*"})
    with pytest.raises(LabError, match="lets none of the 2 cars in: not authorised"):
        fleet.run(5.0)


def test_a_process_that_dies_is_told(shared_lab, until):
    """The run ends with an error; the other process leaves in order."""
    mine = psutil.Process()
    before = {child.pid for child in mine.children()}
    fleet = Fleet(shared_lab, cars=4, rate=10, prefix="dies-", processes=2).start()
    until(lambda: fleet.status().connected == 4)
    workers = [child.pid for child in mine.children() if child.pid not in before]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    with pytest.raises(EnvironmentProblem, match="status -9"):
        fleet.stop()
    assert not any(psutil.pid_exists(pid) for pid in workers)


def test_cars_say_goodbye(shared_lab, until):
    """At the end the hub sees each connection end in order, and shows the devices as disconnected."""
    fleet = Fleet(shared_lab, cars=4, rate=10, prefix="bye-")
    fleet.run(0.3)
    states = [shared_lab.rest().call("GET", f"/devices/bye-{n:04}")["connectionState"] for n in range(1, 5)]
    assert states == ["Disconnected"] * 4
    log = (shared_lab.state_dir / "hub.log").read_text(encoding="utf-8")
    assert all(f"bye-{n:04}: connection closed: DISCONNECT" in log for n in range(1, 5))


async def test_it_runs_beside_a_loop_of_the_callers(shared_lab):
    """As in a notebook, whose kernel has a loop already."""
    fleet = Fleet(shared_lab, cars=2, rate=10, prefix="loop-")
    summary = await asyncio.to_thread(fleet.run, 0.3)
    with Fleet(shared_lab, cars=2, rate=10, prefix="loop-") as second:
        assert second.status().cars == 2
    assert summary.acknowledged > 0


def test_an_observer_that_fails_ends_the_run(shared_lab):
    """In order, and its error comes out: Ctrl-C takes the same way."""
    fleet = Fleet(shared_lab, cars=2, rate=10, prefix="stop-")

    def interrupt(status):
        if status.acknowledged:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fleet.run(None, interrupt, 0.05)
    summary = fleet.stop()
    assert summary.sent == summary.acknowledged > 0


def test_one_run_each(shared_lab):
    """A second start is refused, and so is a run of no time."""
    fleet = Fleet(shared_lab, cars=1, prefix="once-")
    with pytest.raises(UsageError, match="more than 0 s"):
        fleet.run(0)
    fleet.run(0.2)
    with pytest.raises(UsageError, match="another Fleet"):
        fleet.start()


def test_a_hub_that_is_down_at_the_start(shared_lab, tmp_path):
    """Registering says so at once."""

    class Gone:
        hostname, is_local, ca_file = "127.0.0.1", True, shared_lab.ca_file

        def rest(self):
            from iotedge_lab.rest import RestClient

            string = "HostName=127.0.0.1:9;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5"
            return RestClient(string, shared_lab.ca_file)

    with pytest.raises(HubNotRunning):
        Fleet(Gone(), cars=1).run(1.0)


def test_a_hub_beyond_this_machine_needs_a_yes(shared_lab):
    """Nothing is registered and nothing is sent; the error has the quota's arithmetic."""

    class Far:
        hostname, is_local, ca_file = "my-hub.azure-devices.net", False, shared_lab.ca_file
        rest = shared_lab.rest

    fleet = Fleet(Far(), cars=20, rate=1)
    for start in (fleet.register, fleet.start):
        with pytest.raises(UsageError, match=r"1,728,000 messages a day.*yes=True"):
            start()
