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
from iotedge_lab.errors import DeviceNotFound, ModuleNotFound, Unauthorized
from iotedge_lab.wire import sas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.store import KeptIdentities
    from iotedge_lab.wire.sas import SasToken

SYSTEM_MODULES = ("$edgeAgent", "$edgeHub")


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
        self.on_gone: list[Callable[[str, str], None]] = []

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
        """Take what the hub says now for the whole truth: who is no longer in it, disabled or rekeyed, is cut."""
        fresh = {(each.device, each.module): each for each in (*scope.devices, *scope.modules)}
        own = self._known.get((self.device, ""))
        if own is not None:
            fresh.setdefault((self.device, ""), own)
        self._kept.replace((device, module, each.to_json()) for (device, module), each in fresh.items())
        before, self._known = self._known, fresh
        self._tell_gone(before)

    def save(self, identities: Iterable[Registered]) -> None:
        """Add or change some."""
        for each in identities:
            self._known[(each.device, each.module)] = each
            self._kept.save(each.device, each.module, each.to_json())

    def delete(self, device: str, module: str) -> None:
        """Forget one."""
        if self._known.pop((device, module), None) is not None:
            self._kept.delete(device, module)
            for tell in self.on_gone:
                tell(device, module)

    def admit(self, host: str, device: str, module: str, token: str | None) -> Admitted:
        """Let an identity in by its SAS token, or raise `Unauthorized` with the reason."""
        if host.partition(":")[0].lower() not in self._hosts:
            raise Unauthorized(
                f"the user name says host {host!r}; this edge belongs to {', '.join(self._hosts)}."
            )
        name = f"{device}/{module}" if module else device
        known = self.find(device, module)
        if known is None:
            raise Unauthorized(
                f"{name!r} is not in the scope of the edge device {self.device!r}: make the device its child "
                "(parentScopes), or deploy the module."
            )
        owner = self.find(device) or known
        if not (known.enabled and owner.enabled):
            raise Unauthorized(f"{name!r} is disabled at the hub.")
        if not token:
            raise Unauthorized(f"{name!r} gave no SAS token; certificates are not served at an edge.")
        parsed = sas.parse(token)
        self.check(parsed, host.partition(":")[0], known)
        return Admitted(device, module, parsed.expiry)

    def check(self, token: SasToken, host: str, known: Registered) -> None:
        """Raise `Unauthorized` unless the token is the identity's own."""
        if not known.has_key:
            raise Unauthorized(f"{known.device!r} authenticates by {known.auth_type}, not by SAS.")
        keys = (known.primary_key, known.secondary_key)
        check_own(token, resource(host, known.device, known.module), keys, self._clock.now())

    def speaks_of_us(self, host: str) -> bool:
        """Whether tokens may be for this host."""
        return host.lower() in self._hosts

    def _tell_gone(self, before: dict[tuple[str, str], Registered]) -> None:
        for key, old in before.items():
            new = self._known.get(key)
            changed = new is None or not new.enabled or new.generation_id != old.generation_id
            if changed:
                for tell in self.on_gone:
                    tell(*key)


class ModuleKeys(Mapping[str, ModuleKey]):
    """What the workload API signs with (`workload.KeyRing`): the edge device's own modules, as they are now."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def __getitem__(self, module: str) -> ModuleKey:
        found = self._identities.find(self._identities.device, module)
        if found is None or not module or not found.has_key:
            raise KeyError(module)
        return ModuleKey(found.generation_id, found.primary_key)

    def __iter__(self) -> Iterator[str]:
        return (each.module for each in self._identities.own_modules() if each.has_key)

    def __len__(self) -> int:
        return sum(1 for _ in self)
