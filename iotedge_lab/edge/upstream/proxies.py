"""The proxies that this network demands, as environment variables name them.

The rule is that of Python's urllib, which paho and requests follow: a variable in small letters goes before the
same in capitals; NO_PROXY lists hosts and domains (`*` is all) that are reached directly.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

from iotedge_lab.errors import EnvironmentProblem

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `url` and `authorization` may hold a password, and so never show in a repr."""

    host: str
    port: int
    url: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str, variable: str) -> Self:
        """From `http://[user:password@]host[:port]`. Raises EnvironmentProblem, which names `variable`."""
        url = text if "//" in text else f"http://{text}"
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if parts.scheme != "http" or not host:
            # The text may hold a password, so it is not repeated.
            raise EnvironmentProblem(
                f"{variable} does not read http://[user:password@]host:port, the kind of proxy that is spoken here. "
                f"Correct it, or unset it to reach the hub directly."
            )
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        return cls(host, port or 80, url, authorization)


def proxy_for(host: str, scheme: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for `host` by `{scheme}_proxy`, or None. Raises EnvironmentProblem for a malformed one."""
    variable = f"{scheme}_proxy"
    value = _variable(variable, environment)
    if not value or _bypassed(host, _variable("no_proxy", environment)):
        return None
    return Proxy.parse(value, variable.upper() if scheme == "https" else variable)


def _variable(name: str, environment: Mapping[str, str]) -> str:
    found = environment.get(name)
    return (environment.get(name.upper(), "") if found is None else found).strip()


def _bypassed(host: str, no_proxy: str) -> bool:
    """Whether `no_proxy` names the host, or a domain that it lies in."""
    name = host.lower().rstrip(".")
    for entry in no_proxy.lower().split(","):
        listed = entry.strip()
        if listed == "*":
            return True
        if listed.count(":") == 1:  # a port; two colons are an IPv6 address
            listed = listed.partition(":")[0]
        listed = listed.lstrip(".").rstrip(".")
        if listed and (name == listed or name.endswith("." + listed)):
            return True
    return False
