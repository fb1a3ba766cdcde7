"""The module's folder is a module of a solution: complete by itself, and its process says what is wrong and ends."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from iotedge_lab.edge.manifest import ImageTable, load
from iotedge_lab.edge.routes.places import Upstream

DEVELOPMENT = {
    "EdgeHubConnectionString": "HostName=h;GatewayHostName=g;DeviceId=d;ModuleId=m;SharedAccessKey=a2V5",
    "EdgeModuleCACertificateFile": os.devnull,
}


def imported(path):
    """The full names that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module


def test_it_imports_the_sdk_and_the_car_alone(folder):
    """A module talks to its edge hub and to its car; of the lab it needs `car` and its errors."""
    files = list(folder.rglob("*.py"))
    assert len(files) > 10
    names = {name for path in files for name in imported(path)}
    ours = {name for name in names if name.startswith("iotedge_lab")}
    assert ours
    assert all(name.startswith("iotedge_lab.car") or name == "iotedge_lab.errors" for name in ours)
    others = {name.partition(".")[0] for name in names - ours}
    assert others - set(sys.stdlib_module_names) == {"azure", "simulator_car"}
    assert {name for name in names if name.startswith("azure")} == {"azure.iot.device"}


def test_its_recording_is_the_shipped_one(folder):
    """data/car.csv, so that a copy of the folder has its data; after `make data` copy it here."""
    here = folder / "data" / "car.csv"
    shipped = Path(__file__).parents[2] / "data" / "car.csv"
    assert here.read_bytes() == shipped.read_bytes(), f"cp {shipped} {here}"


def test_the_module_folder(folder):
    """It has what a module of a solution has, and the image table knows it by its image."""
    told = json.loads((folder / "module.json").read_text())
    files = told["image"]["tag"]["platforms"]
    assert all((folder / file).is_file() for file in files.values())
    assert "azure-iot-device" in (folder / "requirements.txt").read_text()
    image = f"{told['image']['repository']}:{told['image']['tag']['version']}-amd64"
    assert ImageTable.scan([folder.parent]).folder(image) == folder


def test_the_image_is_built_from_what_there_is(folder):
    """Each file that the Dockerfile copies lies in its context, the repository."""
    context = (folder / json.loads((folder / "module.json").read_text())["image"]["contextPath"]).resolve()
    lines = (folder / "Dockerfile.amd64").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert len(copied) > 3
    assert all((context / word).exists() for word in copied)


def test_the_sample_manifest(folder):
    """It loads as it is: the module, the blog's route and its two hours of store and forward."""
    manifest = load((folder / "deployment.template.json").read_text(encoding="utf-8"))
    assert manifest.notes == ()
    assert list(manifest.agent.modules) == ["ModuleSimulatorCar"]
    assert (
        ImageTable.scan([folder.parent]).folder(manifest.agent.modules["ModuleSimulatorCar"].image) == folder
    )
    (entry,) = manifest.hub.routes.values()
    assert entry.name == "ModuleSimulatorCarToIoTHub"
    assert entry.route.text == "FROM /messages/modules/ModuleSimulatorCar/outputs/* INTO $upstream"
    assert entry.route.endpoint == Upstream()
    assert manifest.hub.time_to_live == 7200


def test_the_sample_manifests_settings_are_taken(folder):
    """What it sets of the module's twin is nothing but settings that the module has."""
    from simulator_car.settings import Settings, desired_settings

    manifest = load((folder / "deployment.template.json").read_text(encoding="utf-8"))
    desired = manifest.twins["ModuleSimulatorCar"]
    values, errors = desired_settings(Settings(), desired)
    assert errors == {}
    assert set(desired) <= set(values)


def run(folder, **environment):
    """The module as a process that ends by itself: exit code and output."""
    done = subprocess.run(
        [sys.executable, "-u", "main.py"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "EdgeHubConnectionString, EdgeModuleCACertificateFile not set"),
        ({"IOTEDGE_MODULEID": "m"}, "IOTEDGE_IOTHUBHOSTNAME, IOTEDGE_DEVICEID"),
        ({"CAR_RATE": "often"}, "CAR_RATE is 'often'; a number from 0.001 to 100 belongs there"),
        (DEVELOPMENT | {"CAR_FILE": "data/none.csv"}, "data/none.csv does not exist"),
        (DEVELOPMENT | {"CAR_FILE": "module.json"}, "the first line is no header of a car.csv"),
        (DEVELOPMENT | {"CAR_SOURCE": "can"}, "bus names none"),
        (DEVELOPMENT | {"CAR_SOURCE": "can", "CAR_BUS": "log:none.blf"}, "There is no log"),
        (DEVELOPMENT | {"EdgeHubConnectionString": "HostName=h"}, "edge environment cannot be used: Invalid"),
    ],
)  # fmt: skip
def test_what_cannot_be_used(folder, environment, words):
    """A setting, a file or an environment that is wrong ends the module with a word and exit code 2."""
    code, output = run(folder, **environment)
    assert code == 2
    (line,) = [line for line in output.splitlines() if line.startswith("<3> 20")]
    assert words in line


def test_a_copy_of_the_folder_has_its_data(folder, tmp_path):
    """Paths are relative to the module's folder, wherever that lies: a folder without its data says so."""
    copy = shutil.copytree(folder, tmp_path / "app", ignore=shutil.ignore_patterns("data", "__pycache__"))
    code, output = run(copy, **DEVELOPMENT)
    assert code == 2
    assert f"{copy}/data/car.csv does not exist" in output
