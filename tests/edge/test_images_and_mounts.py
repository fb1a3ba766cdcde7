"""Images to module folders, mounts to links: names and paths, nothing of them made."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.edge.errors import MountRefused, UnknownImage
from iotedge_lab.edge.manifest import ImageTable, Link, Mount, plain_name, resolve_mounts
from iotedge_lab.edge.manifest.mounts import parse_bind
from iotedge_lab.errors import UsageError

MODULES = {name: Path("/m") / name for name in ("EchoModule", "ModuleFilterCar", "tool-arm64")}

IMAGES = [
    ("EchoModule", "echomodule"),
    ("echomodule:latest", "echomodule"),
    ("lab.azurecr.io/echomodule:0.0.1-amd64", "echomodule"),
    ("localhost:5000/a/b/EchoModule-arm32v7", "echomodule"),
    ("localhost:5000/EchoModule", "echomodule"),
    ("r/EchoModule.amd64.debug:1", "echomodule"),
    ("r/echomodule-linux-arm64:1", "echomodule"),
    ("r/echomodule@sha256:0123456789abcdef", "echomodule"),
    (" r/EchoModule:1@sha256:01 ", "echomodule"),
    ("amd64", "amd64"),
    ("", ""),
]


@pytest.mark.parametrize(("image", "name"), IMAGES)
def test_plain_name(image, name):
    """An image's plain name is without registry, path, tag, digest and architecture, in lower case."""
    assert plain_name(image) == name
    if name == "echomodule":
        assert ImageTable(MODULES).folder(image) == MODULES["EchoModule"]


def test_explicit_patterns_go_first():
    """Patterns over the whole reference go before names, in their order; a module's own ending counts."""
    table = ImageTable(
        MODULES,
        {"*/tools/*:2.*": Path("/two"), "Mine.example/EchoModule:1": Path("/one"), "*/tools/*": Path("/any")},
    )
    assert table.folder("r/tools/EchoModule:2.1") == Path("/two")
    assert table.folder("mine.example/echomodule:1") == Path("/one")
    assert table.folder("r/tools/EchoModule:3") == Path("/any")
    assert table.folder("r/other/EchoModule:3") == MODULES["EchoModule"]
    assert table.folder("r/Tool-ARM64:1") == MODULES["tool-arm64"]


def test_unknown_image():
    """An unknown image is refused with the names that there are."""
    with pytest.raises(UnknownImage) as refused:
        ImageTable(MODULES).folder("mcr.microsoft.com/azureiotedge-simulated-temperature-sensor:1.0")
    assert "EchoModule, ModuleFilterCar, tool-arm64" in str(refused.value)
    assert refused.value.image.startswith("mcr.")
    with pytest.raises(UnknownImage, match="Known modules: none"):
        ImageTable({}).folder("x")


def test_scanning_folders(tmp_path):
    """A module is a folder with a main.py; of two of one name that below the first root counts."""
    for place in ("a/EchoModule", "a/Other", "b/echomodule", "b/Third"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "main.py").touch()
    (tmp_path / "a/no-module").mkdir()
    table = ImageTable.scan([tmp_path / "a", tmp_path / "b", tmp_path / "missing"])
    assert table.names == ("EchoModule", "Other", "Third")
    assert table.folder("r/ECHOMODULE:1") == tmp_path / "a/EchoModule"


def test_names_that_differ_in_case_only():
    """Two modules whose names differ in case only cannot be told apart, and are refused."""
    with pytest.raises(UsageError, match="rename"):
        ImageTable({"A": Path("/1"), "a": Path("/2")})


# -- mounts ------------------------------------------------------------------------------------------------

WORK, DEVICE = Path("/state/work/M"), Path("/state/edges/car")

MOUNTS = [
    ("/tmp:/app/stream", WORK / "stream", DEVICE / "host/tmp"),
    ("/tmp/:/app/stream/", WORK / "stream", DEVICE / "host/tmp"),
    ("//tmp//x:/app//stream", WORK / "stream", DEVICE / "host/tmp/x"),
    ("/var/./lib/x:/app/a/b/c", WORK / "a/b/c", DEVICE / "host/var/lib/x"),
    ("/:/app/root", WORK / "root", DEVICE / "host"),
    ("models:/app/models", WORK / "models", DEVICE / "volumes/models"),
    ("C:\\data\\in:/app/in", WORK / "in", DEVICE / "host/C/data/in"),
    ("c:/data:/app/in", WORK / "in", DEVICE / "host/C/data"),
    ("/with blank/é:/app/x y", WORK / "x y", DEVICE / "host/with blank/é"),
]


@pytest.mark.parametrize(("bind", "link", "folder"), MOUNTS)
def test_mount(bind, link, folder):
    """A target below /app is a link in the working folder, to the device's own folder for the host's path."""
    (found,) = resolve_mounts([parse_bind(bind)], working_folder=WORK, device_folder=DEVICE)
    assert found == Link(link, folder)
    (read_only,) = resolve_mounts([parse_bind(f"{bind}:z,ro")], working_folder=WORK, device_folder=DEVICE)
    assert read_only == Link(link, folder, read_only=True)


def test_two_modules_share_a_path_and_two_edges_do_not():
    """One host path is one folder for the modules of one edge, and another for another edge."""
    mount = [Mount("/tmp", "/app/stream")]
    first = resolve_mounts(mount, working_folder=WORK, device_folder=DEVICE)
    second = resolve_mounts(mount, working_folder=Path("/state/work/N"), device_folder=DEVICE)
    other = resolve_mounts(mount, working_folder=WORK, device_folder=Path("/state/edges/camera"))
    assert first[0].folder == second[0].folder != other[0].folder
    assert first[0].path != second[0].path


REFUSED = [
    (Mount("/tmp", "/data"), "outside /app"),
    (Mount("/tmp", "/application"), "outside /app"),
    (Mount("/tmp", "/"), "outside /app"),
    (Mount("/tmp", "/app"), "/app itself"),
    (Mount("/tmp", "/app/"), "/app itself"),
    (Mount("/tmp", "app/x"), "begin with '/'"),
    (Mount("/tmp", ""), "target is empty"),
    (Mount("", "/app/x"), "source is empty"),
    (Mount("/tmp", "/app/../etc"), "'..'"),
    (Mount("/tmp", "/app/x/../../etc"), "'..'"),
    (Mount("/tmp/../etc", "/app/x"), "'..'"),
    (Mount("C:\\a\\..\\..\\b", "/app/x"), "'..'"),
    (Mount("..", "/app/x"), "'..'"),
    (Mount("a/b", "/app/x"), "neither a path"),
    (Mount("~", "/app/x"), "neither a path"),
    (Mount("/a\\..\\b", "/app/x"), "backslash"),
    (Mount("/tmp", "/app/a\\b"), "backslash"),
    (Mount("/a\0b", "/app/x"), "printed"),
]


@pytest.mark.parametrize(("mount", "part"), REFUSED)
def test_refused_mount(mount, part):
    """A mount that has no place here is refused with a word."""
    with pytest.raises(MountRefused) as refused:
        resolve_mounts([mount], working_folder=WORK, device_folder=DEVICE)
    assert part in refused.value.reason


@pytest.mark.parametrize("targets", [("/app/x", "/app/x/"), ("/app/x", "/app/x/y"), ("/app/x/y", "/app/x")])
def test_targets_within_each_other(targets):
    """Targets that are one or lie within each other are refused: a link cannot hold a link of one module alone."""
    with pytest.raises(MountRefused, match="within each other"):
        resolve_mounts([Mount("/a", t) for t in targets], working_folder=WORK, device_folder=DEVICE)


@pytest.mark.parametrize("text", ["", "/a", ":", "/a:", ":/app/x", "/a:/app/x:ro:z"])
def test_no_bind(text):
    """What is no `source:target` is refused."""
    with pytest.raises(MountRefused, match="a bind reads"):
        parse_bind(text)


PATHS = st.lists(
    st.sampled_from(["/", "..", ".", "a", "app", "\\", "C:", "~", " ", "\0", "é"]), max_size=8
).map("".join)


@settings(max_examples=300, deadline=5000)
@given(PATHS, PATHS)
def test_no_mount_leads_out(source, target):
    """Whatever the paths, a link lies in the working folder and leads into the device's folder, or is refused."""
    try:
        (link,) = resolve_mounts([Mount(source, f"/app/{target}")], working_folder=WORK, device_folder=DEVICE)
    except MountRefused:
        return
    assert ".." not in link.path.parts
    assert ".." not in link.folder.parts
    assert link.path.is_relative_to(WORK)
    assert link.path != WORK
    assert link.folder.is_relative_to(DEVICE / "host") or link.folder.is_relative_to(DEVICE / "volumes")
