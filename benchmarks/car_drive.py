"""Times an hour of driving and the reading of a drive: python benchmarks/car_drive.py"""

import time
from datetime import datetime

from iotedge_lab.car import drives
from iotedge_lab.car.sensors import record
from iotedge_lab.car.vehicle import simulate


def main() -> None:
    begin = time.perf_counter()
    motion = simulate(seed=1, kind="city", seconds=3600)
    driven = time.perf_counter()
    rows = record(motion, datetime.fromisoformat("2026-03-02 08:00:00"))
    recorded = time.perf_counter()
    print(f"an hour of driving: {driven - begin:.2f} s, recorded at 10 Hz: {recorded - driven:.2f} s more")
    print(f"{len(rows)} rows, {rows[-1].distance} miles")
    begin = time.perf_counter()
    count = sum(1 for _ in drives.rows(drives.car_csv()))
    print(f"car.csv read as rows: {count / (time.perf_counter() - begin):,.0f} rows a second")


if __name__ == "__main__":
    main()
