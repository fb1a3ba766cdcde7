"""The capture's process with a real hub: every message that was acknowledged is one row, whatever is killed."""

import json
import random
import shutil
import threading
import time

import psutil
import pytest
from azure.iot.device import IoTHubDeviceClient, Message
from lake_cases import keys, lake_of, send

from iotedge_lab.capture import Capture
from iotedge_lab.errors import EnvironmentProblem, HubFailed, HubNotRunning, StateLocked, UsageError
from iotedge_lab.lab import Lab
from iotedge_lab.lake.schema import TABLES


def all_bodies(lake):
    """The `Seconds` of telemetry and the bodies of what was rejected: what these tests number their messages by."""
    return sorted(lake.frame("telemetry")["seconds"]), sorted(lake.frame("rejected")["body"])


def all_keys(lake):
    return [key for table in TABLES for key in keys(lake.frame(table.name))]


def until(condition, seconds=60.0):
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def numbered(rows, first, count):
    """Bodies of telemetry whose Seconds are first, first + 1, ...; one in seven is no row, but its number."""
    line = rows[0].to_csv_line().split(",")
    return [
        b"%d" % number if number % 7 == 3 else ",".join([line[0], str(number), *line[2:]]).encode()
        for number in range(first, first + count)
    ]


def check_numbered(lake, count):
    """Each of these messages is there, once."""
    telemetry, rejected = all_bodies(lake)
    assert sorted([*telemetry, *map(float, rejected)]) == list(range(count))
    found = all_keys(lake)
    assert len(found) == len(set(found)) == count


def test_what_the_sdk_sends_is_in_the_tables(hub, device, capture, rows):
    """Each class in its table, with who sent it and when; what cannot be read with the reason."""
    with pytest.raises(HubNotRunning, match="Start it"):
        capture.status()
    assert "not running" in repr(capture)
    name = device()
    hub.rest().call("PUT", f"/devices/{name}/modules/Filter", {})
    capture.open(hub.events_connection_string, seconds=0.2)
    client = IoTHubDeviceClient.create_from_connection_string(
        hub.device_connection_string(name), server_verification_cert=hub.ca_file.read_text()
    )
    client.connect()
    try:
        for number, row in enumerate(rows[:5]):
            message = Message(row.to_json(), f"m-{number}", "utf-8", "application/json")
            message.custom_properties["driveId"] = "city-1"
            client.send_message(message)
        prediction = Message('{"predicted": 30.5, "actual": 30, "error": 0.5, "modelVersion": "3"}')
        prediction.custom_properties["messageType"] = "prediction"
        client.send_message(prediction)
        detection = Message('{"label": "Car", "score": 0.9, "box": [1, 2, 3, 4]}')
        detection.custom_properties["messageType"] = "detection"
        client.send_message(detection)
        client.send_message("hello")
    finally:
        client.shutdown()
    status = capture.wait()
    assert status.state == "capturing"
    lake = lake_of(capture)
    mine = lake.frame(devices=[name])
    assert list(mine["seconds"]) == [row.seconds for row in rows[:5]]
    assert list(mine["message_id"]) == [f"m-{number}" for number in range(5)]
    assert set(mine["drive_id"]) == {"city-1"}
    assert json.loads(mine["properties"][0]) == {"driveId": "city-1"}
    assert set(mine["date"]) == set(mine["enqueued"].dt.date)
    assert list(lake.frame("predictions", devices=[name])["predicted"]) == [30.5]
    assert list(lake.frame("detections", devices=[name])["label"]) == ["Car"]
    bad = lake.frame("rejected", devices=[name])
    assert (bad["body"][0], bad["kind"][0]) == (b"hello", "bad")
    joined = lake.sql(
        "SELECT t.device, avg(t.speed) AS speed, count(*) AS n FROM telemetry t "
        f"JOIN predictions p USING (device) WHERE device = '{name}' GROUP BY ALL"
    )
    assert list(joined["n"]) == [5]
    assert "city-1" in set(lake.drives()["drive_id"])
    send(hub, name, b"{}", module="Filter", messageType="video")
    check_status(capture)
    other = lake.frame("rejected", devices=[name]).iloc[-1]
    assert (other["module"], other["kind"], other["message_type"]) == ("Filter", "other", "video")


def check_status(capture):
    """Rows, versions, lag and how far behind, for a widget to show; and nothing that others may not read."""
    capture.wait()
    until(lambda: capture.status().lag is not None)
    found, lake = capture.status(), lake_of(capture)
    assert found.rows == {name: lake.count(name) for name in found.rows}
    assert found.versions == lake.tables()
    assert found.messages == sum(found.rows.values())
    assert 0 < found.lag.p50 <= found.lag.p99 <= found.lag.most
    assert found.behind == 0
    assert found.memory > 10
    assert type(found).from_json(json.loads(json.dumps(found.to_json()))) == found
    assert "telemetry" in capture._repr_html_()
    assert f"{found.rows['telemetry']:,} rows" in lake._repr_html_()
    for file in (capture.folder.settings_file, capture.folder.status_file, capture.folder.log_file):
        assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 6))])
def test_kill_nine_again_and_again(lab, device, capture, rows, seed):
    """Messages go on while the capture, and the hub, are killed, and the hub is reset: each is in the tables once."""
    chance = random.Random(seed)
    turns = 4 if seed == 0 else 12
    names = [device(lab, f"car-{number}") for number in range(3)]
    capture.open(lab.events_connection_string, seconds=0.05)
    sent = 0
    for turn in range(turns):
        begun = threading.Event()
        spans = []
        for name in names:
            count = chance.randrange(100, 400)
            spans.append((name, numbered(rows, sent, count)))
            sent += count

        def feed(spans=spans, begun=begun):
            for name, bodies in spans:
                send(lab, name, *bodies)
                begun.set()

        feeding = threading.Thread(target=feed)
        feeding.start()
        assert begun.wait(60)
        time.sleep(chance.random() * 0.4)  # not for something to happen: the moment of the kill is to be any
        capture.kill()
        feeding.join(60)
        assert not feeding.is_alive()
        if turn % 4 == 2:
            lab.crash()
            lab.start()
        capture.start()
    capture.wait()
    check_numbered(lake_of(capture), sent)
    lab.reset()
    device(lab, names[0])
    send(lab, names[0], *numbered(rows, sent, 50))
    capture.wait()
    check_numbered(lake_of(capture), sent + 50)


def test_a_hub_that_comes_late_goes_and_is_made_anew(tmp_path, device, capture, rows):
    """It is waited for, with a word. One made anew counts from 0 again, and its messages are taken for no others."""
    with Lab.open(tmp_path / "one", ephemeral=True) as first:
        name = device(first, "car")
        first.stop()
        capture.open(first.events_connection_string, seconds=0.1)
        until(lambda: capture.status().state == "retrying")
        assert "does not answer" in capture.status().word
        with pytest.raises(HubNotRunning, match="does not answer"):
            capture.wait(5)
        first.start()
        send(first, name, *numbered(rows, 0, 30))
        assert capture.wait().state == "capturing"
    with Lab.open(tmp_path / "two", ephemeral=True) as second:
        send(second, device(second, "car"), *numbered(rows, 30, 60))
        capture.open(second.events_connection_string, seconds=0.1)
        status = capture.wait()
        frame = lake_of(capture).frame()
        assert frame["log"].nunique() == 2
        assert status.log == list(frame["log"])[-1]
        check_numbered(lake_of(capture), 90)


def test_two_captures_of_one_lake_are_refused(hub, tmp_path, capture):
    """And two of one state folder are one."""
    capture.open(hub.events_connection_string)
    with Capture(tmp_path / "second", ephemeral=True) as second:
        with pytest.raises(StateLocked, match="Another capture writes to the lake"):
            second.open(hub.events_connection_string, lake=capture.lake.uri)
        assert not second.is_running
        pid = capture.status().pid
        assert Capture(capture.folder.state).open(hub.events_connection_string).status().pid == pid
        assert capture.stop()
        assert not capture.stop()
        assert capture.status().state == "stopped"
        second.start()
        assert second.is_running


def test_without_its_folder_it_ends(hub, tmp_path):
    """Nobody could find it any more, to stop it."""
    with Capture(tmp_path / "short", ephemeral=True) as capture:
        capture.open(hub.events_connection_string)
        process = psutil.Process(capture.status().pid)
        shutil.rmtree(tmp_path / "short")
        process.wait(60)


def test_what_keeps_it_from_starting(hub, tmp_path, capture):
    """A lake of another shape, a place that cannot be written to, no settings."""
    with pytest.raises(EnvironmentProblem, match="Start the capture anew"):
        capture.start()
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be written to"):
        capture.open(hub.events_connection_string, lake=tmp_path / "file" / "lake")
    import deltalake

    lake = tmp_path / "lake"
    deltalake.write_deltalake(
        str(lake / "telemetry"), deltalake.DeltaTable.create(
            str(tmp_path / "x"), deltalake.Schema([deltalake.Field("a", deltalake.schema.PrimitiveType("long"))])
        ).to_pyarrow_table()
    )  # fmt: skip
    with pytest.raises(UsageError, match="another shape"):
        capture.open(hub.events_connection_string, lake=lake)
    with pytest.raises(UsageError, match=r"0\.05 to 3600"):
        capture.open(hub.events_connection_string, seconds=0)


def test_a_full_disk_ends_it_and_loses_nothing(lab, device, capture, rows):
    """The last word says what to do; with room again all is there."""
    resource = pytest.importorskip("resource", reason="limits of a process's files are a thing of POSIX")
    if not hasattr(resource, "prlimit"):
        pytest.skip("no prlimit here")
    name = device(lab)
    send(lab, name, *numbered(rows, 0, 10))
    capture.open(lab.events_connection_string, seconds=0.1).wait()
    pid = capture.status().pid
    # Its status and its log still fit: only the tables' files are larger.
    size = capture.folder.log_file.stat().st_size + 4000
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]))
    send(lab, name, *numbered(rows, 10, 2000))
    with pytest.raises(HubFailed, match="The disk is full"):
        capture.wait()
    assert capture.status().state == "failed"
    capture.start()
    capture.wait()
    check_numbered(lake_of(capture), 2010)
