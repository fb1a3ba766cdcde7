"""A model's way from the registry to edges, and what its arrival does to the rows that are under way.

The edges are real: each has ModuleFilterCar as a process under one edge runtime, which asks for the file, fetches it
from the storage account, tries it in a process of its own and swaps. The model is a trained one. Hub, storage, runtime,
modules and the service share the machine.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

import iotedge_lab
from benchmarks.servers import HubServer
from benchmarks.setting import Row, Setting
from iotedge_lab.car import drives
from iotedge_lab.car.predictor import open_session
from iotedge_lab.edge.manifest import load
from iotedge_lab.registry.registry import Registry
from iotedge_lab.rollout.learn import learn
from iotedge_lab.rollout.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.registry.version import Version
    from iotedge_lab.rollout.messages import Prediction

NAME = "rollout"
TITLE = "A model from the registry to the edges"
SECONDS = 5.0
RATE = 100  # rows a second while models are swapped
_FOLDER = Path(iotedge_lab.__file__).parent / "modules" / "ModuleFilterCar"


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """First many edges at once, then one whose model is swapped again and again while its car drives."""
    with Bench(setting) as bench:
        return [*_arrivals(bench, setting, say), *_swaps(bench, setting, say)]


class Bench:
    """A hub with storage, a registry, a service, and edges."""

    def __init__(self, setting: Setting) -> None:
        self._stack = ExitStack()
        self.hub = self._stack.enter_context(HubServer(setting.folder / "rollout-hub"))
        lab = self.hub.lab.activate()
        self.registry = Registry.open(
            setting.folder / "registry", uri=f"sqlite:///{setting.folder / 'mlflow.db'}"
        )
        self.service = self._stack.enter_context(
            Service(
                lab.service_connection_string,
                lab.events_connection_string,
                lab.storage_connection_string,
                self.registry,
                ca_file=lab.ca_file,
                poll=0.05,
            )
        )
        self._model = learn(drives.load_all(), budget=0.5 if setting.quick else 5.0).content
        self._made = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def edge(self, device: str, *, simulator: bool) -> Any:
        """An edge device with the filter, and the car if asked for; once they run."""
        rest = self.hub.lab.rest()
        told = load(json.loads((_FOLDER / "deployment.template.json").read_text(encoding="utf-8")))
        content = told.content["modulesContent"]
        names = ["ModuleFilterCar"]
        if simulator:
            names.append("ModuleSimulatorCar")
            content["ModuleSimulatorCar"]["properties.desired"]["rate"] = RATE
        else:
            del content["ModuleSimulatorCar"]
            del content["$edgeAgent"]["properties.desired"]["modules"]["ModuleSimulatorCar"]
            del content["$edgeHub"]["properties.desired"]["routes"]["ModuleSimulatorCarToModuleFilterCar"]
        rest.call("PUT", f"/devices/{device}", {"deviceId": device, "capabilities": {"iotEdge": True}})
        rest.call("POST", f"/devices/{device}/applyConfigurationContent", {"modulesContent": content})
        edge = self.hub.lab.edge(device)
        self._stack.callback(edge.close)
        edge.wait_until_running(*names, timeout=120.0)
        return edge

    def model(self) -> bytes:
        """The model with another word in its metadata: each time another file of the same kind."""
        import onnx

        self._made += 1
        proto = onnx.load_from_string(self._model)
        entry = proto.metadata_props.add()
        entry.key, entry.value = "bench", str(self._made)
        content: bytes = proto.SerializeToString(deterministic=True)
        open_session(content)
        return content

    def register(self, content: bytes) -> Version:
        """As the next version."""
        return self.registry.register("car-speed", content)


def _arrivals(bench: Bench, setting: Setting, say: Callable[[str], None]) -> list[Row]:
    count, rounds = setting.count(10, 2), setting.count(5, 1)
    edges = [bench.edge(f"edge-{number}", simulator=False) for number in range(count)]
    bench.service.serve(
        bench.register(bench.model()), seconds=120.0
    )  # the modules load what they need for fetching
    took = []
    for _ in range(rounds):
        content = bench.model()
        began = time.perf_counter()
        bench.service.serve(bench.register(content), seconds=120.0)
        took.append(time.perf_counter() - began)
        say(f"registered and served on {count} edges after {took[-1]:.2f} s")
    size = len(content) / 1024
    for edge in edges:
        edge.stop()
        bench.hub.lab.rest().call("DELETE", f"/devices/{edge.device_id}")
    middle = median(took)
    return [
        Row(
            f"Register to serving on {count} edges", middle, "s", target=f"<= {SECONDS:g} s", met=middle <= SECONDS,
            note=f"a file of {size:.0f} KiB; the slowest of {rounds} took {max(took):.2f} s",
        )
    ]  # fmt: skip


class Rows:
    """Which rows of the car were answered, and how often. A row is known by its `Seconds`; laps are counted."""

    def __init__(self) -> None:
        self._place = {row.seconds: number for number, row in enumerate(drives.rows(drives.car_csv()))}
        self._lock = threading.Lock()
        self._farthest = 0
        self.counts: dict[int, int] = {}
        self.versions: set[str] = set()

    def take(self, prediction: Prediction) -> None:
        """One answer."""
        length = len(self._place)
        with self._lock:
            laps = round((self._farthest - self._place[prediction.seconds]) / length)
            number = self._place[prediction.seconds] + laps * length
            self._farthest = max(self._farthest, number)
            self.counts[number] = self.counts.get(number, 0) + 1
            self.versions.add(prediction.version)

    def faults(self) -> tuple[int, int]:
        """Rows between the first and the last that were not answered, and answers too many."""
        first, last = min(self.counts), max(self.counts)
        return last - first + 1 - len(self.counts), sum(self.counts.values()) - len(self.counts)


def _swaps(bench: Bench, setting: Setting, say: Callable[[str], None]) -> list[Row]:
    swaps = setting.count(100, 3)
    edge = bench.edge("swapping", simulator=True)
    rows = Rows()
    took = []
    with bench.service.follow(rows.take):
        for number in range(swaps):
            content = bench.model()
            began = time.perf_counter()
            bench.service.serve(bench.register(content), seconds=120.0)
            took.append(time.perf_counter() - began)
            if (number + 1) % 20 == 0:
                say(f"{number + 1} swaps, {sum(rows.counts.values()):,} rows")
        # What is under way comes to its end: the car stops, the queues empty.
        bench.hub.lab.rest().call(
            "PATCH",
            "/twins/swapping/modules/ModuleSimulatorCar",
            {"properties": {"desired": {"rate": 0.01}}},
        )
        _until_quiet(rows)
    edge.wait_until_delivered()
    lost, twice = rows.faults()
    answered = sum(rows.counts.values())
    say(f"{swaps} swaps: {answered:,} rows answered, {lost} lost, {twice} answered twice")
    return [
        Row(
            f"Rows answered during {swaps} swaps at {RATE} rows/s", answered, "rows",
            target="none lost, none twice", met=not (lost or twice),
            note=f"{lost} lost, {twice} answered twice; by {len(rows.versions)} versions",
        ),
        Row(f"Register to serving on 1 edge at {RATE} rows/s, median of {swaps}", median(took), "s"),
    ]  # fmt: skip


def _until_quiet(rows: Rows, seconds: float = 3.0) -> None:
    """Until no row has come for a while."""
    before, since = -1, time.monotonic()
    while time.monotonic() - since < seconds:
        now = sum(rows.counts.values())
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.1)
