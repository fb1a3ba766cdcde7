"""Who may do what: the shared access policies of a hub and their rights.

Stands for "Control access to IoT Hub by using shared access signatures" (learn.microsoft.com, IoT Hub,
authenticate-authorize-sas). A hub comes with the five policies that a new hub on Azure has.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import Flag, auto
from typing import TYPE_CHECKING

from iotedge_lab.errors import AccessDenied, Unauthorized
from iotedge_lab.wire import sas

if TYPE_CHECKING:
    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.store import Store


class Right(Flag):
    """The four permissions of an IoT Hub."""

    REGISTRY_READ = auto()  # read identities
    REGISTRY_WRITE = auto()  # read and write identities
    SERVICE_CONNECT = auto()  # the built-in endpoint, cloud-to-device messages, methods, twins
    DEVICE_CONNECT = auto()  # speak as any device


_NONE = Right(0)

# As a new hub on Azure has them.
DEFAULT_POLICIES: dict[str, Right] = {
    "iothubowner": (
        Right.REGISTRY_READ | Right.REGISTRY_WRITE | Right.SERVICE_CONNECT | Right.DEVICE_CONNECT
    ),
    "service": Right.SERVICE_CONNECT,
    "device": Right.DEVICE_CONNECT,
    "registryRead": Right.REGISTRY_READ,
    "registryReadWrite": Right.REGISTRY_READ | Right.REGISTRY_WRITE,
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A shared access policy: its rights and its two keys (base64)."""

    name: str
    rights: Right
    primary_key: str
    secondary_key: str

    def __repr__(self) -> str:
        return f"Policy(name={self.name!r}, rights={self.rights!r}, keys=***)"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a good token gives: a policy's rights, until `expiry` (s since 1970), for the part of the hub in `scope`."""

    policy: Policy
    expiry: int
    scope: str  # as in the token, without percent-encoding: the host alone, or with a path

    def covers(self, path: str) -> bool:
        """Whether it speaks for an AMQP address `path`, in which case does not matter."""
        bare = self.scope.partition("://")[2] or self.scope
        return sas.scope_covers(bare.lower(), f"{bare.partition('/')[0]}/{path}".lower())


def new_key(clock: Clock) -> str:
    """A fresh symmetric key: 32 random bytes in base64, as Azure generates them."""
    return base64.b64encode(clock.token(32)).decode()


class Access:
    """The policies, and the check of a service's token against them."""

    def __init__(self, store: Store, clock: Clock, hosts: frozenset[str]) -> None:
        self._clock = clock
        self._hosts = hosts
        self.policies = _load_or_make(store, clock)

    @property
    def host(self) -> str:
        """The name by which the hub speaks of itself."""
        return "localhost" if "localhost" in self._hosts else min(self._hosts)

    def speaks_of_us(self, host: str) -> bool:
        """Whether `host` (a port may follow) is one of this hub's names."""
        return host.partition(":")[0].lower() in self._hosts

    def check(self, token: str, *, raw_key: bool = False) -> Grant:
        """What `token` grants.

        `raw_key`: Event Hubs clients sign with the key's text, IoT Hub clients with the bytes it encodes.
        Raises `Unauthorized` (401002) that says whether name, host or signature is wrong, or `AccessDenied`
        (401003) for a token that has ended.
        """
        parsed = sas.parse(token)
        if not parsed.key_name:
            raise Unauthorized(
                "the token names no shared access policy (skn). Service calls need a token of a policy such "
                "as 'service' or 'iothubowner'; a device's own key does not open them."
            )
        policy = self.policies.get(parsed.key_name)
        if policy is None:
            known = ", ".join(self.policies)
            raise Unauthorized(f"there is no shared access policy {parsed.key_name!r}; there are {known}.")
        host = parsed.resource_decoded.partition("://")[2] or parsed.resource_decoded
        host = host.partition("/")[0]
        if not self.speaks_of_us(host):
            raise Unauthorized(
                f"the token is for {host!r}, and this hub is {', '.join(sorted(self._hosts)[:3])}."
            )
        now = self._clock.now()
        sas.verify_any(parsed, (policy.primary_key, policy.secondary_key), now, raw_key=raw_key)
        return Grant(policy, parsed.expiry, parsed.resource_decoded)

    def require(self, token: str, right: Right, path: str = "") -> Policy:
        """The policy that signed `token`, if it grants `right`; raises `Unauthorized` otherwise.

        A token may be for a part of the hub alone, such as `{host}/devices/dev1`: then `path`, what is asked
        for, must lie in that part.
        """
        grant = self.check(token)
        scope, policy = grant.scope, grant.policy
        bare = scope.partition("://")[2] or scope
        if not sas.scope_covers(scope, bare.partition("/")[0] + path):
            raise Unauthorized(f"the token speaks for {scope!r} alone; sign one for the hub's host name.")
        if right not in policy.rights:
            raise AccessDenied(f"the policy {policy.name!r} does not grant {right.name}; use 'iothubowner'.")
        return policy


def _load_or_make(store: Store, clock: Clock) -> dict[str, Policy]:
    rows = store.db.execute("SELECT name, rights, primary_key, secondary_key FROM policy").fetchall()
    if not rows:
        rows = [
            (name, _names(rights), new_key(clock), new_key(clock))
            for name, rights in DEFAULT_POLICIES.items()
        ]
        with store.transaction() as db:
            db.executemany("INSERT INTO policy VALUES (?, ?, ?, ?)", rows)
    return {name: Policy(name, _rights(rights), first, second) for name, rights, first, second in rows}


def _names(rights: Right) -> str:
    return ",".join(str(right.name) for right in rights)


def _rights(names: str) -> Right:
    found = _NONE
    for name in names.split(","):
        found |= Right[name]
    return found
