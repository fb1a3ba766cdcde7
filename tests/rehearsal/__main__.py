"""Rehearse Binder: build what repo2docker would build, open it as the badge does, run the whole series in it.

    useradd --create-home jovyan
    python -m tests.rehearsal --user jovyan            # as root: the session is that user's
    python -m tests.rehearsal --user jovyan --no-build --only 00_start_here

It prints each notebook's time and the highest memory, by process, and ends with status 1 if a notebook fails or the
memory is more than mybinder.org is safe with. The user's processes are all ended when it ends.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
import tempfile
from pathlib import Path

from notebooks.source.make.source import sources
from tests.rehearsal.image import Image, build
from tests.rehearsal.memory import Watch
from tests.rehearsal.session import BASE, NAME, started

LIMIT = 1.6e9
"""Bytes. mybinder.org ends a session at 2 GB; the rest is for what a learner does besides."""


def main() -> int:
    """The whole rehearsal; the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.rehearsal", description=__doc__.split("\n")[0])
    parser.add_argument("--user", required=True, help="who has the session, and no other processes")
    parser.add_argument("--home", type=Path, help="where the repository goes (~USER/rehearsal)")
    parser.add_argument("--tools", type=Path, default=Path(tempfile.gettempdir(), "repo2docker"))
    parser.add_argument("--no-build", action="store_true", help="use what was built before")
    parser.add_argument("--only", action="append", help="this notebook only (again for more)")
    parser.add_argument("--core", type=int, default=0, help="the one core of the session")
    asked = parser.parse_args()
    owner = pwd.getpwnam(asked.user)
    if os.geteuid() != 0 or owner.pw_uid == 0:
        parser.error("run it as root with a user who is not: the session is that user's, as on Binder")
    image = Image(asked.user, asked.home or Path(owner.pw_dir, "rehearsal"))
    if not asked.no_build:
        build(image, asked.tools)
    names = asked.only or [source.stem for source in sources()]
    return rehearse(image, owner.pw_uid, names, asked.core)


def rehearse(image: Image, uid: int, names: list[str], core: int) -> int:
    """Start, open, run; 0 if all of it is as it should be."""
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import CHROMIUM
    from tests.rehearsal.walk import click_tile, open_badge, run_notebooks

    image.refresh()
    log = Path(tempfile.mkdtemp(prefix="rehearsal-")) / "server.log"
    failed = False
    with Watch(uid) as watch, started(image, log, core=core) as session, sync_playwright() as playwright:
        say(
            f"JupyterLab answers after {session.seconds:.1f} s; its log and all samples will be in {log.parent}"
        )
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                f"--host-resolver-rules=MAP {NAME} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                # mybinder.org has https, by which a page may do what this one may as it is.
                f"--unsafely-treat-insecure-origin-as-secure={session.page.removesuffix(BASE.rstrip('/'))}",
            ],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        watch.doing = "the badge's page"
        say(f"The badge's page is there after {open_badge(page, session):.1f} s: 00 left, the portal right")
        click_tile(page)
        say("The tile in the launcher opens the portal")
        for ran in run_notebooks(page, session, watch, names):
            failed = failed or bool(ran.errors)
            say(f"{ran.notebook}: {ran.seconds:.0f} s; {watch.highest(ran.notebook)}")
            for error in ran.errors:
                say(f"  FAILED: {error}")
        browser.close()
        highest = watch.highest()
    log.with_name("samples.csv").write_text(watch.table(), encoding="utf-8")
    say(f"Highest of {len(watch.samples)} samples: {highest}")
    say(f"Load of the machine: {os.getloadavg()[1]:.1f}")
    if highest.total > LIMIT:
        say(f"FAILED: more than {LIMIT / 1e6:.0f} MB")
        failed = True
    return int(failed)


def say(line: str) -> None:
    """At once, also into a file."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
