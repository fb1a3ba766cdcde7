"""A part of a module's program, as it stands in its file: what is read here is what runs.

Shown as Markdown, so that JupyterLab colours it in its own theme.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass
from pathlib import Path

import iotedge_lab
from iotedge_lab.errors import UsageError

MODULES = Path(iotedge_lab.__file__).parent / "modules"
"""Where the modules of the lab lie, a folder each."""


@dataclass(frozen=True, slots=True)
class Code:
    """Lines of a Python program; the value of a cell."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.text}\n```"


def excerpt(module: str | Path, *names: str, file: str = "main.py") -> Code:
    """Functions and classes of a module's program by name, methods as "Class.method"; without names, all of it.

    `module` is one of the lab's by its name, or a folder. Raises `UsageError` for what is not there.
    """
    path = (MODULES / module if isinstance(module, str) else module) / file
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"there is no {file} of {module}; the lab has {', '.join(_modules())}, or name a folder"
        ) from error
    if not names:
        return Code(text.strip())
    found = _definitions(ast.parse(text))
    missing = [name for name in names if name not in found]
    if missing:
        raise UsageError(f"{file} of {module} has no {', '.join(missing)}; it has {', '.join(found)}")
    lines = text.splitlines()
    parts = [lines[first - 1 : last] for first, last in (found[name] for name in names)]
    return Code("\n\n".join(textwrap.dedent("\n".join(part)) for part in parts))


def _modules() -> list[str]:
    return sorted(path.name for path in MODULES.iterdir() if (path / "main.py").is_file())


def _definitions(tree: ast.Module) -> dict[str, tuple[int, int]]:
    """First and last line of each function and class, and of the methods, by name."""
    found: dict[str, tuple[int, int]] = {}

    def add(nodes: list[ast.stmt], before: str) -> None:
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                first = min([node.lineno, *(mark.lineno for mark in node.decorator_list)])
                found[before + node.name] = (first, node.end_lineno or first)
                if isinstance(node, ast.ClassDef):
                    add(node.body, f"{node.name}.")

    add(tree.body, "")
    return found
