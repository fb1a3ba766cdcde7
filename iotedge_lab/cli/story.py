"""The whole story, told once: cars drive, a lake fills, a model is trained and rolled out, the cars change, and again.

What `iotedge-lab demo` shows. Everything is what the workbooks use: the vendors' SDKs, a hub and edge devices of its
own in a folder that is gone afterwards. `Story.run` says each step as it happens; nothing is staged, so an arrow that
does not turn is an error.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from iotedge_lab.edges import Edge
    from iotedge_lab.lab import Lab
    from iotedge_lab.rollout.learn import Learned
    from iotedge_lab.rollout.plan import Step as RolloutStep
    from iotedge_lab.rollout.service import Service

CARS: Final = 3
SPEED: Final = 25.0  # times as fast as life
RATE: Final = 2.0  # rows for each second of driving
SECONDS: Final = 1500.0  # of driving in a recording
LEARN_FROM: Final = 2_400  # rows of all cars together, for a first model
LEARN_AGAIN: Final = 2_000
BUDGET: Final = 5.0  # s of search
_PATIENCE: Final = 60.0
_SETTLED: Final = 300  # predictions whose error is taken at the end of a chapter
_HOST_FOLDER: Final = "drives"


class Stuck(LabError):
    """A step did not come about."""


@dataclass(slots=True)
class Numbers:
    """What the screen shows beside the steps, and the table at the end."""

    messages: int = 0
    rows: int = 0
    version: str = ""
    error: float = math.nan
    """mph, of the latest predictions"""
    facts: list[tuple[str, str]] = field(default_factory=list)
    """name and value, for the table at the end"""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that has happened; `arrow` is that of the series' picture, 1 to 6, or 0."""

    seconds: float
    arrow: int
    text: str


class Story:
    """One telling, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        say: Callable[[Step], None],
        *,
        cars: int = CARS,
        host: str | None = None,
        numbers: Numbers | None = None,
    ) -> None:
        """`say` hears of each step; `host`: the hub's loopback address, None for any; `numbers`: kept up to date."""
        self._folder = folder
        self._say = say
        self._cars = [f"car-{number}" for number in range(1, cars + 1)]
        self._host = host
        self._begun = time.monotonic()
        self.numbers = numbers or Numbers()

    def run(self) -> Numbers:
        """All of it. Raises `LabError` where a step does not come about; nothing is left running."""
        from iotedge_lab.lab import Lab
        from iotedge_lab.launch import Settings

        self._begun = time.monotonic()
        with ExitStack() as held:
            lab = held.enter_context(
                Lab.open(self._folder, ephemeral=True, settings=Settings(host=self._host))
            )
            lab.activate()
            self._step(0, f"a hub is up on {lab.hostname}")
            self._tell(lab, held)
        return self.numbers

    def _tell(self, lab: Lab, held: ExitStack) -> None:
        from iotedge_lab.capture import Capture
        from iotedge_lab.registry.registry import Registry
        from iotedge_lab.rollout.compare import Rule
        from iotedge_lab.rollout.drift import Watch
        from iotedge_lab.rollout.from_lake import LakeSource
        from iotedge_lab.rollout.learn import learn
        from iotedge_lab.rollout.loop import Loop
        from iotedge_lab.rollout.plan import Plan
        from iotedge_lab.rollout.service import Service

        self._record()
        for edge in [self._edge(lab, car) for car in self._cars]:
            edge.wait_until_running("ModuleSimulatorCar", "ModuleFilterCar")
        self._drive(lab, "recorded")
        self._step(0, f"{len(self._cars)} cars drive, {SPEED:g} times as fast as life, each with two modules")
        capture = held.enter_context(
            Capture(lab.state_dir, ephemeral=True).open(lab.events_connection_string)
        )
        registry = Registry.open(lab.state_dir / "registry")
        service = held.enter_context(
            Service(
                lab.service_connection_string,
                lab.events_connection_string,
                lab.storage_connection_string,
                registry,
                eventhub_name=lab.events_name,
                ca_file=lab.ca_file,
            )
        )
        source = LakeSource(lab.state_dir / "lake")
        self._until(lambda: bool(self._look(lab, capture, service)), "messages at the hub")
        self._step(1, "their messages arrive at the hub, through their edge devices")
        self._until(
            lambda: self._look(lab, capture, service).rows >= LEARN_FROM, f"{LEARN_FROM:,} rows in the lake"
        )
        self._step(2, f"{self.numbers.rows:,} rows lie in the lake, each message once")

        def train(frame: pd.DataFrame) -> Learned:
            learned = learn(frame, budget=BUDGET)
            self._step(
                3,
                f"{learned.estimator} found on {learned.rows:,} rows: {learned.score.mae:.1f} mph off on drives that "
                "it has not seen",
            )
            return learned

        def rolled(step: RolloutStep) -> None:
            self._step(5 if step.stage == "published" else 6, str(step))

        rows = source(None)
        learned = train(rows.frame)
        plan = Plan(canary=0.5, rule=Rule(least_blocks=9, most_blocks=60), canary_rows=60)
        watch = Watch(window=12, sigmas=2.0)
        loop = Loop(service, registry, source, plan=plan, watch=watch, train=train, on_step=rolled)
        version = loop.register(learned, rows)
        self._step(
            4,
            f"{version!r} is registered, with the lake's version {rows.table_version} as where it comes from",
        )
        service.serve(version)
        self.numbers.version = version.version
        self._step(5, "it is published, and every car's twin names it")
        self._step(6, "every car has fetched it, checked it, and answers with it")
        before = self._settled(lab, capture, service, version.version)
        self._fact("error of the first model", f"{before:.1f} mph")
        with loop.watching():
            self._drive(lab, "van")
            self._step(0, "the cars are replaced by delivery vans: four gears, half a ton on board")
            drift = loop.wait(_PATIENCE)
            if drift is None:
                raise Stuck("The live error did not rise within a minute, and it should have.")
            worst = drift.error
            self._step(1, f"the loop notices: {drift}")
            self._fact("the same model, other cars", f"{worst:.1f} mph")
            known = self._look(lab, capture, service).rows
            self._until(
                lambda: self._look(lab, capture, service).rows >= known + LEARN_AGAIN, "rows of the new cars"
            )
            self._step(2, f"{self.numbers.rows:,} rows lie in the lake")
            turn = loop.turn(drift)
        if not turn.promoted or turn.version is None or turn.learned is None:
            raise Stuck(f"The new model was not promoted: {turn.result}, {turn.reason}.")
        self.numbers.version = turn.version.version
        after = self._settled(lab, capture, service, turn.version.version)
        self._fact("the second model, other cars", f"{after:.1f} mph")
        self._step(0, f"the error falls from {worst:.1f} to {after:.1f} mph")
        if after >= worst:
            raise Stuck(f"The error did not fall: {worst:.1f} mph before, {after:.1f} after.")
        self._fact("messages", f"{self.numbers.messages:,}")
        self._fact("rows in the lake", f"{self.numbers.rows:,}")
        self._fact("models", f"{len(registry.versions('car-speed'))} registered, {turn.version!r} serves")
        self._fact("time", f"{time.monotonic() - self._begun:.0f} s")

    # -- the edge --------------------------------------------------------------------------------------

    def _record(self) -> None:
        """Two recordings for each car: of the car that it is, and of the one that takes its place."""
        from iotedge_lab.car import cars

        for number, name in enumerate(self._cars):
            folder = self._folder / "edges" / name / "host" / _HOST_FOLDER
            folder.mkdir(parents=True)
            for word, car, seed in (("recorded", cars.RECORDED, 4_000), ("van", cars.VAN, 5_000)):
                cars.write(car.drive(seed + number, seconds=SECONDS), folder / f"{word}-{number + 1}.csv")

    def _edge(self, lab: Lab, name: str) -> Edge:
        """Register an edge device, deploy both modules to it, and start its runtime."""
        rest = lab.rest()
        rest.call("PUT", f"/devices/{name}", {"deviceId": name, "capabilities": {"iotEdge": True}})
        rest.call(
            "POST",
            f"/devices/{name}/applyConfigurationContent",
            {"modulesContent": manifest(self._file("recorded", name))},
        )
        return lab.edge(name)

    def _drive(self, lab: Lab, word: str) -> None:
        """Have each car replay a recording."""
        rest = lab.rest()
        for name in self._cars:
            module = f"/twins/{name}/modules/ModuleSimulatorCar"
            desired = {"file": self._file(word, name)}
            rest.call("PATCH", module, {"properties": {"desired": desired}}, headers={"If-Match": "*"})
            call = {"methodName": "setSpeed", "payload": {"speed": SPEED}, "responseTimeoutInSeconds": 30}
            rest.call("POST", f"{module}/methods", call, timeout=40.0)

    def _file(self, word: str, car: str) -> str:
        """A car's recording, as its module sees it."""
        return f"{_HOST_FOLDER}/{word}-{car.rpartition('-')[2]}.csv"

    # -- looking ---------------------------------------------------------------------------------------

    def _look(self, lab: Lab, capture: Any, service: Service) -> Numbers:
        """Bring the numbers up to date."""
        found = capture.status()
        self.numbers.messages = int(lab.status()["messages"])
        self.numbers.rows = found.rows.get("telemetry", 0)
        self.numbers.error = service.errors.recent(_SETTLED)[0]
        return self.numbers

    def _settled(self, lab: Lab, capture: Any, service: Service, version: str) -> float:
        """The mean error of one version's latest rows, once there are enough of them, mph."""
        self._until(
            lambda: service.errors.recent(_SETTLED, version)[1] >= _SETTLED,
            f"{_SETTLED} predictions of version {version}",
        )
        self._look(lab, capture, service)
        return service.errors.recent(_SETTLED, version)[0]

    def _until(self, fact: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not fact():
            if time.monotonic() > deadline:
                raise Stuck(f"{what} did not come within {_PATIENCE:g} s.")
            time.sleep(0.2)

    def _step(self, arrow: int, text: str) -> None:
        self._say(Step(time.monotonic() - self._begun, arrow, text))

    def _fact(self, name: str, value: str) -> None:
        self.numbers.facts.append((name, value))


def manifest(file: str) -> dict[str, Any]:
    """Both car modules, rows to the filter and to the hub, predictions to the hub; `file`: a recording in a mount."""
    from iotedge_lab.edge.manifest import load
    from iotedge_lab.show.code import MODULES

    template = MODULES / "ModuleFilterCar" / "deployment.template.json"
    content: dict[str, Any] = load(template.read_text(encoding="utf-8")).content["modulesContent"]
    modules = content["$edgeAgent"]["properties.desired"]["modules"]
    modules["ModuleSimulatorCar"]["settings"]["createOptions"] = {
        "HostConfig": {"Binds": [f"/{_HOST_FOLDER}:/app/{_HOST_FOLDER}"]}
    }
    routes = content["$edgeHub"]["properties.desired"]["routes"]
    routes["ModuleSimulatorCarToIoTHub"] = (
        "FROM /messages/modules/ModuleSimulatorCar/outputs/* INTO $upstream"
    )
    content["ModuleSimulatorCar"] = {
        "properties.desired": {"resample": True, "rate": RATE, "format": "json", "file": file}
    }
    return content
