"""The terminal command: which notebooks to make, and what to say of them."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError

from notebooks.source.make import hygiene
from notebooks.source.make.execute import (
    LOCALHOST,
    at_localhost,
    execute,
    hub_address,
    isolated_lab,
    same_but_for_noise,
)
from notebooks.source.make.source import SourceError, build_file, notebook_of, sources

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # a traceback's


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def _make(source: Path) -> list[str]:
    """Build, execute, judge and store one notebook; the complaints that kept it from being stored."""
    target = notebook_of(source)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder, isolated_lab(Path(folder)) as environment:
        try:
            executed = execute(build_file(source), environment)
        except CellExecutionError as error:
            return [f"a cell raised:\n{_COLOURS.sub('', str(error))}"]
        address = hub_address(Path(environment["IOTEDGE_LAB_STATE"]))
    if address is not None and address != LOCALHOST:
        at_localhost(executed, address)
        _say(f"{target.name}: the hub ran at {address} (localhost was taken); stored as {LOCALHOST}")
    complaints = hygiene.complaints(executed, target)
    if complaints:
        return complaints
    stored = nbformat.read(target, as_version=4) if target.exists() else None
    unchanged = stored is not None and same_but_for_noise(stored, executed)
    if not unchanged:  # a run that differs in times alone makes no new commit
        nbformat.write(executed, target)
    word = "unchanged" if unchanged else "stored"
    _say(f"{target.name}: {word} ({time.monotonic() - begin:.0f} s, {target.stat().st_size / 1000:.0f} KB)")
    return []


def _check(source: Path) -> list[str]:
    target = notebook_of(source)
    if not target.exists():
        return [f"{target.name} does not exist; run `make notebooks`"]
    return hygiene.drift(build_file(source), nbformat.read(target, as_version=4))


def main(arguments: list[str] | None = None) -> int:
    """Make (or check) the notebooks that are named; 0 when all is well, 1 with complaints on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m notebooks.source", description="Make the notebooks from their sources."
    )
    parser.add_argument("names", nargs="*", help="beginnings of notebooks' names, such as 03; none: all")
    parser.add_argument("--check", action="store_true", help="write nothing, compare with the sources")
    options = parser.parse_args(arguments)
    chosen = [s for s in sources() if not options.names or s.name.startswith(tuple(options.names))]
    if not chosen:
        _say(f"no source matches {options.names}; there are: {', '.join(s.stem for s in sources())}")
        return 1
    failed = False
    for source in chosen:
        try:
            complaints = _check(source) if options.check else _make(source)
        except SourceError as error:
            complaints = [str(error)]
        failed = failed or bool(complaints)
        for complaint in complaints:
            _say(f"{source.stem}: {complaint}")
    return 1 if failed else 0
