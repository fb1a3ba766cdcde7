"""What makes the SDK connect to the simulator: the two variables of `iotedgehubdev modulecred`, and proxies if needed.

`IoTHubModuleClient.create_from_edge_environment()` reads them in its development mode ("Debug without a container",
learn.microsoft.com, IoT Edge, how-to-vs-code-develop-module).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_KEY = re.compile(r"(SharedAccessKey=)[^;|]*")


@dataclass(frozen=True, slots=True)
class ModuleCredentials:
    """The variables, the key among them; shown with `***` in its place."""

    environment: dict[str, str] = field(repr=False)

    @property
    def connection_string(self) -> str:
        """`EdgeHubConnectionString`, with the key in it."""
        return self.environment["EdgeHubConnectionString"]

    @property
    def ca_file(self) -> str:
        """`EdgeModuleCACertificateFile`: who signed the simulator's certificate."""
        return self.environment["EdgeModuleCACertificateFile"]

    def lines(self) -> list[str]:
        """`NAME=value` for each, with the key."""
        return [f"{name}={value}" for name, value in self.environment.items()]

    def __repr__(self) -> str:
        return "\n".join(_KEY.sub(r"\1***", line) for line in self.lines())
