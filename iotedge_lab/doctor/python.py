"""Python, and the packages that need a wheel for this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iotedge_lab.doctor.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iotedge_lab.doctor.situation import Situation

_OLDEST, _NEWEST = (3, 11), (3, 13)
_WITHOUT_SERVICE: Final = (
    "cells that use azure.iot.hub (registry, twins, cloud-to-device messages) do not work; devices, events, "
    "'iotedge-lab device' and the hub itself do"
)


def check_python(here: Situation) -> Iterator[Finding]:
    """The version that the packages are made for."""
    version = here.machine.version[:2]
    if version < _OLDEST:
        yield fail(
            "python",
            f"{here.machine}: the lab needs Python 3.11 or later",
            "Install Python 3.11 and make the environment with it: python3.11 -m venv .venv",
        )
    elif version > _NEWEST:
        yield warn(
            "python",
            f"{here.machine}: there are no wheels of uamqp beyond Python 3.13, so {_WITHOUT_SERVICE}",
            "Make the environment with Python 3.11: python3.11 -m venv .venv",
        )
    else:
        yield ok("python", str(here.machine))


def check_device_sdk(here: Situation) -> Iterator[Finding]:
    """azure-iot-device."""
    yield from _required(here, "azure-iot-device", "azure.iot.device", "no device can connect")


def check_events_sdk(here: Situation) -> Iterator[Finding]:
    """azure-eventhub."""
    yield from _required(
        here, "azure-eventhub", "azure.eventhub", "nothing can be read from the built-in endpoint"
    )


def _required(here: Situation, package: str, module: str, without: str) -> Iterator[Finding]:
    problem = _import_problem(here, module)
    if problem:
        yield fail(package, f"it cannot be imported ({problem}); {without}", f"pip install {package}")
    else:
        yield ok(package, "it can be imported")


def check_service_sdk(here: Situation) -> Iterator[Finding]:
    """azure-iot-hub, with six (which it imports and declares nowhere) and uamqp (which has few wheels)."""
    name = "azure-iot-hub"
    problem = _import_problem(here, "azure.iot.hub")
    if not problem:
        yield ok(name, "it can be imported")
    elif not here.machine.has_uamqp:
        yield warn(
            name,
            f"it needs uamqp, which has no wheel for {here.machine}; {_WITHOUT_SERVICE}",
            _other_machine(here),
        )
    elif _import_problem(here, "six"):
        yield fail(
            name,
            "it imports the package six, which it does not declare and which is not installed",
            "pip install six",
        )
    else:
        missing = "uamqp" if _import_problem(here, "uamqp") else "it"
        yield warn(
            name,
            f"{missing} cannot be imported ({problem}); {_WITHOUT_SERVICE}",
            "pip install 'iotedge-lab[service]'",
        )


def _other_machine(here: Situation) -> str:
    if here.machine.processor.lower() in ("x86_64", "amd64"):
        return "Make the environment with Python 3.11: python3.11 -m venv .venv"
    return "Use the devcontainer or Binder (both x86_64), or go on without azure.iot.hub"


def _import_problem(here: Situation, module: str) -> str:
    """Why `module` cannot be imported, '' if it can. What breaks while it is loaded counts too."""
    try:
        here.importing(module)
    except Exception as error:  # noqa: BLE001 - a broken package may raise anything, and that is the finding
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return ""


CHECKS: Final = (
    ("python", check_python),
    ("azure-iot-device", check_device_sdk),
    ("azure-eventhub", check_events_sdk),
    ("azure-iot-hub", check_service_sdk),
)
