"""ModuleFilterCamera as a process with the vendor's SDK, against a running hub that stands for its edge hub."""

import json
import shutil

import numpy as np
import pytest
from camera_modules import FILTER, MODULES, Cloud, identity
from running import Events, Module

from iotedge_lab.camera.frames import read_picture
from iotedge_lab.camera.model import FILE_NAME, checked_model
from iotedge_lab.camera.scene import Scene
from iotedge_lab.camera.video import write_video
from iotedge_lab.car import drives
from iotedge_lab.errors import EnvironmentProblem


def detector_file():
    """The detector's file; without it the test is skipped."""
    try:
        return checked_model()
    except EnvironmentProblem as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """Two seconds of a street with cars."""
    scene = Scene(list(drives.rows(drives.drive_path("city-05"))), seed=22)
    path = tmp_path_factory.mktemp("film") / "street.avi"
    return write_video(
        (each.image for each in scene.frames(12.0, 60.0, 2.0)), path, rate=12, fps=12, codec_name="mjpg"
    )


@pytest.fixture
def module(iothub, tmp_path):
    """`module(FILTER_TELL="both")`: the module, started with these settings; its folder is `tmp_path`."""
    environment = identity(iothub, FILTER)
    environment |= {
        "FILTER_FOLDER": str(tmp_path),
        "FILTER_PICTURES": str(tmp_path / "seen"),
        "FILTER_REPORT_SECONDS": "0.5",
        "FILTER_KEEP_UP": "false",
    }
    started = []

    def start(**settings):
        started.append(Module(MODULES / FILTER, environment | settings))
        return started[-1]

    yield start
    for each in started:
        each.__exit__()


@pytest.fixture
def cloud(iothub):
    return Cloud(iothub, FILTER)


@pytest.fixture
def arrived(iothub):
    """`arrived(count)`: bodies and properties of the events, once there are so many."""
    readers = []

    def wait(count):
        readers.append(Events(iothub, 5))
        return [
            (
                json.loads(each.body_as_str()),
                {name.decode(): value.decode() for name, value in each.properties.items()},
            )
            for each in readers[-1].wait(count)
        ]

    yield wait
    for reader in readers:
        reader.close()


def counted(cloud, **counters):
    """The reported properties once the counters are these."""
    return cloud.reported(
        lambda found: (
            all(found.get("counters", {}).get(name) == value for name, value in counters.items())
            and found["counters"]["waiting"] == 0
        )
    )


def test_what_is_in_the_videos(module, cloud, arrived, film, tmp_path):
    """Small messages of events with properties for routes; bad files are counted; a restart tells nothing again."""
    detector_file()
    shutil.copy(film.path, tmp_path / "a.avi")
    whole = film.path.read_bytes()
    (tmp_path / "b.avi").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.mp4").write_text("no video at all")
    (tmp_path / ".d.avi").write_bytes(whole)
    (tmp_path / "notes.txt").write_text("mine")
    first = module(FILTER_KEEP="3")
    told = counted(cloud, videos=2, unreadable=2)
    assert told["detector"]["status"] == "ready"
    counters = told["counters"]
    assert 24 < counters["frames"] < 48
    assert counters["looked"] + counters["still"] == counters["frames"]
    assert counters["events"] == counters["sent"] > 2
    assert counters["videoBytes"] == 2 * len(whole) - (len(whole) - len(whole) // 2)
    assert counters["savedBytes"] == counters["videoBytes"] - counters["sentBytes"] > 0
    assert counters["sentBytes"] < 500 * counters["sent"]
    assert first.end() == 0
    messages = arrived(counters["sent"])
    assert {body["video"] for body, _ in messages} == {"a.avi", "b.avi"}
    for body, properties in messages:
        assert properties == {"messageType": "detection", "label": body["label"], "state": "end"}
        assert body["label"] in ("Car", "Vehicle", "Person", "Bicycle")
        assert body["by"] == "detector"
        assert 0.25 <= body["score"] <= 1.0
        assert 0 <= body["box"][0] < body["box"][2] <= body["width"] == 640
        assert 0 <= body["box"][1] < body["box"][3] <= body["height"] == 360
        assert 0.0 <= body["first"] <= body["time"] <= body["last"] <= 2.0
        assert 3 <= body["frames"] <= 24
    seen = sorted(each.name for each in (tmp_path / "seen").iterdir())
    assert len([name for name in seen if name.startswith("event-")]) == 3
    assert read_picture(tmp_path / "seen" / "last.jpg").shape == (360, 640, 3)
    shutil.copy(film.path, tmp_path / "e.avi")
    module()
    told = counted(cloud, videos=1)
    assert told["last"]["video"] == "e.avi"
    assert told["counters"]["unreadable"] == 0
    assert (
        len(arrived(counters["sent"] + told["counters"]["sent"]))
        == counters["sent"] + told["counters"]["sent"]
    )


def test_the_settings_of_the_twin(module, cloud, arrived, film, tmp_path):
    """Classes, thresholds and a region are taken at once; what is wrong is refused; `again` looks once more."""
    detector_file()
    shutil.copy(film.path, tmp_path / "a.avi")
    module()
    before = counted(cloud, videos=1)["counters"]["events"]
    told = cloud.desire(classes=["Person", "Unicorn"], region=[0, 0, 2, 1], threshold=7, keep=-1)
    assert set(told["errors"]) == {"classes", "region", "threshold", "keep"}
    assert told["classes"] == ["Car", "Vehicle", "Person", "Bicycle"]
    told = cloud.desire(
        classes=["Car", "Vehicle"], region=[0, 0, 0.5, 1], threshold={"Car": 0.6}, keep=None, tell="both"
    )
    assert told["errors"] == {}
    told = cloud.reported(lambda found: found["detector"].get("thresholds", {}).get("Car") == 0.6)
    assert set(told["detector"]["thresholds"]) == {"Car", "Vehicle"}
    assert told["region"] == [0, 0, 0.5, 1]
    assert cloud.invoke("again", {"video": "none.avi"})[0] == 404
    assert cloud.invoke("again", {"video": 5})[0] == 400
    assert cloud.invoke("again", {"video": "a.avi"}) == (202, {"videos": 1})
    after = counted(cloud, videos=2)["counters"]
    events = after["events"] - before
    assert 0 < events < before
    messages = arrived(before + 2 * events)[before:]
    states = {}
    for body, properties in messages:
        assert body["label"] in ("Car", "Vehicle")
        assert (body["box"][0] + body["box"][2]) / 2 <= 321
        states.setdefault(body["event"], set()).add(properties["state"])
    assert list(states.values()) == [{"begin", "end"}] * events


def test_without_the_detector_there_is_motion_until_it_comes(module, cloud, arrived, film, tmp_path):
    """That is said in the twin; each video is one event of motion; when the file comes it is taken."""
    model = detector_file()
    models = tmp_path / "models"
    models.mkdir()
    (models / FILE_NAME).write_bytes(b"no model")
    shutil.copy(film.path, tmp_path / "a.avi")
    running = module(IOTEDGE_LAB_MODELS=str(models))
    told = counted(cloud, videos=1)
    assert (told["detector"]["status"], told["detector"]["by"]) == ("unusable", "motion")
    assert "iotedge-lab models fetch" in told["detector"]["reason"]
    ((body, properties),) = arrived(1)
    assert properties["label"] == body["label"] == "Motion"
    assert body["by"] == "motion"
    (models / FILE_NAME).unlink()
    told = cloud.reported(lambda found: found["detector"]["status"] == "missing")
    shutil.copy(model, models / ".part")
    (models / ".part").rename(models / FILE_NAME)
    cloud.reported(lambda found: found["detector"]["status"] == "ready")
    shutil.copy(film.path, tmp_path / "b.avi")
    told = counted(cloud, videos=2)
    assert told["counters"]["events"] > 2
    assert running.end() == 0


def test_a_folder_that_is_not_there_yet(module, cloud, arrived, tmp_path):
    """It is said, and a video in it is seen once there is one, of any size; so is what cannot be written."""
    (tmp_path / "seen").write_text("in the way")
    module(FILTER_FOLDER=str(tmp_path / "later"), FILTER_LEAST_FRAMES="1", IOTEDGE_LAB_MODELS=str(tmp_path))
    told = cloud.reported(lambda found: found.get("problem"))
    assert "later does not exist" in told["problem"]
    (tmp_path / "later").mkdir()
    frames = [np.full((73, 99, 3), each, np.uint8) for each in (10, 200, 60)]
    write_video(frames, tmp_path / "later" / "odd.webm", rate=5, fps=5, codec_name="vp8")
    counted(cloud, videos=1)
    ((body, _),) = arrived(1)
    assert (body["width"], body["height"]) == (100, 74)
    told = cloud.reported(lambda found: "cannot be written" in (found.get("problem") or ""))
    assert "later" not in told["problem"]
