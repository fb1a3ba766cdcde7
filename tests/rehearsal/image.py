"""What repo2docker would build from `binder/`, built without Docker for a user of its own.

The steps are those of the Dockerfile that `jupyter-repo2docker --no-build --debug` writes: its base packages first,
from the lock file that repo2docker carries for this Python, then `pip install -r binder/requirements.txt` in a clone
that is the user's home, then postBuild; all of it as that user, with an environment that holds nothing else.

What differs: the base packages come from PyPI instead of conda-forge, the system is the one at hand instead of
Ubuntu, and Python is the system's instead of conda's.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[2]

_PACKAGE: Final = re.compile(
    r"/(?P<name>[a-z0-9._-]+)-(?P<version>[^-/]+)-(?P<build>[^-/]+)\.(?:conda|tar\.bz2)"
)
# Conda's name where PyPI has another; None: a name for other packages, or no package of PyPI's.
_OTHER_NAMES: Final[Mapping[str, str | None]] = {
    "bleach-with-css": None,
    "brotli-python": "brotli",
    "cached-property": None,
    "jsonschema-with-format-nongpl": None,
    "jupyterhub-base": "jupyterhub",
    "jupyterhub-singleuser": None,
    "nbconvert-core": "nbconvert",
    "python-fastjsonschema": "fastjsonschema",
    "tzdata": None,
    "ca-certificates": None,
}


def base_packages(lock: str) -> list[str]:
    """The Python packages of conda's explicit lock file, as pip's `name==version`."""
    found = {}
    for line in lock.splitlines():
        match = _PACKAGE.search(line)
        if match is None or not re.match(r"py(?:hd?|h[0-9a-f]+|\d*|thon)", match["build"]):
            continue
        name = _OTHER_NAMES.get(match["name"], match["name"])
        if name is not None and not name.startswith(("python_abi", "typing-extensions")):
            found[name] = match["version"]
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def python_version(dockerfile_log: str) -> str:
    """The Python that repo2docker says it takes. Raises ValueError if it does not say so."""
    match = re.search(r"Building conda environment for python=(\S+)", dockerfile_log)
    if match is None:
        raise ValueError(f"repo2docker names no Python:\n{dockerfile_log}")
    return match[1]


def commands(dockerfile: str) -> list[str]:
    """The commands of the Dockerfile that work on the repository: from its copy on, without labels."""
    after = dockerfile[dockerfile.index("# Copy stuff.") :]
    return re.findall(r"^RUN (.+)$", after, flags=re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Image:
    """A home folder with a clone of the repository, and an environment beside it; `user` owns both."""

    user: str
    home: Path

    @property
    def prefix(self) -> Path:
        """The environment, which is /srv/conda/envs/notebook in an image."""
        return self.home.with_name(f"{self.home.name}-environment")

    def environment(self) -> dict[str, str]:
        """What the Dockerfile's ENV lines set, and nothing of the caller's."""
        return {
            "USER": self.user,
            "HOME": str(self.home),
            "REPO_DIR": str(self.home),
            "SHELL": "/bin/bash",
            "LC_ALL": "C.UTF-8",
            "LANG": "C.UTF-8",
            "NB_PYTHON_PREFIX": str(self.prefix),
            "KERNEL_PYTHON_PREFIX": str(self.prefix),
            "PATH": f"{self.home}/.local/bin:{self.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
        }

    def command(self, words: Sequence[str], *, core: int | None = None) -> list[str]:
        """The command line that runs `words` as the user in that environment, on one core if one is named."""
        one = [] if core is None else ["taskset", "-c", str(core)]
        as_user = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"]
        variables = [f"{name}={value}" for name, value in self.environment().items()]
        return [*one, *as_user, "env", "-i", f"--chdir={self.home}", *variables, *words]

    def refresh(self) -> None:
        """As each session finds it: without what another one has left, and with what the build has fetched."""
        self.run("bash", "-c", "git checkout --quiet . && git clean -qfdx --exclude=.cache")

    def run(self, *words: str) -> None:
        """Run it to its end. Raises CalledProcessError."""
        subprocess.run(self.command(words), check=True)


def described(folder: Path) -> tuple[str, str, str]:
    """repo2docker's own words on this repository: its log, its Dockerfile, and the lock file of its base.

    `folder` gets an environment with repo2docker, if it has none yet.
    """
    tool = folder / "bin" / "jupyter-repo2docker"
    if not tool.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "jupyter-repo2docker"], check=True)
    clone = folder / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    said = subprocess.run(
        [tool, "--no-build", "--debug", "--user-id=1000", "--user-name=jovyan", clone],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    version = python_version(said.stderr)
    (lock,) = folder.glob(
        f"lib/python*/site-packages/repo2docker/buildpacks/conda/*py-{version}-linux-64.lock"
    )
    return said.stderr, said.stdout, lock.read_text(encoding="utf-8")


def build(image: Image, tools: Path) -> None:
    """Make the home and the environment anew. Needs root, for what it does is another user's.

    Raises RuntimeError if there is no such user or no Python of the version that is wanted.
    """
    log, dockerfile, lock = described(tools)
    python = shutil.which(f"python{python_version(log)}", path="/usr/bin:/usr/local/bin")
    if python is None:
        raise RuntimeError(f"there is no python{python_version(log)} of the system's")
    owner = pwd.getpwnam(image.user)
    for folder in (image.home, image.prefix):
        shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, image.home], check=True)
    image.prefix.mkdir()
    for path in (image.prefix, image.home, *image.home.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    image.run(python, "-m", "venv", str(image.prefix))
    pip = f"{image.prefix}/bin/pip"
    image.run(pip, "install", "--quiet", "--no-deps", *base_packages(lock))
    image.run(pip, "check")
    _assemble(image, commands(dockerfile))


def _assemble(image: Image, steps: Iterable[str]) -> None:
    for step in steps:
        print(f"RUN {step}", flush=True)
        image.run("bash", "-c", step)
