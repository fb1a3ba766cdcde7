"""The extensions of Jupyter's server: the workspace under the server's address, and room for the kernel at work."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from iotedge_lab.cli import kernels_extension, workspace, workspace_extension

MOST = 1_000


class Kernels:
    """A kernel manager as the extension sees it; each kernel holds 400 bytes."""

    def __init__(self, *kernels):
        self.kernels = {each["id"]: each for each in kernels}

    def list_kernel_ids(self):
        return list(self.kernels)

    async def list_kernels(self):
        return list(self.kernels.values())

    async def shutdown_kernel(self, kernel_id):
        del self.kernels[kernel_id]


def kernel(name, last, state="idle"):
    return {"id": name, "last_activity": f"2026-01-01T00:00:{last:02}Z", "execution_state": state}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """What the extensions ask of a server; its workspaces are the test's own."""
    (tmp_path / "root" / "notebooks").mkdir(parents=True)
    monkeypatch.setenv("JUPYTERLAB_WORKSPACES_DIR", str(tmp_path / "workspaces"))
    return SimpleNamespace(
        root_dir=str(tmp_path / "root"),
        base_url="/user/x-1/",
        log=logging.getLogger("test"),
        kernel_manager=None,
    )


def _made(tmp_path):
    (file,) = (tmp_path / "workspaces").iterdir()
    return json.loads(file.read_text())["data"]


@pytest.mark.parametrize("folder", ["", "notebooks"])
def test_the_workspace_has_the_servers_own_address(server, tmp_path, folder):
    """On Binder nothing of this server lies at /, so a link there would show the hub's 404."""
    (tmp_path / "root" / folder / workspace.FIRST).write_text("{}")
    workspace_extension._load_jupyter_server_extension(server)
    made = _made(tmp_path)
    assert made["server-proxy:server-proxy:iotedge-lab"]["data"]["url"] == "/user/x-1/iotedge-lab/"
    assert (
        "/".join(filter(None, (folder, workspace.FIRST))) in made["layout-restorer:data"]["main"]["current"]
    )


def test_a_layout_that_is_there_keeps_all_but_the_link(server, tmp_path):
    """The same home under another address, as on a JupyterHub after `make lab`."""
    (tmp_path / "root" / workspace.FIRST).write_text("{}")
    workspace.offer("", tmp_path / "workspaces")
    (file,) = (tmp_path / "workspaces").iterdir()
    changed = json.loads(file.read_text())
    changed["data"]["layout-restorer:data"]["main"]["dock"]["sizes"] = [0.5, 0.5]
    file.write_text(json.dumps(changed))
    workspace_extension._load_jupyter_server_extension(server)
    made = _made(tmp_path)
    assert made["layout-restorer:data"]["main"]["dock"]["sizes"] == [0.5, 0.5]
    assert made["server-proxy:server-proxy:iotedge-lab"]["data"]["url"] == "/user/x-1/iotedge-lab/"


def test_a_server_without_the_workbooks_gets_no_workspace(server, tmp_path):
    workspace_extension._load_jupyter_server_extension(server)
    assert not (tmp_path / "workspaces").exists()


def test_workspaces_that_cannot_be_written_are_only_said(server, tmp_path, monkeypatch, caplog):
    (tmp_path / "root" / workspace.FIRST).write_text("{}")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JUPYTERLAB_WORKSPACES_DIR", str(tmp_path / "file" / "below"))
    workspace_extension._load_jupyter_server_extension(server)
    assert "without the workbooks' workspace" in caplog.text


async def test_those_that_wait_longest_go_until_there_is_room(server, monkeypatch):
    """Never the one used last, never one that is busy, and no more than need be."""
    kernels = Kernels(kernel("b", 2), kernel("a", 1), kernel("c", 3, "busy"), kernel("d", 4), kernel("e", 5))
    server.kernel_manager = kernels
    monkeypatch.setattr(kernels_extension, "held", lambda: 400 * len(kernels.kernels))
    await kernels_extension.make_room(server, MOST + 600)
    assert list(kernels.kernels) == ["b", "c", "d", "e"]
    await kernels_extension.make_room(server, MOST)
    assert list(kernels.kernels) == ["c", "e"]
    await kernels_extension.make_room(server, 0)
    assert list(kernels.kernels) == ["c", "e"]


def test_without_a_limit_nothing_is_done(server, monkeypatch):
    """A laptop has no MEM_LIMIT; a hub may say 0 for none."""
    monkeypatch.delenv(kernels_extension.LIMIT_VARIABLE, raising=False)
    kernels_extension._load_jupyter_server_extension(server)  # it would need a loop to look
    assert [kernels_extension.limit({"MEM_LIMIT": text}) for text in ("0", "2G", "2147483648")] == [
        None,
        None,
        2147483648,
    ]


def test_what_is_held_is_a_sum_over_this_users_processes(tmp_path):
    """One that ends meanwhile has no size any more."""
    for number, text in (("1", "Rss: 9 kB\nPss:   3 kB\nPss_Anon: 1 kB\n"), ("2", "Pss: 4 kB\n"), ("3", "")):
        (tmp_path / number).mkdir()
        (tmp_path / number / "smaps_rollup").write_text(text)
    assert kernels_extension.held(tmp_path) == 7 * 1024


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux has smaps_rollup")
def test_this_process_is_among_what_is_held():
    assert kernels_extension.held() > 10_000_000
