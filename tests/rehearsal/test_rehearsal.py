"""The rehearsal of Binder reads repo2docker's words as they are, and counts what a user's processes hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rehearsal.image import Image, base_packages, commands, python_version
from tests.rehearsal.memory import Sample, Watch, part, processes
from tests.rehearsal.walk import badge_page

HELD = 60_000_000

LOCK = """@EXPLICIT
https://conda.anaconda.org/conda-forge/linux-64/python_abi-3.11-8_cp311.conda#8fcb
https://conda.anaconda.org/conda-forge/noarch/tzdata-2025b-h78e105d_0.conda#4222
https://conda.anaconda.org/conda-forge/noarch/ca-certificates-2025.10.5-hbd8a1cb_0.conda#f9e5
https://conda.anaconda.org/conda-forge/linux-64/python-3.11.14-hfe2f287_1_cpython.conda#e87c
https://conda.anaconda.org/conda-forge/linux-64/brotli-python-1.1.0-py311h1ddb823_4.conda#7138
https://conda.anaconda.org/conda-forge/noarch/cached_property-1.5.2-pyha770c72_1.tar.bz2#576d
https://conda.anaconda.org/conda-forge/noarch/cached-property-1.5.2-hd8ed1ab_1.tar.bz2#9b34
https://conda.anaconda.org/conda-forge/noarch/typing_extensions-4.15.0-pyhcf101f3_0.conda#0caa
https://conda.anaconda.org/conda-forge/noarch/typing-extensions-4.15.0-h396c80c_0.conda#edd3
https://conda.anaconda.org/conda-forge/linux-64/nodejs-20.19.5-hf7ee748_0.conda#2cbd
https://conda.anaconda.org/conda-forge/noarch/jupyterhub-base-5.4.0-pyhc90fa1f_0.conda#593c
https://conda.anaconda.org/conda-forge/noarch/jupyterlab-4.4.9-pyhd8ed1ab_0.conda#6fcc
"""

DOCKERFILE = """FROM docker.io/library/buildpack-deps:24.04
RUN locale-gen
# Copy stuff.
COPY --chown=1000:1000 src/ ${REPO_DIR}/
USER ${NB_USER}
RUN ${KERNEL_PYTHON_PREFIX}/bin/pip install --no-cache-dir -r "binder/requirements.txt"
RUN chmod +x binder/postBuild
RUN ./binder/postBuild
CMD ["jupyter", "notebook", "--ip", "0.0.0.0"]
"""


def test_the_base_is_the_python_packages_of_the_lock_file_by_pips_names() -> None:
    """Not what is no package of PyPI's, and nothing twice."""
    assert base_packages(LOCK) == [
        "brotli==1.1.0",
        "cached_property==1.5.2",
        "jupyterhub==5.4.0",
        "jupyterlab==4.4.9",
        "typing_extensions==4.15.0",
    ]


def test_the_steps_are_those_of_the_dockerfile_from_the_copy_on() -> None:
    """What comes before it makes the system, which is here already."""
    assert commands(DOCKERFILE) == [
        '${KERNEL_PYTHON_PREFIX}/bin/pip install --no-cache-dir -r "binder/requirements.txt"',
        "chmod +x binder/postBuild",
        "./binder/postBuild",
    ]


def test_the_python_is_the_one_that_repo2docker_names() -> None:
    """And silence is an error, not a guess."""
    assert python_version("Using local repo.\nBuilding conda environment for python=3.11\n") == "3.11"
    with pytest.raises(ValueError, match="names no Python"):
        python_version("Using local repo.")


def test_a_command_has_the_images_environment_and_nothing_of_the_callers(tmp_path: Path) -> None:
    """`env -i` and the user's own HOME; on one core where one is named."""
    image = Image("jovyan", tmp_path / "home")
    words = image.command(["binder/start"], core=0)
    assert words[:3] == ["taskset", "-c", "0"]
    assert "--reuid=jovyan" in words
    after = words[words.index("-i") + 1 :]
    assert f"HOME={tmp_path}/home" in after
    assert after[-1] == "binder/start"
    assert image.environment()["PATH"].split(":")[1] == f"{tmp_path}/home-environment/bin"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("/e/bin/python -m ipykernel_launcher -f /r/kernel-ab-12.json", "kernel 05_automl"),
        ("/e/bin/python -m ipykernel_launcher -f /r/kernel-cd-34.json", "kernel ended"),
        ("/e/bin/python /e/bin/jupyter-lab --ip=127.0.0.1", "Jupyter server"),
        ("/e/bin/python -m iotedge_lab.hub --state /s", "hub"),
        ("/e/bin/python -u main.py", "EchoModule"),
        ("/bin/bash binder/start", "/bin/bash binder/start"),
    ],
)
def test_a_process_is_named_for_what_it_is_in_the_lab(words: str, name: str) -> None:
    """Kernels by their notebook, where the server still has it."""
    assert part(words, "EchoModule", {"ab-12": "05_automl"}) == name


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux has smaps_rollup")
def test_what_a_process_holds_is_counted_with_its_users() -> None:
    """One that holds 60 MB counts with at least that; after its end it counts no more."""
    held = f"import sys; kept = bytearray(b'x' * {HELD}); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", held]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        found = processes(os.getuid())
        process.communicate()
    assert found[process.pid][2] >= HELD
    assert "held" in found[process.pid][0]
    assert process.pid not in processes(os.getuid())


def test_the_highest_is_that_of_all_or_of_one_step() -> None:
    """By the sum; and it says what held most first, and how many of it there were."""
    watch = Watch(0)
    watch.samples += [
        Sample(1, "00", {"hub": 80_000_000, "kernel 00": 200_000_000}, {"hub": 1, "kernel 00": 1}),
        Sample(2, "01", {"hub": 90_000_000, "edge": 50_000_000}, {"hub": 1, "edge": 2}),
    ]
    assert watch.highest() is watch.samples[0]
    assert watch.highest("01") is watch.samples[1]
    assert str(watch.highest("01")) == "140 MB during 01: hub 90, edge x2 50"
    assert watch.table().splitlines()[:2] == ["seconds,during,part,processes,bytes", "1.0,00,hub,1,80000000"]
    with pytest.raises(ValueError, match="empty"):
        watch.highest("02")


def test_the_badge_opens_the_workspace_that_the_build_makes() -> None:
    """The README's link and the workspace have one name."""
    from iotedge_lab.cli import workspace

    assert f"/{badge_page()}" == workspace.PAGE
