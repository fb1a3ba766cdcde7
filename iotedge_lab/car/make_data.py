"""Makes the shipped drives: `python -m iotedge_lab.car.make_data [FOLDER]`.

Every number follows from the seeds below, so that the same command gives the same rows anywhere. With
`--statistics` it writes the table of data/README.md instead, from the drives in FOLDER.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from iotedge_lab.car.drives import CATALOGUE, resample, rows
from iotedge_lab.car.reading import format_row
from iotedge_lab.car.rows import HEADER, CarRow
from iotedge_lab.car.sensors import record, record_merged
from iotedge_lab.car.statistics import HZ, describe, table
from iotedge_lab.car.vehicle import simulate

if TYPE_CHECKING:
    from iotedge_lab.car.route import Kind


@dataclass(frozen=True, slots=True)
class Spec:
    """How one shipped drive is made."""

    id: str
    kind: Kind
    seed: int
    seconds: float
    start: datetime


_FIRST: Final = datetime.fromisoformat("2026-03-02 07:30:00")  # no zone: the recording's times have none


# Seeds are chosen, not only drawn: those of the city drives out of twenty sets, that of car.csv out of 250, for
# statistics near the recording's (and, for car.csv, for showing the leak as the recording does).
_SEEDS: Final = 1300


def _specs() -> tuple[Spec, ...]:
    """Fourteen drives of seven to nine minutes, one each half day."""
    plan: tuple[tuple[Kind, int], ...] = (("city", 6), ("suburban", 4), ("highway", 4))
    specs: list[Spec] = []
    for kind, count in plan:
        for number in range(1, count + 1):
            at = len(specs)
            start = _FIRST + timedelta(hours=12 * at, minutes=7 * at)
            specs.append(Spec(f"{kind}-{number:02}", kind, _SEEDS + at, 420.0 + 60.0 * (at % 3), start))
    return tuple(specs)


DRIVES: Final = _specs()
"""The drives with clean 10 Hz rows."""
CAR: Final = Spec("car", "city", 80, 342.0, _FIRST + timedelta(days=-1, hours=3, minutes=1, seconds=37))
"""The one drive with a logger's merged timestamps: data/car.csv."""


def text(made: list[CarRow]) -> str:
    """The rows as a CSV file's text."""
    return "\n".join([HEADER, *map(format_row, made), ""])


def make(folder: Path) -> list[Path]:
    """Write car.csv, the drives and their catalogue into `folder`; returns the files written."""
    (folder / "drives").mkdir(parents=True, exist_ok=True)
    written = [folder / "car.csv"]
    motion = simulate(CAR.seed, CAR.kind, CAR.seconds)
    written[0].write_text(text(record_merged(motion, CAR.start)), encoding="utf-8", newline="\n")
    entries = ["Drive,Kind,Seed,Temper,Load (kg),Seconds,Miles"]
    for spec in DRIVES:
        motion = simulate(spec.seed, spec.kind, spec.seconds)
        made = record(motion, spec.start)
        path = folder / "drives" / f"{spec.id}.csv.gz"
        # Without a time in it the same rows give the same file.
        path.write_bytes(gzip.compress(text(made).encode(), 9, mtime=0))
        written.append(path)
        entries.append(
            f"{spec.id},{spec.kind},{spec.seed},{motion.driver.temper:.3f},{motion.load:.0f},"
            f"{made[-1].seconds:.1f},{made[-1].distance:.2f}"
        )
    written.append(folder / CATALOGUE)
    written[-1].write_text("\n".join([*entries, ""]), encoding="utf-8", newline="\n")
    return written


def statistics(folder: Path) -> str:
    """The table of data/README.md: the recording, car.csv and the city drives of `folder`."""
    city = [list(rows(folder / "drives" / f"{spec.id}.csv.gz")) for spec in DRIVES if spec.kind == "city"]
    car = list(resample(rows(folder / "car.csv"), HZ))
    return table({"car.csv": describe([car]), "the city drives": describe(city)})


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path("data"))
@click.option("--statistics", "show", is_flag=True, help="Write the statistics of the drives in FOLDER.")
def main(folder: Path, show: bool) -> None:
    """Make the shipped drives in FOLDER (data/ unless named)."""
    if show:
        click.echo(statistics(folder))
        return
    for path in make(folder):
        click.echo(f"{path}  {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
