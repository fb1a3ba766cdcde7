"""solution new, solution add: what they make, and that nothing is ever overwritten."""

import json

import pytest

from iotedge_lab.edge.errors import InvalidManifest
from iotedge_lab.edge.manifest import load
from iotedge_lab.errors import UsageError
from iotedge_lab.solution import check_images, find_module_folders, read_manifest
from iotedge_lab.solution.files import read_env

FILES = {
    ".env", ".gitignore", "deployment.template.json", "modules/EchoModule/main.py", "modules/EchoModule/module.json",
    "modules/EchoModule/requirements.txt", "modules/EchoModule/Dockerfile.amd64",
}  # fmt: skip


def files(folder):
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files(folder)}


@pytest.fixture
def made(cli, tmp_path):
    """A solution with the module EchoModule."""
    result = cli("solution", "new", str(tmp_path / "Edge Solution"), "--module", "EchoModule")
    assert result.exit_code == 0, result.output
    return tmp_path / "Edge Solution"


def test_a_new_solution(cli, made, tmp_path):
    """The files of the extension's template, without its temperature sensor; the manifest is one."""
    assert files(made) == FILES
    manifest = read_manifest(made / "deployment.template.json", {})
    assert list(manifest.modules) == ["EchoModule"]
    assert manifest.modules["EchoModule"].image == "EchoModule"
    assert manifest.modules["EchoModule"].environment == {"INTERVAL": "30"}
    assert [str(each.route) for each in manifest.hub.routes.values()] == [
        "FROM /messages/modules/EchoModule/outputs/* INTO $upstream"
    ]
    assert manifest.notes == ()
    assert find_module_folders(made / "deployment.template.json") == [made / "modules"]
    check_images(manifest, [made / "modules"])
    assert "@" not in "".join(text.decode() for text in contents(made).values())
    assert json.loads((made / "modules/EchoModule/module.json").read_text())["image"]["repository"].endswith(
        "/echomodule"
    )
    compile((made / "modules/EchoModule/main.py").read_text(), "main.py", "exec")


def test_it_tells_what_it_made_and_what_comes_next(cli, tmp_path):
    """Each file, and commands that can be pasted."""
    result = cli("solution", "new", str(tmp_path / "My solution"))
    folder = tmp_path / "My solution"
    for file in files(folder):
        assert f"created {folder / file}" in result.stdout
    assert f"simulator start -v -d '{folder}/deployment.template.json'" in result.stdout
    assert "modules/SampleModule/main.py" in files(folder)


def test_nothing_is_overwritten(cli, made):
    """A folder that has something in it stays as it is; an empty one is taken."""
    before = contents(made)
    again = cli("solution", "new", str(made))
    assert again.exit_code == 1
    assert "is there already, and nothing of it is overwritten" in again.stderr
    assert contents(made) == before
    empty = made.parent / "empty"
    empty.mkdir()
    assert cli("solution", "new", str(empty)).exit_code == 0
    assert cli("solution", "new", str(empty / ".env")).exit_code == 1


def test_a_further_module(cli, made):
    """Its folder, its entry and its route; what was there stays, comments of other tools too."""
    file = made / "deployment.template.json"
    content = json.loads(file.read_text())
    content["mine"] = "Zürich"
    file.write_text(json.dumps(content))
    before = contents(made)
    result = cli("solution", "add", "Filter_2", "--solution", str(made))
    assert result.exit_code == 0, result.output
    assert "the module Filter_2, and the route Filter_2ToIoTHub" in result.stdout
    manifest = read_manifest(file, {})
    assert list(manifest.modules) == ["EchoModule", "Filter_2"]
    assert list(manifest.hub.routes) == ["EchoModuleToIoTHub", "Filter_2ToIoTHub"]
    assert json.loads(file.read_text())["mine"] == "Zürich"
    after = contents(made)
    assert {name for name in after if name not in before} == {
        name.replace("EchoModule", "Filter_2") for name in FILES if name.startswith("modules/")
    }
    assert {name for name in before if after[name] != before[name]} == {"deployment.template.json"}


@pytest.mark.parametrize(
    ("module", "word"),
    [
        ("EchoModule", "has EchoModule already"),
        ("echomodule", "has EchoModule already"),
        ("2nd", "cannot name a module"),
        ("a b", "cannot name a module"),
        ("../up", "cannot name a module"),
        ("x" * 65, "cannot name a module"),
        ("edgeHub", "one of the runtime's own modules"),
    ],
)
def test_names_that_are_none(cli, made, module, word):
    """Nothing is changed then."""
    before = contents(made)
    result = cli("solution", "add", module, "--solution", str(made))
    assert result.exit_code == 1
    assert word in result.stderr
    assert contents(made) == before
    assert cli("solution", "new", str(made.parent / "x"), "--module", "-a").exit_code in (1, 2)
    assert not (made.parent / "x").exists()


def test_a_folder_without_a_solution(cli, tmp_path, monkeypatch):
    """It says how to make one, and what is wrong with one that is damaged."""
    monkeypatch.chdir(tmp_path)
    assert "There is no solution in ." in cli("solution", "add", "A").stderr
    (tmp_path / "deployment.template.json").write_text("{")
    assert "cannot be read" in cli("solution", "add", "A").stderr
    (tmp_path / "deployment.template.json").write_text('{"modulesContent": []}')
    assert "is no deployment manifest" in cli("solution", "add", "A").stderr
    assert files(tmp_path) == {"deployment.template.json"}


# -- placeholders -----------------------------------------------------------------------------------------


def test_values_of_placeholders(made):
    """The shell's go before those of `.env`; a name in small letters does not get into routes."""
    file = made / "deployment.template.json"
    (made / ".env").write_text("INTERVAL=5\n")
    assert read_manifest(file, {}).modules["EchoModule"].environment == {"INTERVAL": "5"}
    given = {"INTERVAL": "7", "upstream": "nowhere"}
    manifest = read_manifest(file, given)
    assert manifest.modules["EchoModule"].environment == {"INTERVAL": "7"}
    assert "INTO $upstream" in str(next(iter(manifest.hub.routes.values())).route)
    (made / ".env").unlink()
    with pytest.raises(InvalidManifest, match=r"the placeholder \$\{INTERVAL\} has no value"):
        read_manifest(file, {})


def test_a_manifest_in_config(made):
    """As VS Code makes it of the template: `.env` and modules are those of the solution."""
    (made / "config").mkdir()
    file = made / "config" / "deployment.amd64.json"
    file.write_text((made / "deployment.template.json").read_text())
    assert read_manifest(file, {}).modules["EchoModule"].environment == {"INTERVAL": "30"}
    assert find_module_folders(file) == [made / "modules"]


def test_a_layered_deployment_is_none_of_its_own(tmp_path):
    """It needs another one below it."""
    content = {"modulesContent": {"$edgeHub": {"properties.desired.routes.up": "FROM /* INTO $upstream"}}}
    assert load(content).layered
    (tmp_path / "layer.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="is a layered deployment"):
        read_manifest(tmp_path / "layer.json", {})


ENV = """
# a comment
A=1
export B = two words   # and a comment
C="quoted # no comment\\n"  # a comment
D='single $x'
E=
F=a#b
\tG="open
"""


def test_an_env_file(tmp_path):
    """As dotenv reads it; a line that is no assignment is told of by its number, as it may hold a password."""
    file = tmp_path / ".env"
    assert read_env(file) == {}
    file.write_text(ENV)
    assert read_env(file) == {
        "A": "1", "B": "two words", "C": "quoted # no comment\n", "D": "single $x", "E": "", "F": "a#b", "G": '"open',
    }  # fmt: skip
    file.write_text("A=1\nhunter2\n")
    with pytest.raises(UsageError, match="line 2, is no assignment") as refused:
        read_env(file)
    assert "hunter2" not in str(refused.value)
    file.write_bytes(b"A=\xff\n")
    with pytest.raises(UsageError, match="cannot be read"):
        read_env(file)
