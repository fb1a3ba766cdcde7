"""The camera modules' folders are modules of a solution: complete by themselves, and they say what is wrong and end."""

import ast
import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from camera_modules import FILTER, MODULES, SIMULATOR
from filter_camera.settings import TABLE as FILTER_TABLE
from simulator_camera.settings import TABLE as SIMULATOR_TABLE

from iotedge_lab.edge.manifest import ImageTable, load
from iotedge_lab.edge.manifest.mounts import Mount

BOTH = pytest.mark.parametrize("name", [SIMULATOR, FILTER])
PACKAGES = {SIMULATOR: "simulator_camera", FILTER: "filter_camera"}
TABLES = {SIMULATOR: SIMULATOR_TABLE, FILTER: FILTER_TABLE}
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


@BOTH
def test_it_imports_the_sdk_the_camera_and_the_car_alone(name):
    """A module talks to its edge hub; of the lab it needs `camera`, `car` and the errors."""
    files = list((MODULES / name).rglob("*.py"))
    assert len(files) > 5
    names = {each for path in files for each in imported(path)}
    ours = {each for each in names if each.startswith("iotedge_lab")}
    assert ours
    assert all(
        each.startswith(("iotedge_lab.camera", "iotedge_lab.car")) or each == "iotedge_lab.errors"
        for each in ours
    )
    others = {each.partition(".")[0] for each in names - ours} - set(sys.stdlib_module_names)
    assert others - {"numpy", "cv2"} == {"azure", PACKAGES[name]}
    assert {each for each in names if each.startswith("azure")} == {"azure.iot.device"}


@BOTH
def test_the_module_folder(name):
    """It has what a module of a solution has, and the image table knows it by its image."""
    folder = MODULES / name
    told = json.loads((folder / "module.json").read_text())
    files = told["image"]["tag"]["platforms"]
    assert all((folder / file).is_file() for file in files.values())
    assert "azure-iot-device" in (folder / "requirements.txt").read_text()
    image = f"{told['image']['repository']}:{told['image']['tag']['version']}-amd64"
    assert ImageTable.scan([MODULES]).folder(image) == folder
    context = (folder / told["image"]["contextPath"]).resolve()
    lines = (folder / "Dockerfile.amd64").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert len(copied) > 3
    assert all((context / word).exists() for word in copied)


def test_its_drive_is_the_shipped_one():
    """data/car.csv, so that a copy of the folder has its data; after `make data` copy it here."""
    here = MODULES / SIMULATOR / "data" / "car.csv"
    shipped = Path(__file__).parents[2] / "data" / "car.csv"
    assert here.read_bytes() == shipped.read_bytes(), f"cp {shipped} {here}"


def test_the_sample_manifest():
    """One for both modules: it loads as it is, both share the folder, and what it sets of their twins is taken."""
    texts = {(MODULES / name / "deployment.template.json").read_text() for name in (SIMULATOR, FILTER)}
    (text,) = texts
    manifest = load(text)
    assert manifest.notes == ()
    assert set(manifest.agent.modules) == {SIMULATOR, FILTER}
    for name, spec in manifest.agent.modules.items():
        assert ImageTable.scan([MODULES]).folder(spec.image) == MODULES / name
        assert spec.create_options.mounts == (Mount("/tmp", "/app/stream/"),)
        table = TABLES[name]
        desired = manifest.twins[name]
        defaults = table.from_environment({})
        after, errors = table.desired(defaults, defaults, desired)
        assert errors == {}
        assert desired
        assert set(desired) <= set(table.told(after))
    assert {entry.route.text for entry in manifest.hub.routes.values()} == {
        f"FROM /messages/modules/{SIMULATOR}/outputs/* INTO $upstream",
        f"FROM /messages/modules/{FILTER}/outputs/output-filter-camera INTO $upstream",
    }
    assert manifest.hub.time_to_live == 7200


def test_the_blogs_mounts_load_unchanged():
    """There `Mounts` is one object, not a list of them."""
    template = json.loads((MODULES / SIMULATOR / "deployment.template.json").read_text())
    modules = template["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"]
    for module in modules.values():
        options = module["settings"]["createOptions"]
        options["HostConfig"]["Mounts"] = copy.deepcopy(options["HostConfig"]["Mounts"][0])
    for spec in load(template).agent.modules.values():
        assert spec.create_options.mounts == (Mount("/tmp", "/app/stream/"),)


@pytest.mark.parametrize(
    ("name", "environment", "words"),
    [
        (SIMULATOR, {}, "EdgeHubConnectionString, EdgeModuleCACertificateFile not set"),
        (FILTER, {"IOTEDGE_MODULEID": "m"}, "IOTEDGE_IOTHUBHOSTNAME, IOTEDGE_DEVICEID"),
        (
            SIMULATOR,
            {"CAMERA_RATE": "often"},
            "CAMERA_RATE is 'often'; a number from 0.01 to 240 belongs there",
        ),
        (SIMULATOR, {"CAMERA_CODEC": "betamax"}, "mp4v or mjpg or vp8 or h264 belongs there"),
        (FILTER, {"FILTER_CLASSES": "Unicorn"}, "a list with some of Bicycle"),
        (FILTER, {"FILTER_REGION": "[1, 0, 0, 1]"}, "[left, top, right, bottom] as shares of the frame"),
        (FILTER, {"FILTER_THRESHOLD": '{"Car": 2}'}, "a number from 0.01 to 1 belongs there"),
        (SIMULATOR, {"CAMERA_DRIVE": "data/none.csv"}, "data/none.csv does not exist"),
        (SIMULATOR, {"CAMERA_SOURCE": "frames"}, "frames does not exist"),
        (SIMULATOR, {"CAMERA_NAME": "../video"}, "A prefix is made of letters"),
        (SIMULATOR, {"CAMERA_FOLDER": "main.py"}, "cannot be used"),
    ],
)
def test_what_cannot_be_used(name, environment, words, tmp_path):
    """A setting, a file or an environment that is wrong ends the module with a word and exit code 2."""
    given = environment if any(each.startswith("IOTEDGE_") for each in environment) else {}
    given = given or (DEVELOPMENT | {"CAMERA_FOLDER": str(tmp_path)} | environment if environment else {})
    done = subprocess.run(
        [sys.executable, "-u", "main.py"],
        cwd=MODULES / name,
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 2
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("<3> 20")]
    assert words in line
