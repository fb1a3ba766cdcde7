"""What an edge device is run with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import iotedge_lab

STOCK_MODULES: Final = Path(iotedge_lab.__file__).parent / "modules"


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """One edge device.

    `connection_string`: of the edge device, with its key. `gateway`: see `Gateway`. `module_folders` are looked
    through for the modules that images stand for, before those that come with the lab; `images` names folders by
    pattern (`edge.manifest.images`). `ca_file` and `https_port`: how to trust and reach the hub (`upstream.Cloud`).
    """

    connection_string: str = field(repr=False)
    gateway: str | None = None
    module_folders: tuple[Path, ...] = ()
    images: dict[str, Path] = field(default_factory=dict)
    ca_file: Path | None = None
    https_port: int | None = None
    fsync: bool = False
