"""A bus by its address: one word that a module's setting, a variable or a notebook can hold.

unix:PATH              between processes of one user, on a unix socket (`socket_bus`)
virtual:NAME           within this process, python-can's own
socketcan:INTERFACE    Linux: vcan0, or a real car by an adapter
udp_multicast:ADDRESS  every machine of the network segment: only with `allow_network`, see `open_bus`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import can

from iotedge_lab.car.can.socket_bus import SocketBus
from iotedge_lab.errors import EnvironmentProblem, UsageError

if TYPE_CHECKING:
    from iotedge_lab.clock import Clock


def open_bus(
    address: str,
    *,
    preserve_timestamps: bool = False,
    receive_own_messages: bool = False,
    allow_network: bool = False,
    clock: Clock | None = None,
) -> can.BusABC:
    """A python-can bus; `shutdown()` it, or use it in a `with`.

    preserve_timestamps: frames keep the stamps they are given (unix, virtual). allow_network: `udp_multicast`
    listens on every network interface, and whoever else uses the address on that network drives the same car; so
    it opens only when told to. It needs the package msgpack. clock: stamps the frames of a `unix` bus.

    Raises UsageError for an address that is none, EnvironmentProblem for a bus that cannot be had here.
    """
    kind, _, place = address.partition(":")
    if not place:
        raise UsageError(
            f"{address!r} is no bus; write unix:PATH, virtual:NAME or socketcan:INTERFACE, as in unix:/tmp/me/car-1."
        )
    if kind == "udp_multicast" and not allow_network:
        raise UsageError(
            "udp_multicast would send the car's frames to the whole network and mix them with those of everyone who "
            "does the same. Take unix:PATH; if that is what you want, say allow_network=True."
        )
    options: dict[str, Any] = {"receive_own_messages": receive_own_messages}
    try:
        if kind == "unix":
            return SocketBus(place, preserve_timestamps=preserve_timestamps, clock=clock, **options)
        if kind == "virtual":
            return can.Bus(place, interface=kind, preserve_timestamps=preserve_timestamps, **options)
        if kind in ("socketcan", "udp_multicast"):
            return can.Bus(place, interface=kind, **options)
    except (can.CanError, OSError, ImportError, NotImplementedError) as error:
        raise EnvironmentProblem(f"The bus {address} cannot be opened: {error}{_advice(kind)}") from error
    raise UsageError(
        f"{kind!r} is no kind of bus of this lab: take unix, virtual or socketcan, or open it with can.Bus()."
    )


def _advice(kind: str) -> str:
    if kind == "socketcan":
        return ". `ip link show type vcan` lists what there is; without root take unix:PATH."
    if kind == "udp_multicast":
        return ". It needs the package msgpack and a network that carries multicast; unix:PATH needs neither."
    return ""
