"""monitor: the vendor's reader against a real hub."""

import json
import re
import signal
import subprocess
import sys

import pytest
from azure.iot.device import IoTHubDeviceClient, Message

HEAD = "[IoTHubMonitor] "
OPENING = [
    f"{HEAD}Start monitoring message arrived in built-in endpoint for all devices ...",
    f"{HEAD}Created partition receiver [0] for consumerGroup [$Default]",
    f"{HEAD}Created partition receiver [1] for consumerGroup [$Default]",
]


def send(hub, device, *bodies):
    """Send as the device does."""
    client = IoTHubDeviceClient.create_from_connection_string(
        hub.device_connection_string(device), server_verification_cert=hub.ca_file.read_text()
    )
    try:
        for number, body in enumerate(bodies):
            message = Message(body)
            message.message_id = f"{device}-{number}"
            message.custom_properties["n"] = str(number)
            client.send_message(message)
    finally:
        client.shutdown()


@pytest.fixture(scope="module")
def sent(hub):
    """Two devices, and what they have sent."""
    hub.reset()
    for device in ("car", "van"):
        hub.rest().call("PUT", f"/devices/{device}", {"deviceId": device})
    send(hub, "car", '{"speed": 1}', "text", b"\xff\x00")
    send(hub, "van", '{"speed": 2}')


def test_it_prints_as_vs_code_does(sent, cli, state):
    """All of it, from the start, and then it stops at the count."""
    result = cli("monitor", "--from-start", "--count", "4", "--timeout", "20", *state)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:3] == OPENING
    pattern = re.compile(
        r"\[IoTHubMonitor\] \[\d{1,2}:\d\d:\d\d [AP]M\] Message received from \[(car|van)\]:"
    )
    heads = [match[1] for line in lines if (match := pattern.fullmatch(line))]
    assert sorted(heads) == ["car", "car", "car", "van"]
    assert '"text"' in lines
    assert "(2 bytes, base64) /wA=" in lines


def test_json_is_one_object_a_line(sent, cli, state):
    """Nothing but objects; one device's in the order in which it sent them."""
    result = cli(
        "monitor", "--from-start", "--json", "--device", "car", "--count", "3", "--timeout", "20", *state
    )
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["body"] for each in found] == [{"speed": 1}, "text", "/wA="]
    assert [each["properties"] for each in found] == [{"n": "0"}, {"n": "1"}, {"n": "2"}]
    assert {each["deviceId"] for each in found} == {"car"}


def test_it_fails_when_too_few_come(sent, cli, state):
    """--count with --timeout is a check that a script can make."""
    result = cli("monitor", "--count", "1", "--timeout", "1", *state)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == OPENING
    assert result.stderr == "error: only 0 of 1 messages came within 1 s.\n"


def test_an_unknown_group_is_refused_at_once(sent, cli, state):
    """With the command that makes it."""
    result = cli("monitor", "--consumer-group", "lake", *state)
    assert result.exit_code == 1
    assert "iotedge-lab consumer-group create lake" in result.stderr


def test_it_sees_what_comes_after_its_opening_until_ctrl_c(sent, hub, state):
    """No gap after the opening lines, nothing from before, and Ctrl-C is quiet."""
    command = [sys.executable, "-m", "iotedge_lab", "monitor", "--properties", *state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert [process.stdout.readline().rstrip("\n") for _ in OPENING] == OPENING
            send(hub, "van", '{"new": true}')
            assert process.stdout.readline().rstrip("\n").endswith(" Message received from [van]:")
            body = ""
            while not body.endswith("\n}\n"):
                line = process.stdout.readline()
                assert line, body
                body += line
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert json.loads(body) == {
        "body": {"new": True}, "applicationProperties": {"n": "0"}, "properties": {"message-id": "van-0"},
    }  # fmt: skip
    assert (process.returncode, out, err) == (130, "", "")
