"""A module's working folder: what `/app` is in a container.

    <state>/edges/<device>/modules/<module>/    a copy of the module's folder, and links for its mounts
    <state>/edges/<device>/host, volumes        what mounts lead to

The copy stands for the image: it is made when a module is deployed, changed, or met by a runtime that starts, and
not at a restart by policy. So a module's folder may be edited while it runs, and what a module shall keep belongs
into a mount. `requirements.txt` is not installed: modules share the runtime's interpreter and what is in it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.manifest.mounts import resolve_mounts
from iotedge_lab.errors import EnvironmentProblem, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.edge.manifest.model import ModuleSpec

_NOT_COPIED: Final = shutil.ignore_patterns(
    "__pycache__", ".git", ".venv", ".ipynb_checkpoints", ".pytest_cache"
)


def working_folder(device_folder: Path, module: str) -> Path:
    """Where a module of this device runs."""
    return device_folder / "modules" / module


def prepare(spec: ModuleSpec, source: Path, device_folder: Path) -> Path:
    """Make a module's working folder anew from its code in `source`; the folder. Blocks.

    Raises MountRefused, UsageError (no `main.py`, or a mount's target that the module's own code occupies), or
    EnvironmentProblem where it cannot be written.
    """
    if not (source / "main.py").is_file():
        raise UsageError(f"The module folder {source} has no main.py; each module starts with one.")
    folder = working_folder(device_folder, spec.name)
    try:
        remove(device_folder, spec.name)
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(source, folder, ignore=_NOT_COPIED)
        for link in resolve_mounts(
            spec.create_options.mounts, working_folder=folder, device_folder=device_folder
        ):
            link.folder.mkdir(parents=True, exist_ok=True)
            link.path.parent.mkdir(parents=True, exist_ok=True)
            if link.path.is_dir() and not link.path.is_symlink():
                shutil.rmtree(link.path)  # a mount hides what the image has there
            elif link.path.exists():
                raise UsageError(
                    f"The module {spec.name} has a file where a mount is to be: "
                    f"{link.path.relative_to(folder)}. Mount a folder of another name."
                )
            link.path.symlink_to(link.folder, target_is_directory=True)
    except shutil.Error as error:
        _, name, reason = error.args[0][0]
        raise EnvironmentProblem(
            f"The module folder {source} cannot be copied to {name}: {reason}"
        ) from error
    except OSError as error:
        raise EnvironmentProblem(
            f"The working folder {folder} cannot be made ({error.strerror or error}). Mend its rights or free "
            "some space."
        ) from error
    return folder


def remove(device_folder: Path, module: str) -> None:
    """Remove a module's working folder. What its mounts lead to stays: only the links go."""
    shutil.rmtree(working_folder(device_folder, module), ignore_errors=True)
