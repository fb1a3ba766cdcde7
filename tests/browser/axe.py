"""axe, the accessibility checker, as it comes from npm: fetched once, checked by its sha256, kept in a cache folder."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import platformdirs

VERSION = "4.14.1"
SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]

CHECK = "rules => axe.run(document, {runOnly: rules}).then(found => found.violations)"


def script(folder: Path) -> str | None:
    """Its JavaScript, or None where it is not there and cannot be fetched; `folder` is one to work in."""
    kept = Path(platformdirs.user_cache_dir("iotedge-lab", appauthor=False)) / f"axe-core-{VERSION}.tgz"
    if not kept.exists():
        npm = shutil.which("npm")
        if npm is None:
            return None
        asked = [npm, "pack", f"axe-core@{VERSION}", "--silent"]
        if subprocess.run(asked, cwd=folder, capture_output=True, timeout=60, check=False).returncode:
            return None
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / kept.name, kept)
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == SHA256, (
        f"{kept} is not what it should be: remove it"
    )
    with tarfile.open(kept) as package:
        found = package.extractfile("package/axe.min.js")
        assert found is not None
        return found.read().decode()
