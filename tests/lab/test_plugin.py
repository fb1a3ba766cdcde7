"""The pytest plugin: the fixture `iothub`, as a developer's own tests use it."""

import sys
import textwrap

import psutil
import pytest

pytest_plugins = ["pytester"]

DEVELOPERS_TESTS = """
import os
import pytest
from iotedge_lab.lab import Lab


def test_a_device_sends(iothub):
    assert isinstance(iothub, Lab)
    assert os.environ["IOTHUB_CONNECTION_STRING"] == iothub.service_connection_string
    assert os.environ["SSL_CERT_FILE"] == str(iothub.ca_file)
    from azure.iot.hub import IoTHubRegistryManager
    from azure.iot.device import IoTHubDeviceClient

    registry = IoTHubRegistryManager.from_connection_string(iothub.service_connection_string)
    registry.create_device_with_sas("dev1", "", "", "enabled")
    client = IoTHubDeviceClient.create_from_connection_string(iothub.device_connection_string("dev1"))
    client.connect()
    client.send_message("hello")
    client.shutdown()
    assert iothub.status()["messages"] == 1


@pytest.mark.parametrize("number", range(2))
def test_each_test_has_a_hub_of_its_own(iothub, number):
    assert iothub.status()["devices"] == 0
    iothub.rest().call("PUT", "/devices/same-name", {})


def test_it_survives_a_crash(iothub):
    iothub.rest().call("PUT", "/devices/d", {})
    iothub.crash()
    iothub.start()
    assert iothub.status()["devices"] == 1


def test_one_that_fails(iothub):
    assert iothub.status()["devices"] == 99
"""


@pytest.fixture
def developer(pytester, monkeypatch):
    """A folder with a developer's tests, and nothing else of ours."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setenv("TMPDIR", str(pytester.path))
    pytester.makepyfile(test_theirs=DEVELOPERS_TESTS)
    return pytester


def _hubs(folder):
    """The hubs that run in a folder below this one."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "iotedge_lab.hub" in words and any(str(folder) in word for word in words):
            found.append(process.pid)
    return found


# Other plugins that are installed here, and take seconds to load.
QUICK = ("-q", "-p", "no:cacheprovider", "-p", "no:nbval", "-p", "no:hypothesispytest")


@pytest.mark.timeout(360)
@pytest.mark.parametrize(
    ("words", "outcomes"),
    [(("-k", "sends or fails"), {"passed": 1, "failed": 1}), (("-n", "2"), {"passed": 4, "failed": 1})],
    ids=["alone", "side by side"],
)
def test_a_developers_tests(developer, words, outcomes):
    """They pass and fail as they should, one after another and side by side, and no hub stays behind."""
    result = developer.runpytest_subprocess(*words, *QUICK, timeout=300)
    found = result.parseoutcomes()
    assert {name: found.get(name, 0) for name in outcomes} == outcomes
    assert "errors" not in found
    result.stdout.fnmatch_lines(["*assert 0 == 99*"])
    assert _hubs(developer.path) == []


def test_the_fixture_is_documented(developer):
    """`pytest --fixtures` tells of it."""
    result = developer.runpytest_subprocess("--fixtures", *QUICK, timeout=100)
    result.stdout.fnmatch_lines(["iothub*", "*running IoT Hub*"])


def test_the_plugin_is_light(developer):
    """Loading it costs a test run without the fixture nothing: no SDK, no aiohttp, no pandas."""
    program = textwrap.dedent(
        """
        import sys
        import iotedge_lab.pytest_plugin
        heavy = {"aiohttp", "azure", "pandas", "numpy", "cryptography", "uamqp", "iotedge_lab.lab"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    result = developer.run(sys.executable, "-c", program)
    result.stdout.fnmatch_lines(["[[]]"])
