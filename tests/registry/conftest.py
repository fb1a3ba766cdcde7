"""Ports for the tests of the registry."""

import socket

import pytest


def _free():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def free_port():
    """A port that nobody listens on now."""
    return _free()


@pytest.fixture
def free_port_of_nobody():
    """A port that nobody will listen on."""
    return _free()
