"""`python -m iotedge_lab.hub`: one hub in this process. People use `iotedge-lab up`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from iotedge_lab.clock import SystemClock


def _import_aiohttp() -> None:
    """Import aiohttp without the machine's certificates, which it reads for clients that we are not.

    It does so while it is imported, and that is a tenth of a second and more of the time to the first message.
    """
    kept = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    os.environ.update(dict.fromkeys(kept, os.devnull))
    try:
        import aiohttp.web  # noqa: F401 - for its side effect: it is in sys.modules then
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _allow_many_files() -> None:
    """A connection is an open file: raise the limit as far as this user may, for a thousand devices and more."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    """Read the command line, serve, return the exit status."""
    _allow_many_files()
    _import_aiohttp()
    from iotedge_lab.hub.process import ProcessSettings, run

    parser = argparse.ArgumentParser(prog="python -m iotedge_lab.hub", description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--host")
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--retention-days", type=float, default=1.0)
    parser.add_argument("--fsync", action="store_true")
    parser.add_argument("--until-eof", action="store_true")
    asked = parser.parse_args()
    settings = ProcessSettings(
        state=asked.state,
        host=asked.host,
        partitions=asked.partitions,
        retention_days=asked.retention_days,
        fsync=asked.fsync,
        background=True,
        until_eof=asked.until_eof,
    )
    os.umask(0o077)  # whatever this process writes, rotated logs as well, is for its owner alone
    # The parent waits for one line on a copy of standard output; the original goes nowhere from now on.
    ready = os.fdopen(os.dup(1), "w", encoding="utf-8")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    with ready:
        return run(settings, SystemClock(), ready)


if __name__ == "__main__":
    sys.exit(main())
