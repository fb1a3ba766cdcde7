"""The module's folder is a module of a solution: complete by itself; its model is what its command makes of data/."""

import ast
import importlib.util
import json
import os
import subprocess
import sys

import pytest
from car_filter import FOLDER

from iotedge_lab.car import drives
from iotedge_lab.car.predictor import Predictor
from iotedge_lab.edge.manifest import ImageTable, load

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


def test_it_imports_sdks_and_the_car_alone():
    """A module talks to its edge hub and to its car; of the lab it needs `car`, what modules share, and the errors."""
    files = [*(FOLDER / "filter_car").glob("*.py"), FOLDER / "main.py"]
    assert len(files) > 10
    names = {name for path in files for name in imported(path)}
    ours = {name for name in names if name.startswith("iotedge_lab")}
    assert ours
    allowed = (
        "iotedge_lab.car.",
        "iotedge_lab.errors",
    )
    assert [name for name in ours if not name.startswith(allowed)] == []
    others = {name.partition(".")[0] for name in names - ours}
    assert others - set(sys.stdlib_module_names) == {"azure", "filter_car"}
    assert {name for name in names if name.startswith("azure")} == {
        "azure.iot.device",
        "azure.storage.blob",
        "azure.core",
        "azure.core.exceptions",
    }


def test_it_needs_nothing_of_camera_and_training():
    """What it shares with the camera's modules brings neither OpenCV nor pandas with it."""
    code = (
        "import sys, filter_car.program as p; from filter_car import settings, trial;"
        "from filter_car.car import FilterCar; FilterCar(settings.Settings(), p.FOLDER, create=None);"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(ran.stdout))
    assert "onnxruntime" in loaded
    assert not loaded & {"cv2", "pandas", "sklearn", "flaml", "onnx", "aiohttp", "IPython"}


def test_its_model_is_made_of_the_data():
    """model.onnx is what make_model.py makes; after `make data`, or new learners, run it again."""
    spec = importlib.util.spec_from_file_location("make_model", FOLDER / "make_model.py")
    make_model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_model)
    remedy = f"run: python {FOLDER / 'make_model.py'}"
    committed, made = Predictor(FOLDER / "model.onnx"), Predictor(make_model.made())
    assert (FOLDER / "model.onnx").stat().st_size < 10_000
    exact = ("features", "data_sha256", "recipe", "estimator")
    assert {name: committed.metadata[name] for name in exact} == {
        name: made.metadata[name] for name in exact
    }, remedy
    for name in ("edges", "widths"):
        told = made.metadata["intervals"][name]
        assert committed.metadata["intervals"][name] == pytest.approx(told, rel=1e-4), remedy
    for row in list(drives.rows(drives.car_csv()))[::20]:
        assert committed.predict(row).speed == pytest.approx(made.predict(row).speed, abs=1e-2), remedy
    assert 0.5 < committed.metadata["metrics"]["whole drives held out"]["r2"] < 0.9


def test_the_module_folder():
    """It has what a module of a solution has, and the image table knows it by its image."""
    told = json.loads((FOLDER / "module.json").read_text())
    files = told["image"]["tag"]["platforms"]
    assert all((FOLDER / file).is_file() for file in files.values())
    needs = (FOLDER / "requirements.txt").read_text()
    assert all(name in needs for name in ("azure-iot-device", "iotedge-lab[car,storage]", "onnxruntime"))
    image = f"{told['image']['repository']}:{told['image']['tag']['version']}-amd64"
    assert ImageTable.scan([FOLDER.parent]).folder(image) == FOLDER


def test_the_image_is_built_from_what_there_is():
    """Each file that the Dockerfile copies lies in its context, the repository."""
    context = (FOLDER / json.loads((FOLDER / "module.json").read_text())["image"]["contextPath"]).resolve()
    lines = (FOLDER / "Dockerfile.amd64").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert len(copied) > 3
    assert all((context / word).exists() for word in copied)


def test_the_sample_manifest():
    """It loads as it is: both modules, both routes of the blog, its two hours of store and forward."""
    text = (FOLDER / "deployment.template.json").read_text(encoding="utf-8")
    manifest = load(text)
    assert manifest.notes == ()
    assert list(manifest.agent.modules) == ["ModuleSimulatorCar", "ModuleFilterCar"]
    table = ImageTable.scan([FOLDER.parent])
    assert [table.folder(each.image).name for each in manifest.agent.modules.values()] == list(
        manifest.agent.modules
    )
    hub = json.loads(text)["modulesContent"]["$edgeHub"]["properties.desired"]
    assert hub["routes"] == {
        "ModuleSimulatorCarToModuleFilterCar": (
            "FROM /messages/modules/ModuleSimulatorCar/outputs/output-simulator-car INTO "
            'BrokeredEndpoint("/modules/ModuleFilterCar/inputs/input-simulator-car")'
        ),
        "ModuleFilterCarToIoTHub": "FROM /messages/modules/ModuleFilterCar/outputs/* INTO $upstream",
    }
    assert hub["storeAndForwardConfiguration"] == {"timeToLiveSecs": 7200}


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "No edge hub to connect to"),
        (DEVELOPMENT | {"FILTER_MODEL": "none.onnx"}, "none.onnx cannot be read"),
        (DEVELOPMENT | {"FILTER_MODEL": "module.json"}, "no model that onnxruntime can run"),
        (DEVELOPMENT | {"FILTER_EVERY_NTH": "often"}, "FILTER_EVERY_NTH is 'often'"),
    ],
)
def test_a_process_that_cannot_begin_says_why(environment, says):
    """Status 2 and one line in the log."""
    ran = subprocess.run(
        [sys.executable, "-u", "main.py"],
        cwd=FOLDER,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    (line,) = ran.stdout.splitlines()
    assert "[ERR]" in line
    assert says in line
