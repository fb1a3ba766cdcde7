"""A load of its own process: ModuleFilterCar on rows that are there, and the vendor's client without it, by turns.

Job: connection_string, ca, model (a file), folder, rows (lines of CSV), block, blocks, pure (rows for the first way).
Says rows a second: `pure` (a message read, put in order, predicted, written, and not sent), by blocks `filtered` (and
sent, one after another, each acknowledged) and `sent` (the same bytes by the same client in a plain loop), and the
milliseconds of a swap for a car with a minute of rows.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from azure.iot.device import IoTHubModuleClient

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "iotedge_lab" / "modules" / "ModuleFilterCar"))

from filter_car import car, telling  # noqa: E402 - a module runs from its own folder
from filter_car.model import own  # noqa: E402
from filter_car.rows import arrival  # noqa: E402
from filter_car.serving import Serving  # noqa: E402
from filter_car.settings import Settings  # noqa: E402


def messages(lines: list[str], begin: int = 0) -> list[Any]:
    """As the SDK hands them to the module."""
    return [
        SimpleNamespace(
            data=line.encode(),
            message_id=f"m{begin + number}",
            custom_properties={"driveId": "d", "sequence": str(begin + number)},
            input_name=car.INPUT,
        )
        for number, line in enumerate(lines, 1)
    ]


class Measured(car.FilterCar):
    """The module, with a door for the load."""

    def serve_all(self, found: list[Any]) -> int:
        """Everything but the sending; how many messages wait to be sent."""
        self._outbox.close()  # nothing waits for a place
        for message in found:
            self._read(message, self._clock())
            self._serve_due()
        return self._outbox.waiting

    def client(self) -> Any:
        """The vendor's, once it is connected and the twin has been looked at."""
        self._twin.ready.wait()
        return self._hub.client

    def send_all(self, found: list[Any]) -> None:
        """As if the SDK had brought them; until all are acknowledged."""
        before = self._outbox.sent
        for each in found:
            self._on_message(each)
        while self._outbox.sent < before + len(found):
            if not self._outbox.drained(120):
                raise RuntimeError(f"{self._outbox.sent - before} of {len(found)} rows were answered")
            time.sleep(0.0005)  # a row is between the two


def pure(job: dict[str, Any]) -> float:
    """Rows a second."""
    settings = Settings(model_file=job["model"], folder=job["folder"] + "/pure")
    module = Measured(settings, ROOT, create=lambda: None)
    lines = job["rows"]
    warm, found = messages(lines[:50]), messages(lines[50 : job["pure"] + 50], 50)
    module.serve_all(warm)
    began = time.perf_counter()
    waiting = module.serve_all(found)
    seconds = time.perf_counter() - began
    if waiting != len(warm) + len(found):
        raise RuntimeError(f"{waiting} of {len(warm) + len(found)} rows have an answer")
    return len(found) / seconds


def by_turns(job: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Rates of the module's blocks, and of the plain loop's."""
    trust = Path(job["ca"]).read_text(encoding="utf-8")

    def create() -> Any:
        return IoTHubModuleClient.create_from_connection_string(
            job["connection_string"], server_verification_cert=trust
        )

    settings = Settings(model_file=job["model"], folder=job["folder"] + "/sent")
    module = Measured(settings, ROOT, create=create)
    serving = Serving(own(Path(job["model"]), "0", ""))
    module.start()
    client = module.client()
    filtered, sent = [], []
    for turn in range(-1, job["blocks"]):  # the first is to warm up
        begin = (turn + 1) * job["block"]
        found = messages(job["rows"][begin : begin + job["block"]], begin)
        made = [serving.answer(arrival(each, 0.0)) for each in found]
        plain = [telling.to_message(each) for each in made if each is not None]
        if len(plain) != len(found):
            raise RuntimeError(f"{len(plain)} of {len(found)} rows have an answer")
        began = time.perf_counter()
        module.send_all(found)
        middle = time.perf_counter()
        for each in plain:
            client.send_message_to_output(each, telling.OUTPUT)
        end = time.perf_counter()
        if turn >= 0:
            filtered.append(len(found) / (middle - began))
            sent.append(len(plain) / (end - middle))
    module.stop()
    return filtered, sent


def swap(job: dict[str, Any]) -> float:
    """Milliseconds for another model to take over from the next row on."""
    model = own(Path(job["model"]), "0", "")
    serving = Serving(model)
    found = [arrival(each, 0.0) for each in messages(job["rows"][:600])]
    for number, each in enumerate(found):
        serving.answer(replace(each, row=replace(each.row, seconds=number / 10.0)))
    spent = []
    for _ in range(9):
        began = time.perf_counter()
        serving.put("model", model)
        spent.append(time.perf_counter() - began)
    return sorted(spent)[4] * 1e3


def main() -> None:
    job = json.loads(sys.stdin.readline())
    rate = pure(job)
    filtered, sent = by_turns(job)
    print(json.dumps({"pure": rate, "filtered": filtered, "sent": sent, "swap": swap(job)}), flush=True)


if __name__ == "__main__":
    main()
