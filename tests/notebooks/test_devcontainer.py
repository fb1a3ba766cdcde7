"""The container for Codespaces and for machines without wheels: readable, and naming what there is."""

from __future__ import annotations

import json
import re

from notebooks.source.make.source import NOTEBOOKS

ROOT = NOTEBOOKS.parent


def test_it_runs_this_repositorys_commands_on_a_python_that_fits() -> None:
    """JSON with comments; the commands are Makefile targets; the image's Python is one that the package takes."""
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    found = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    commands = [found["postCreateCommand"], found["postAttachCommand"]]
    assert commands
    for command in commands:
        words = command.split()
        assert words[0] == "make"
        assert words[1] in targets
    assert re.search(r"python:3\.1[123]-", found["image"])
    assert "--platform=linux/amd64" in found["runArgs"]
    assert f"--port={found['forwardPorts'][0]}" in found["postAttachCommand"]


def test_codespaces_page_may_use_the_server_and_no_other_sites() -> None:
    """JupyterLab refuses WebSockets of pages from elsewhere; a codespace's forwarded page is such a one."""
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    match = re.search(r"--ServerApp\.allow_origin_pat=([^'\s]+)'", text)
    assert match is not None
    pattern = match[1]
    assert re.match(pattern, "https://fuzzy-lamp-jx4v9-8888.app.github.dev")
    assert not re.match(pattern, "https://elsewhere.example/app.github.dev")
    assert not re.match(pattern, "https://app-github.dev")
