"""`python -m benchmarks [NAME ...] [--quick]`: measure, and write RESULTS.md, results.json and the README's part."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import (
    absorb,
    camera,
    camera_filter,
    can_codec,
    car_drive,
    car_filter,
    drain,
    edge,
    fleet,
    lake,
    machine,
    memory,
    query,
    report,
    rollout,
    sdk,
    service,
    startup,
    train,
    whole_lab,
)
from benchmarks.setting import ROOT, Row, Setting

ALL = {
    module.NAME: module
    for module in (
        absorb,
        sdk,
        drain,
        service,
        query,
        car_drive,
        can_codec,
        camera,
        camera_filter,
        train,
        car_filter,
        fleet,
        edge,
        lake,
        rollout,
        startup,
        memory,
        whole_lab,
    )
}

_TITLES = [module.TITLE for module in ALL.values()]


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def main() -> int:
    """Run what was named, or all; the exit status is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast the lab's hub is.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(ALL)}; default: all")
    parser.add_argument("--quick", action="store_true", help="tiny numbers, to see that it works")
    parser.add_argument(
        "--merge",
        action="store_true",
        help="put a part of a run beside the rest, which says when it was measured",
    )
    parser.add_argument("--output", type=Path, help="folder for the report; default: benchmarks/")
    parser.add_argument("--report", action="store_true", help="only write anew what results.json holds")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(ALL)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    if asked.report:
        _publish(*report.read(ROOT / "benchmarks"))
        return 0
    # What leads this process to a hub on Azure, or through a proxy, is not for a measurement.
    for name in ("IOTHUB_CONNECTION_STRING", "EVENTHUB_CONNECTION_STRING", "IOTEDGE_LAB_STATE"):
        os.environ.pop(name, None)
    facts = machine.describe()
    results = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="iotedge-lab-bench-") as folder:
        setting = Setting(asked.quick, Path(folder))
        for name in asked.names or ALL:
            module = ALL[name]
            print(module.TITLE, flush=True)
            rows = module.run(setting, _say)
            results.append((module.TITLE, rows))
    facts["load at the end"] = machine.load()
    words = ["python -m benchmarks", *asked.names, *(["--quick"] if asked.quick else [])]
    text = report.markdown(facts, " ".join(words), results)
    print(f"\n{text}\n{time.monotonic() - began:.0f} s")
    # Part of a run, or a quick one, does not replace the figures of a whole one.
    if asked.output:
        report.write(asked.output, facts, " ".join(words), results)
    elif asked.merge and not asked.quick:
        _publish(
            *report.merged(
                report.read(ROOT / "benchmarks"), facts, " ".join([*words, "--merge"]), results, _TITLES
            )
        )
    elif not (asked.quick or asked.names):
        _publish(facts, " ".join(words), results)
    return 0


def _publish(facts: dict[str, str], command: str, results: list[tuple[str, list[Row]]]) -> None:
    """Into this folder, and the rows with a target into the README."""
    report.write(ROOT / "benchmarks", facts, command, results)
    readme = ROOT / "README.md"
    text = report.into(readme.read_text(encoding="utf-8"), report.summary(facts, command, results))
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
