"""Scaffolding: a solution with a module that runs, and a further module in it.

    solution/
        .env  .gitignore  deployment.template.json
        modules/<Module>/  main.py  module.json  requirements.txt  Dockerfile.amd64

Stands for "New IoT Edge Solution" and "Add IoT Edge Module" of VS Code's Azure IoT Edge extension; the simulated
temperature sensor of its template is left out, with its route. The files run here, and make a container image too.
Nothing that is there is ever overwritten.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from iotedge_lab.edge.manifest.model import MAX_MODULES
from iotedge_lab.errors import EnvironmentProblem, UsageError

DEFAULT_MODULE: Final = "SampleModule"
MANIFEST: Final = "deployment.template.json"
_TEMPLATE: Final = Path(__file__).parent / "template"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_RESERVED: Final = frozenset({"edgeagent", "edgehub"})
_PARTS: Final = ("main.py", "module.json", "requirements.txt", "Dockerfile.amd64")
#: A file that begins with a dot would not be in the package where a wheel is built from a git checkout.
_DOTTED: Final = {"env": ".env", "gitignore": ".gitignore"}
_MARK: Final = "@MODULE@"  # the module's name; in small letters for an image's


def new_solution(folder: Path, module: str = DEFAULT_MODULE) -> list[Path]:
    """Make a solution in a folder that is not there yet, or empty; the files made.

    Raises UsageError for a name that is none or a folder that has something in it, EnvironmentProblem.
    """
    check_name(module)
    _check_solution_name(folder)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(
                f"{folder} is there already, and nothing of it is overwritten. Choose another name, or add a module to "
                "it: 'iotedge-lab solution add NAME' in that folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        made = [_write(folder / dotted, _template(name, module)) for name, dotted in _DOTTED.items()]
        made.append(_write(folder / MANIFEST, _template(MANIFEST, module)))
        return made + _write_module(folder, module)
    except OSError as error:
        raise _unwritable(folder, error) from error


def add_module(folder: Path, module: str) -> list[Path]:
    """Add a module to the solution in `folder`, with its entry and route in the manifest; the files made or changed.

    Raises UsageError where there is no solution, or where the module is there already; EnvironmentProblem.
    """
    check_name(module)
    manifest = folder / MANIFEST
    content, modules, routes = _opened(manifest)
    there = [each.name for each in (folder / "modules").glob("*")] + list(modules)
    taken = next((name for name in there if name.lower() == module.lower()), None)
    if taken is not None:
        raise UsageError(
            f"The solution has {taken} already, and nothing of it is overwritten. Choose another name."
        )
    if len(modules) >= MAX_MODULES:
        raise UsageError(f"The solution has {MAX_MODULES} modules, the most that one device may have.")
    fresh = json.loads(_template(MANIFEST, module))
    modules |= _modules_of(fresh)
    for name, route in _routes_of(fresh).items():
        if name in routes:
            raise UsageError(f"{manifest} has a route {name} already. Rename it, or choose another name.")
        routes[name] = route
    try:
        made = _write_module(folder, module)
        beside = manifest.with_suffix(".new")
        beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.replace(manifest)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return [*made, manifest]


def check_name(module: str) -> str:
    """Give back a module's name that is allowed. Raises UsageError."""
    if not _NAME.fullmatch(module):
        raise UsageError(
            f"{module!r} cannot name a module: a letter, then letters, digits, '_' and '-', at most 64 in all."
        )
    if module.lower() in _RESERVED:
        raise UsageError(f"{module!r} is the name of one of the runtime's own modules. Choose another.")
    return module


def _check_solution_name(folder: Path) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. -]*", folder.absolute().name):
        raise UsageError(
            f"{folder.name!r} cannot name a solution: letters, digits, '_', '-', '.' and blanks, beginning with one of "
            "the first three."
        )


def _opened(manifest: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The manifest as JSON, and in it the modules and the routes, to be added to."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(
            f"There is no solution in {manifest.parent}: it has no {MANIFEST}. Make one with 'iotedge-lab solution new "
            "NAME', and add modules in its folder, or name that with --solution."
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{manifest} cannot be read: {error}. Mend it first; nothing was changed."
        ) from error
    try:
        modules, routes = _modules_of(content), _routes_of(content)
    except (KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{manifest} is no deployment manifest: modules and routes are expected under modulesContent. Nothing was "
            "changed."
        ) from None
    return content, modules, routes


def _modules_of(content: dict[str, Any]) -> dict[str, Any]:
    return _member(content["modulesContent"]["$edgeAgent"]["properties.desired"], "modules")


def _routes_of(content: dict[str, Any]) -> dict[str, Any]:
    return _member(content["modulesContent"]["$edgeHub"]["properties.desired"], "routes")


def _member(desired: dict[str, Any], name: str) -> dict[str, Any]:
    found = desired.setdefault(name, {})
    if not isinstance(found, dict):
        raise TypeError(name)
    return found


def _write_module(folder: Path, module: str) -> list[Path]:
    place = folder / "modules" / module
    place.mkdir(parents=True)
    return [_write(place / part, _template(f"module/{part}", module)) for part in _PARTS]


def _template(name: str, module: str) -> str:
    text = (_TEMPLATE / name).read_text(encoding="utf-8")
    return text.replace(_MARK, module).replace(_MARK.lower(), module.lower())


def _write(file: Path, text: str) -> Path:
    with file.open("x", encoding="utf-8") as stream:  # never over what is there
        stream.write(text)
    return file


def _unwritable(folder: Path, error: OSError) -> EnvironmentProblem:
    where = error.filename or folder
    return EnvironmentProblem(
        f"{where} cannot be made: {error.strerror}. Choose a folder that you may write to."
    )
