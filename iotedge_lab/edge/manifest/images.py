"""Images that are local modules: from a manifest's `settings.image` to a folder with a `main.py`.

An image is looked up among explicit patterns first (`myregistry.example/tools/*:1.*`, in the order given, without
regard to case), and then by its plain name: the last part of its path, without registry, tag, digest and the
architecture at its end, held against the folders' names without regard to case.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.errors import UnknownImage
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_ARCHITECTURE: Final = re.compile(
    r"[-.](?:(?:linux|windows)[-.])?(?:amd64|x64|x86_64|arm32v7|arm64v8|arm64|aarch64|arm)(?:[-.]debug)?$|[-.]debug$"
)


def plain_name(image: str) -> str:
    """The name that an image is looked up by: `registry:5000/a/ModuleX-amd64:1.0@sha256:...` gives `modulex`."""
    name = image.strip().partition("@")[0].rpartition("/")[2].partition(":")[0].lower()
    return _ARCHITECTURE.sub("", name) or name


class ImageTable:
    """Which folder stands for which image. Immutable.

    `modules` are folders by module name; `explicit` are folders by pattern (`*`, `?`, `[...]`) over the whole
    image reference, and go before. Raises UsageError where two names differ in case only.
    """

    def __init__(self, modules: Mapping[str, Path], explicit: Mapping[str, Path] | None = None) -> None:
        self._folders: dict[str, Path] = {}
        self._names: list[str] = []
        for name, folder in modules.items():
            key = name.lower()
            if key in self._folders:
                raise UsageError(
                    f"Two modules are named {name!r}, not regarding case: rename one of the folders."
                )
            self._folders[key] = folder
            self._names.append(name)
        self._explicit = tuple((pattern.lower(), folder) for pattern, folder in (explicit or {}).items())

    @classmethod
    def scan(cls, roots: Iterable[Path], explicit: Mapping[str, Path] | None = None) -> ImageTable:
        """A table of the module folders below some folders: each one with a `main.py`.

        Of two folders of one name the one below the earlier root counts. A root that does not exist has none.
        """
        found: dict[str, Path] = {}
        taken: set[str] = set()
        for root in roots:
            folders = sorted(root.iterdir()) if root.is_dir() else []
            # Two names in one root that differ in case only stay in: the table refuses them by name.
            fresh = {folder.name: folder for folder in folders if (folder / "main.py").is_file()}
            found.update({name: folder for name, folder in fresh.items() if name.lower() not in taken})
            taken.update(name.lower() for name in fresh)
        return cls(found, explicit)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all modules, sorted."""
        return tuple(sorted(self._names, key=str.lower))

    def folder(self, image: str) -> Path:
        """The folder that stands for an image. Raises UnknownImage, which names the known ones."""
        whole = image.strip().lower()
        for pattern, folder in self._explicit:
            if whole == pattern or fnmatchcase(whole, pattern):
                return folder
        bare = whole.partition("@")[0].rpartition("/")[2].partition(":")[0]
        # A module whose own name ends like an architecture goes before the one without the ending.
        found = self._folders.get(bare) or self._folders.get(plain_name(image))
        if found is None:
            raise UnknownImage(image, (*self.names, *(pattern for pattern, _ in self._explicit)))
        return found
