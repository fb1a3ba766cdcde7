"""Who may connect to this edge: its own modules and the leaf devices in its scope, known also while offline.

Stands for the edge hub's device scope cache ("Understand extended offline capabilities", learn.microsoft.com, IoT
Edge, offline-capabilities): the hub tells which identities the edge may act for, with their keys, and their tokens
are verified here. Left out: certificates of leaf devices; they authenticate by key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from iotedge_lab.broker.connection import Admitted
from iotedge_lab.broker.tokens import check_own, resource
from iotedge_lab.edge.upstream import CloudIdentity, Registered, Scope
from iotedge_lab.edge.workload import ModuleKey
from iotedge_lab.errors import AccessDenied, DeviceNotFound, ModuleNotFound, Unauthorized, UsageError
from iotedge_lab.wire import sas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.store import KeptIdentities
    from iotedge_lab.wire.sas import SasToken

SYSTEM_MODULES = ("$edgeAgent", "$edgeHub")


class OutOfDate(Unauthorized):
    """Refused by what is known here, and the hub may know better: a new identity, a new key, one enabled again."""


class Identities:
    """The identities of an edge device's scope, in memory, and kept in its store.

    `hosts` are the names that a token may be for: the IoT Hub's, as the SDKs have it through a gateway too.
    """

    def __init__(self, kept: KeptIdentities, device: str, hosts: frozenset[str], clock: Clock) -> None:
        self.device = device
        self._kept = kept
        self._hosts = frozenset(host.lower() for host in hosts)
        self._clock = clock
        self._known: dict[tuple[str, str], Registered] = {
            (device, module): Registered.from_json(document) for device, module, document in kept.list()
        }
        self.on_change: list[Callable[[Registered, Registered | None], None]] = []
        """told of each identity that is no longer what it was: before, and now (None: it is gone)"""

    def __iter__(self) -> Iterator[Registered]:
        return iter(self._known.values())

    def find(self, device: str, module: str = "") -> Registered | None:
        """The identity, or None."""
        return self._known.get((device, module))

    def get(self, device: str, module: str = "") -> Registered:
        """The identity; raises `DeviceNotFound` or `ModuleNotFound`."""
        found = self.find(device, module)
        if found is None:
            name = f"{device}/{module}" if module else device
            kind = ModuleNotFound if module else DeviceNotFound
            raise kind(f"{name} is not in the scope of the edge device {self.device}.")
        return found

    def own_modules(self) -> list[Registered]:
        """The modules of the edge device itself, `$edgeAgent` and `$edgeHub` among them."""
        return [each for each in self._known.values() if each.device == self.device and each.module]

    def cloud_identity(self, device: str, module: str) -> CloudIdentity:
        """With its key, to connect to the hub as. Raises as `get` does."""
        return CloudIdentity(device, module, self.get(device, module).primary_key)

    def replace(self, scope: Scope) -> None:
        """Take what the hub says now for the whole truth. Raises `StoreUnavailable`, and nothing has changed."""
        fresh = {(each.device, each.module): each for each in (*scope.devices, *scope.modules)}
        own = self._known.get((self.device, ""))
        if own is not None:
            fresh.setdefault((self.device, ""), own)
        if fresh == self._known:
            return
        self._kept.replace((device, module, each.to_json()) for (device, module), each in fresh.items())
        before, self._known = self._known, fresh
        for key, old in before.items():
            self._tell(old, fresh.get(key))

    def save(self, identities: Iterable[Registered]) -> None:
        """Add or change some. Raises `StoreUnavailable`."""
        for each in identities:
            key = (each.device, each.module)
            old = self._known.get(key)
            if each != old:
                self._kept.save(each.device, each.module, each.to_json())
                self._known[key] = each
                if old is not None:
                    self._tell(old, each)

    def delete(self, device: str, module: str) -> None:
        """Forget one; a device goes with its modules. Raises `StoreUnavailable`."""
        gone = [key for key in self._known if key == (device, module) or (key[0] == device and not module)]
        for key in gone:
            self._kept.delete(*key)
            self._tell(self._known.pop(key), None)

    def admit(self, host: str, device: str, module: str, token: str | None) -> Admitted:
        """Let an identity in by its SAS token, or raise `Unauthorized` with the reason.

        `OutOfDate`, where it would be let in if the hub knew more of it than this edge.
        """
        if not self.speaks_of_us(host.partition(":")[0]):
            raise Unauthorized(
                f"the user name says host {host!r}; this edge belongs to {', '.join(self._hosts)}."
            )
        name = f"{device}/{module}" if module else device
        if module in SYSTEM_MODULES:
            raise Unauthorized(f"{name!r} is the runtime itself, and connects to nobody but the hub.")
        if not token:
            raise Unauthorized(f"{name!r} gave no SAS token; certificates are not served at an edge.")
        parsed = sas.parse(token)
        target = resource(host.partition(":")[0], device, module)
        if not sas.scope_covers(parsed.resource_decoded, target):
            raise Unauthorized(f"the token speaks for {parsed.resource_decoded!r}, not for {target!r}.")
        if self._clock.now() >= parsed.expiry:
            raise AccessDenied(f"the token of {name!r} has expired; make a new one, and check the clock.")
        known = self.find(device, module)
        if known is None:
            raise OutOfDate(
                f"{name!r} is not in the scope of the edge device {self.device!r}: make the device its child "
                "(parentScopes), or deploy the module."
            )
        self.check(parsed, host.partition(":")[0], known)
        return Admitted(device, module, parsed.expiry)

    def check(self, token: SasToken, host: str, known: Registered) -> None:
        """Raise `Unauthorized` unless the token is the identity's own, and it is enabled; `OutOfDate` as `admit`."""
        owner = self.find(known.device) or known
        if not (known.enabled and owner.enabled):
            raise OutOfDate(f"{known.device!r} is disabled at the hub.")
        if not known.has_key:
            raise OutOfDate(f"{known.device!r} authenticates by {known.auth_type}, not by SAS.")
        keys = [key for key in (known.primary_key, known.secondary_key) if key]
        try:
            check_own(token, resource(host, known.device, known.module), keys, self._clock.now())
        except AccessDenied:  # it has expired
            raise
        except Unauthorized as error:
            raise OutOfDate(error.message) from error
        except UsageError as error:
            raise OutOfDate(f"the key that the hub gave for {known.device!r} is no key.") from error

    def speaks_of_us(self, host: str) -> bool:
        """Whether tokens may be for this host."""
        return host.lower() in self._hosts

    def _tell(self, old: Registered, new: Registered | None) -> None:
        if new != old:
            for tell in self.on_change:
                tell(old, new)


class ModuleKeys(Mapping[str, ModuleKey]):
    """What the workload API signs with (`workload.KeyRing`): the edge device's own modules, as they are now.

    Not for the runtime's own: no module may speak as `$edgeAgent`.
    """

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def __getitem__(self, module: str) -> ModuleKey:
        found = self._identities.find(self._identities.device, module)
        if found is None or not _is_deployed(found):
            raise KeyError(module)
        return ModuleKey(found.generation_id, found.primary_key)

    def __iter__(self) -> Iterator[str]:
        return (each.module for each in self._identities.own_modules() if _is_deployed(each))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _is_deployed(found: Registered) -> bool:
    return bool(found.module) and found.module not in SYSTEM_MODULES and found.has_key
