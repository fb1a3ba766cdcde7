"""Reading a solution: the manifest with its placeholders replaced, and where its modules lie.

    solution/
        .env                         values of placeholders: INTERVAL=30
        deployment.template.json     the manifest; `config/deployment.json`, as VS Code makes it of that, will do too
        modules/<name>/main.py

A placeholder's value comes from the environment, where its name is in capitals, and else from `.env`, as dotenv has
it: what is set in the shell goes before the file.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.manifest import ImageTable, load
from iotedge_lab.edge.manifest.reading import MAX_TEXT
from iotedge_lab.edge.runtime.settings import STOCK_MODULES
from iotedge_lab.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from iotedge_lab.edge.manifest import DeploymentManifest

_ASSIGNMENT: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*)")
_CAPITALS: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
_BUILT: Final = "config"


def read_manifest(file: Path, environment: Mapping[str, str] | None = None) -> DeploymentManifest:
    """Read a deployment manifest for one device.

    Raises UsageError for a file that is not there, InvalidManifest with all that is wrong in it.
    """
    manifest = load(_text_of(file), _values(file, os.environ if environment is None else environment))
    if manifest.layered:
        raise UsageError(
            f"{file} is a layered deployment: it adds to another one, and is no manifest of its own. Name the manifest "
            "that has $edgeAgent and $edgeHub whole."
        )
    return manifest


def find_module_folders(file: Path) -> list[Path]:
    """The `modules` folder of the solution that a manifest belongs to, if there is one."""
    return [root / "modules" for root in _roots(file) if (root / "modules").is_dir()]


def check_images(manifest: DeploymentManifest, folders: Iterable[Path]) -> None:
    """Raise UsageError, naming each module whose image no local module stands for."""
    table = ImageTable.scan([*folders, STOCK_MODULES])
    unknown = []
    for name, spec in manifest.modules.items():
        try:
            table.folder(spec.image)
        except LabError:
            unknown.append(f"  {name}: {spec.image}")
    if unknown:
        what = (
            "1 image of the manifest is"
            if len(unknown) == 1
            else f"{len(unknown)} images of the manifest are"
        )
        listed = "\n".join(unknown)
        raise UsageError(
            f"{what} no local module:\n{listed}\nKnown modules: {', '.join(table.names)}. A module is a folder with a "
            "main.py, named as its image is; say where such folders lie with --modules DIR."
        )


def read_env(file: Path) -> dict[str, str]:
    """The assignments in a `.env` file; {} where there is none. Raises UsageError for a line that is none.

    `NAME=value`, `export NAME=value`; quotes around a value are taken away, `#` begins a comment.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file} cannot be read ({error}). It is a text file of lines NAME=value."
        ) from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(stripped)
        if match is None:
            # Not the line itself: it may hold a password.
            raise UsageError(f"{file}, line {number}, is no assignment; write NAME=value.")
        found[match[1]] = _unquoted(match[2])
    return found


def _unquoted(value: str) -> str:
    quote = value[:1]
    end = value.find(quote, 1) if quote in ("'", '"') else -1
    if end > 0 and (not value[end + 1 :].strip() or value[end + 1 :].lstrip().startswith("#")):
        inside = value[1:end]
        return inside.replace("\\n", "\n") if quote == '"' else inside
    return re.split(r"\s+#", value, maxsplit=1)[0].strip()


def _values(file: Path, environment: Mapping[str, str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for root in reversed(_roots(file)):
        values |= read_env(root / ".env")
    # In capitals, as placeholders are: a variable `upstream` must not get into routes.
    return values | {name: value for name, value in environment.items() if _CAPITALS.fullmatch(name)}


def _roots(file: Path) -> list[Path]:
    """Where a manifest's solution may be: its folder, and the one above for a manifest in `config`."""
    folder = file.absolute().parent
    return [folder, folder.parent] if folder.name == _BUILT else [folder]


def _text_of(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_TEXT * 4:
            raise UsageError(f"{file} has {file.stat().st_size} bytes; no deployment manifest is that long.")
        return file.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"There is no file {file}. Name a deployment manifest; 'iotedge-lab solution new NAME' makes one."
        ) from None
    except IsADirectoryError:
        raise UsageError(
            f"{file} is a folder. Name the manifest in it: {file / 'deployment.template.json'}"
        ) from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
