"""A module's twin: desired properties as they come, and what of the reported ones the hub does not know yet.

One thread takes whole twins and patches in their order and reports; after each new connection the whole twin is
asked for, as the hub does not tell again what was desired meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from iotedge_lab.car.device.settings import merged

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from iotedge_lab.car.device.edge import EdgeHub

RETRY: Final = 1.0  # s between two attempts to have the twin


class Owner(Protocol):
    """The module, as its twin sees it."""

    @property
    def report_seconds(self) -> float:
        """How often it is asked for its status."""
        ...

    def configure(self, desired: Mapping[str, Any]) -> None:
        """Take the desired properties, all of them, without the twin's own members."""
        ...

    def status(self) -> Mapping[str, Any]:
        """What is to be reported."""
        ...


class Twin:
    """The twin. `ready` is set when it has been looked at, or cannot be had at the moment."""

    def __init__(self, hub: EdgeHub, owner: Owner, log: logging.Logger) -> None:
        self._hub, self._owner, self._log = hub, owner, log
        self._guard = threading.Lock()
        self._attention = threading.Event()
        self._patches: list[Mapping[str, Any]] = []
        self._wanted = True
        self._desired: dict[str, Any] = {}
        self._known: dict[str, Any] = {}  # what the hub has been told
        self.ready = threading.Event()
        self.version = 0
        """of the desired properties that are in force"""

    def patched(self, patch: Mapping[str, Any]) -> None:
        """For the SDK's handler: some desired properties have changed."""
        with self._guard:
            self._patches.append(patch)
        self._attention.set()

    def ask_again(self) -> None:
        """After a new connection: have the whole of it."""
        self._wanted = True
        self._attention.set()

    def report_now(self) -> None:
        """Something has happened that is worth telling at once."""
        self._attention.set()

    def release(self) -> None:
        """Let go of who waits for it."""
        self.ready.set()
        self._attention.set()

    def run(self) -> None:
        """Take desired properties, and report; until the edge hub is released."""
        self._hub.connected.wait()
        troubled = False
        while not self._hub.stopping:
            self._attention.clear()
            failed = False
            try:
                if self._hub.online:
                    self._take()
                    self.ready.set()
                    self._report()
                    troubled = False
            except Exception as error:  # noqa: BLE001 - the connection's errors: the twin is looked at again
                self.ready.set()  # a twin that cannot be had does not hold up the module
                if not (troubled or self._hub.stopping):
                    self._log.warning("The twin cannot be reached, trying again: %s", error)
                troubled = failed = True
            self._attention.wait(RETRY if failed else self._owner.report_seconds)

    def _take(self) -> None:
        if self._wanted:
            self._wanted = False
            try:
                twin = self._hub.client.get_twin()
            except BaseException:
                self._wanted = True
                raise
            self._known = reported(twin)
            self._desired = merged({}, twin["desired"])
            self._configure(twin["desired"])
        with self._guard:
            patches, self._patches = self._patches, []
        for patch in patches:
            if (
                patch.get("$version", 0) > self.version
            ):  # else the twin that was read meanwhile had it already
                self._desired = merged(self._desired, patch)
                self._configure(patch)

    def _configure(self, told: Mapping[str, Any]) -> None:
        self.version = told.get("$version", 0)
        wanted = {name: value for name, value in self._desired.items() if not name.startswith("$")}
        self._owner.configure(wanted)

    def _report(self) -> None:
        status = dict(self._owner.status())
        patch = difference(self._known, status)
        if patch:
            self._hub.client.patch_twin_reported_properties(patch)
            self._known = status


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that makes `after` of `before`: what is new or other, and None for what is gone."""
    patch: dict[str, Any] = {}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, Mapping):
            deeper = difference(old if isinstance(old, Mapping) else {}, value)
            if deeper or not isinstance(old, Mapping):
                patch[name] = deeper
        elif value != old or type(value) is not type(old):
            patch[name] = value
    patch |= {name: None for name in before if name not in after and before[name] is not None}
    return patch


def reported(twin: Mapping[str, Any]) -> dict[str, Any]:
    """What a twin's reported section holds, without the hub's own members."""
    return {name: value for name, value in twin.get("reported", {}).items() if not name.startswith("$")}


def handlers(
    hub: EdgeHub,
    twin: Twin,
    answer: Callable[[str, Any], tuple[int, dict[str, Any]]],
    response: Callable[[Any, int, Any], Any],
    log: logging.Logger,
) -> dict[str, Callable[..., None]]:
    """What the SDK calls, by its names, each on a thread of its own.

    answer: gives status and payload for a direct method's name and payload; response: makes the vendor's response.
    """

    def connection() -> None:
        if hub.stopping:
            return
        if hub.online:
            log.info("Connected to the edge hub")
            twin.ask_again()
        else:
            log.warning("The edge hub is lost; messages wait for it")

    def method(request: Any) -> None:
        status, payload = answer(request.name, request.payload)
        log.info("Method %s: %d", request.name, status)
        try:
            hub.client.send_method_response(response(request, status, payload))
        except Exception as error:  # noqa: BLE001 - the caller has its time-out
            log.warning("The answer to %s was not sent: %s", request.name, error)

    return {
        "on_method_request_received": method,
        "on_twin_desired_properties_patch_received": twin.patched,
        "on_connection_state_change": connection,
    }
