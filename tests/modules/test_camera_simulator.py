"""ModuleSimulatorCamera as a process with the vendor's SDK, against a running hub that stands for its edge hub."""

import json

import cv2
import numpy as np
import pytest
from camera_modules import MODULES, SIMULATOR, Cloud, identity
from running import Events, Module

from iotedge_lab.camera.scene import Scene
from iotedge_lab.camera.video import read_video
from iotedge_lab.car import drives

SMALL = {"CAMERA_WIDTH": "320", "CAMERA_HEIGHT": "180", "CAMERA_SECONDS": "1", "CAMERA_RATE": "6"}


@pytest.fixture
def camera(iothub, tmp_path):
    """`camera(CAMERA_SEED="2")`: the module, started with these settings, its videos in `tmp_path / "stream"`."""
    environment = identity(iothub, SIMULATOR) | SMALL
    environment |= {"CAMERA_FOLDER": str(tmp_path / "stream"), "CAMERA_EVERY": "3600"}
    started = []

    def start(**settings):
        started.append(Module(MODULES / SIMULATOR, environment | settings))
        return started[-1]

    yield start
    for each in started:
        each.__exit__()


@pytest.fixture
def cloud(iothub):
    return Cloud(iothub, SIMULATOR)


def videos(cloud, count):
    """The reported properties once there are so many videos."""
    return cloud.reported(lambda found: found.get("progress", {}).get("videos") == count)


def test_videos_of_the_road(iothub, camera, cloud, tmp_path):
    """Stretch after stretch, bounded on disk, each told in a message without a picture; a restart goes on."""
    stream = tmp_path / "stream"
    stream.mkdir()
    (stream / ".video-000001.part.mp4").write_bytes(b"left by one that was killed")
    first = camera(CAMERA_REPORT_SECONDS="0.5", CAMERA_KEEP="2")
    videos(cloud, 1)
    status, payload = cloud.invoke("record")
    assert (status, payload) == (202, {"video": "video-000002.mp4"})
    told = videos(cloud, 2)
    assert cloud.invoke("pause") == (200, {"paused": True})
    assert cloud.invoke("record")[0] == 202  # asked for by a person, so it is made
    told = videos(cloud, 3)
    assert told["last"]["video"] == "video-000003.mp4"
    assert told.get("problem") is None
    assert cloud.invoke("resume") == (200, {"paused": False})
    assert cloud.invoke("rewind")[0] == 404
    assert first.end() == 0
    assert first.lines[-1].endswith("3 videos written")
    assert sorted(each.name for each in stream.iterdir()) == ["video-000002.mp4", "video-000003.mp4"]
    second = camera(CAMERA_REPORT_SECONDS="0.5", CAMERA_KEEP="2")
    second.says("Video video-000004.mp4")
    events = Events(iothub, 5)
    try:
        found = events.wait(4)
    finally:
        events.close()
    bodies = [json.loads(each.body_as_str()) for each in found]
    assert [each["video"] for each in bodies] == [f"video-{number:06d}.mp4" for number in (1, 2, 3, 4)]
    assert [(each["begin"], each["end"]) for each in bodies] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    for each, body in zip(found, bodies, strict=True):
        assert {key: each.properties[key] for key in (b"messageType", b"codec", b"source")} == {
            b"messageType": b"video",
            b"codec": b"mp4v",
            b"source": b"road",
        }
        assert each.system_properties[b"content-type"] == b"application/json"
        assert len(each.body_as_str()) < 400
        assert (body["frames"], body["width"], body["height"], body["fps"]) == (6, 320, 180, 6)
    # Whoever knows seed, weather and times renders the same frames, with their ground truth.
    scene = Scene(list(drives.rows(drives.car_csv())), seed=bodies[2]["seed"], width=320, height=180)
    (last,) = [each.image for each in read_video(stream / "video-000003.mp4")][-1:]
    again = [each.image for each in scene.frames(6.0, bodies[2]["begin"], 1.0)][-1]
    assert np.abs(last.astype(int) - again).mean() < 8.0


def test_a_folder_of_ones_own_frames(camera, cloud, tmp_path):
    """Odd sizes, PNG and JPEG, one of them broken: at the blog's rate, padded to even sizes; in another codec."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, name in enumerate(("1.png", "2.jpg", "10.jpeg")):
        cv2.imwrite(str(frames / name), np.full((95, 161, 3), 60 * number + 40, np.uint8))
    (frames / "3.png").write_bytes(b"no picture")
    camera()
    videos(cloud, 1)
    told = cloud.desire(
        source="frames", frames=str(frames), codec="mjpg", seconds=60, rate=1, reportSeconds=0.5
    )
    assert told["errors"] == {}
    assert cloud.invoke("record")[1] == {"video": "video-000002.avi"}
    last = videos(cloud, 2)["last"]
    assert (last["pictures"], last["broken"], last["frames"], last["seconds"]) == (3, 1, 90, 3)
    assert (last["width"], last["height"], last["fps"]) == (162, 96, 30)
    assert len(list(read_video(tmp_path / "stream" / "video-000002.avi"))) == 90


def test_what_is_refused_and_what_goes_wrong(camera, cloud, tmp_path):
    """A wrong desired property leaves what was, and says why; a folder that cannot be written is said, and mended."""
    module = camera(CAMERA_REPORT_SECONDS="0.5")
    videos(cloud, 1)
    told = cloud.desire(every=0, weather="snow", seed=2, colour=1)
    assert set(told["errors"]) == {"every", "weather", "colour"}
    assert (told["every"], told["weather"], told["seed"]) == (3600, "daylight", 2)
    told = cloud.desire(every=None, weather=None, colour=None, source="frames", frames="nowhere", keep=3)
    assert set(told["errors"]) == {"source", "frames"}
    assert "does not exist" in told["errors"]["frames"]
    assert (told["source"], told["keep"]) == ("road", 3)
    told = cloud.desire(source=None, frames=None)
    assert told["errors"] == {}
    stream = tmp_path / "stream"
    (stream / "video-000001.mp4").unlink()
    stream.rmdir()
    stream.write_text("a file in the way")
    cloud.invoke("record")
    told = cloud.reported(lambda found: found.get("problem"))
    assert "cannot be written" in told["problem"]
    module.says(r"<3> .*No video this time: ")
    stream.unlink()
    stream.mkdir()
    cloud.invoke("record")
    told = videos(cloud, 2)
    cloud.reported(lambda found: found.get("problem") is None)
