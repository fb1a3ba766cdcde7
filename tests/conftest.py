"""What all tests share: the faults of the vendors' own packages that may not fail a test of ours.

Warnings are errors here (pyproject.toml). The lines below let through what the SDKs cause by themselves, each
as narrowly as pytest can say it. They stand here and not in pyproject.toml, because they are about tests alone.
"""

import signal

import pytest

_VENDORS_WARNINGS = (
    # azure-iot-device 2.14 asks for TLS 1.2 by the constant that Python 3.10 deprecated.
    r"ignore:ssl\.PROTOCOL_TLSv1_2 is deprecated:DeprecationWarning:azure\.iot\.device",
    # paho-mqtt 1.6, which azure-iot-device brings, makes a socket pair at each connect and forgets the last one.
    r"ignore:unclosed <socket\.socket:ResourceWarning:paho\.mqtt\.client",
    # The same pair, collected wherever the collector happens to run: two high ports of 127.0.0.1. A socket of ours
    # has a port of the hub's, four digits, at one end.
    (
        r"ignore:unclosed <socket\.socket fd=\d+, family=2, type=1, proto=0, "
        r"laddr=\('127\.0\.0\.1', \d{5}\), raddr=\('127\.0\.0\.1', \d{5}\)>:ResourceWarning"
    ),
)


def pytest_configure(config):
    for line in _VENDORS_WARNINGS:
        config.addinivalue_line("filterwarnings", line)
    # A shell's background job ignores Ctrl-C, and so does all that it starts: here processes are ended by it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


#: Its tests need not run one after another on one worker: they would take longer than all others side by side.
SCATTERED = "tests/browser/test_lab_in_browser.py"


def pytest_xdist_make_scheduler(config, log):
    """`--dist loadfile`: a file's tests stay together, as they share a hub, but for one file's."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return nodeid if nodeid.startswith(SCATTERED) else super()._split_scope(nodeid)

    return ByFile(config, log)


@pytest.fixture(autouse=True)
def _no_hub_from_outside(monkeypatch):
    """No test is led to a hub of the user's by a variable of theirs; a lab's `activate` sets it again."""
    for name in (
        "IOTHUB_CONNECTION_STRING",
        "EVENTHUB_CONNECTION_STRING",
        "AZURE_STORAGE_CONNECTION_STRING",
        "IOTEDGE_LAB_STATE",
    ):
        monkeypatch.delenv(name, raising=False)
