"""The identities that an edge device may act for, kept in step with the hub's registry.

Stands for the edge hub's device scope cache and for the part of the identity service that makes module identities
("Understand the Azure IoT Edge runtime and its architecture", learn.microsoft.com, IoT Edge, iot-edge-runtime).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.errors import UpstreamAway
from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iotedge_lab.edge.hub import EdgeHub
    from iotedge_lab.edge.upstream import CloudRest, Gate, Registered

log = logging.getLogger(__name__)

MANAGER: Final = "IotEdge"
"""`managedBy` of the identities that the runtime makes, as the real one writes it."""

_REFRESH: Final = 3600.0  # s between two looks at the whole scope, as the real edge hub has it
_RETRY: Final = 2.0  # s, doubled up to _RETRY_MOST: while the scope cannot be read
_RETRY_MOST: Final = 30.0
_SOON: Final = 1.0  # s from a reason to look again to the look: several come together
_LEAST: Final = 2.0  # s between two looks that something asked for


class DeviceScope:
    """Reads the scope, and makes and deletes module identities; `was_read` is awaited after each look.

    It does one after another: an answer that was on its way while an identity was made does not know of it.
    """

    def __init__(
        self, hub: EdgeHub, rest: CloudRest, gate: Gate, was_read: Callable[[], Awaitable[None]]
    ) -> None:
        self._hub = hub
        self._rest = rest
        self._gate = gate
        self._was_read = was_read
        self._turn = asyncio.Lock()
        self._look_again = asyncio.Event()
        self.is_read = False
        """whether the scope was read since the start"""
        self.trouble = ""
        """why it could not be read the last time"""

    def look_again(self) -> None:
        """Something has changed at the hub: look at the whole scope soon."""
        self._look_again.set()

    async def keep(self) -> None:
        """Read the scope at the start, each hour, and when somebody says so; never returns."""
        delay = _RETRY
        while True:
            if await self._read():
                delay, wait = _RETRY, _REFRESH
            else:
                wait, delay = delay, min(delay * 2, _RETRY_MOST)
            began = self._hub.clock.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._look_again.wait()
            await asyncio.sleep(
                max(_SOON, began + _LEAST - self._hub.clock.monotonic()) if self.is_read else _SOON
            )
            self._look_again.clear()
            await self._gate.wait_open()

    async def _read(self) -> bool:
        try:
            async with self._turn:
                self._hub.identities.replace(await self._rest.scope())
        except LabError as error:
            if str(error) != self.trouble:
                level = logging.INFO if isinstance(error, UpstreamAway) else logging.WARNING
                log.log(level, "the device scope cannot be read: %s", error)
            self.trouble = str(error)
            return False
        self.is_read, self.trouble = True, ""
        self._hub.asking.forget()
        try:
            await self._was_read()
        except Exception:  # a fault there must not end the care for the scope
            log.exception("after the device scope was read")
        return True

    async def look_up(self, device: str, module: str) -> None:
        """Ask about one identity that wants to connect, and is not let in by what is known; never raises."""
        name = f"{device}/{module}" if module else device
        try:
            async with self._turn:
                found = await self._rest.member(device, module)
                if found is not None:
                    self._hub.identities.save((*found.devices, *found.modules))
                    return
                log.info("%s is not in the scope of this edge device", name)
                self._hub.identities.delete(device, module)
                if device == self._hub.settings.device:
                    self.look_again()  # a module that is deployed gets another identity
        except LabError as error:
            log.info("the hub cannot be asked about %s: %s", name, error)

    async def make(self, module: str) -> Registered:
        """The identity of a module of this device, made at the hub if there is none; raises LabError."""
        async with self._turn:
            found = await self._rest.create_module(module, MANAGER)
            self._hub.identities.save([found])
            return found

    async def delete(self, module: str) -> None:
        """Delete the identity of a module of this device; raises LabError."""
        async with self._turn:
            await self._rest.delete_module(module)
            self._hub.identities.delete(self._hub.settings.device, module)
