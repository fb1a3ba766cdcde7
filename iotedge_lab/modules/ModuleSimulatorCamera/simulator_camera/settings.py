"""What the module is told: each setting by a desired property of its twin, or by an environment variable.

source         CAMERA_SOURCE          road, the default: rendered from a drive; frames: a folder of pictures
drive          CAMERA_DRIVE           the drive's car.csv, data/car.csv by default; relative to the module's folder
frames         CAMERA_FRAMES          the folder of PNG and JPEG files of any size, frames by default
folder         CAMERA_FOLDER          where videos go: stream by default, which the manifest mounts
name           CAMERA_NAME            how they are called: video-000001.mp4 and so on by default
every          CAMERA_EVERY           s from one video's begin to the next one's, 60 by default as in the blog
seconds        CAMERA_SECONDS         how long a video is at most; by default 10 of the road, all of a folder's
rate           CAMERA_RATE            frames a second that come in; by default 24 of the road, 1 of a folder
fps            CAMERA_FPS             frames a second in the file; by default the road's rate, 30 of a folder
codec          CAMERA_CODEC           mp4v, the default; mjpg; vp8, which browsers play; h264, where PyAV is
keep           CAMERA_KEEP            how many videos stay in the folder, 5 by default
mostMegabytes  CAMERA_MOST_MEGABYTES  and how large they may be together, 200 by default
seed           CAMERA_SEED            of what stands and walks beside the road, 1 by default
weather        CAMERA_WEATHER         daylight, the default; dusk; rain
width, height  CAMERA_WIDTH, _HEIGHT  of the rendered road, 640 x 360 by default
empty          CAMERA_EMPTY           the share of the road on which nobody is about, 0.25 by default
reportSeconds  CAMERA_REPORT_SECONDS  how often progress is reported, 30 by default
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from iotedge_lab.camera.codecs import CODECS
from iotedge_lab.camera.scene import WEATHERS
from iotedge_lab.camera.scene.scene import LEAST_SIDE, MOST_SIDE
from iotedge_lab.car.device.settings import Setting, Table, number, one_of, text, whole

SOURCES: Final = ("road", "frames")
ROAD_RATE, ROAD_SECONDS = 24.0, 10.0
FRAMES_RATE, FRAMES_FPS = 1.0, 30.0  # the blog's
LONGEST: Final = 3600.0  # s


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force; see the table above. None: as the source has it."""

    source: str = "road"
    drive: str = "data/car.csv"
    frames: str = "frames"
    folder: str = "stream"
    name: str = "video"
    every: float = 60.0
    seconds: float | None = None
    rate: float | None = None
    fps: float | None = None
    codec: str = "mp4v"
    keep: int = 5
    most_megabytes: float = 200.0
    seed: int = 1
    weather: str = "daylight"
    width: int = 640
    height: int = 360
    empty: float = 0.25
    report_seconds: float = 30.0

    @property
    def road(self) -> bool:
        """Whether the road is rendered."""
        return self.source == "road"

    @property
    def rate_in(self) -> float:
        """Frames a second that come in."""
        return self.rate or (ROAD_RATE if self.road else FRAMES_RATE)

    @property
    def fps_out(self) -> float:
        """Frames a second in the file."""
        return self.fps or (self.rate_in if self.road else FRAMES_FPS)

    @property
    def longest(self) -> float:
        """How long a video is at most, in s."""
        return self.seconds or (ROAD_SECONDS if self.road else LONGEST)

    @property
    def film(self) -> tuple[object, ...]:
        """What decides where frames come from: where it is equal, the same film goes on."""
        if self.road:
            return self.source, self.drive, self.seed, self.weather, self.width, self.height, self.empty
        return self.source, self.frames


PLACE: Final = ("source", "drive", "frames", "folder", "name")
"""The fields that say where frames come from and where videos go: what may turn out not to be there."""

TABLE: Final = Table(
    Settings,
    (
        Setting("source", "source", "CAMERA_SOURCE", one_of(SOURCES)),
        Setting("drive", "drive", "CAMERA_DRIVE", text()),
        Setting("frames", "frames", "CAMERA_FRAMES", text()),
        Setting("folder", "folder", "CAMERA_FOLDER", text()),
        Setting("name", "name", "CAMERA_NAME", text(100)),
        Setting("every", "every", "CAMERA_EVERY", number(0.1, 86_400.0, " of seconds")),
        Setting("seconds", "seconds", "CAMERA_SECONDS", number(0.1, LONGEST, " of seconds")),
        Setting("rate", "rate", "CAMERA_RATE", number(0.01, 240.0)),
        Setting("fps", "fps", "CAMERA_FPS", number(1.0, 240.0)),
        Setting("codec", "codec", "CAMERA_CODEC", one_of(tuple(CODECS))),
        Setting("keep", "keep", "CAMERA_KEEP", whole(1, 10_000)),
        Setting("mostMegabytes", "most_megabytes", "CAMERA_MOST_MEGABYTES", number(0.1, 1_000_000.0)),
        Setting("seed", "seed", "CAMERA_SEED", whole(0, 2**31 - 1)),
        Setting("weather", "weather", "CAMERA_WEATHER", one_of(tuple(WEATHERS))),
        Setting("width", "width", "CAMERA_WIDTH", whole(LEAST_SIDE, MOST_SIDE)),
        Setting("height", "height", "CAMERA_HEIGHT", whole(LEAST_SIDE, MOST_SIDE)),
        Setting("empty", "empty", "CAMERA_EMPTY", number(0.0, 1.0)),
        Setting("reportSeconds", "report_seconds", "CAMERA_REPORT_SECONDS", number(0.1, 86_400.0)),
    ),
)
