"""Builds what is released: the sdist and the wheels of device, fleet, workstation, server and web.

    python tools/build_dist.py dist

In a checkout the extras name the folders `fleet/`, `workstation/`, `server/` and `web/`, so that
installing from it needs no index. A release names the version instead; everything is built from a
copy of the sources in which those lines are changed. The browser's engines are no sources: the
wheel of the web gets those that tools/fetch_web.py has put into the checkout, and none if it has
not.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("fleet", "workstation", "server", "web")
ENGINES = Path("edgeclf", "web", "static", "engines")


def build(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "build", "--quiet", *map(str, words)], check=True)


def main() -> int:
    out = Path(sys.argv[1]).resolve()
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        build("--sdist", "--outdir", folder, ROOT)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as sources:
            sources.extractall(folder, filter="data")
        copy = Path(folder) / archive.name.removesuffix(".tar.gz")
        project = (copy / "pyproject.toml").read_text()
        match = re.search(r'^version = "(.+)"', project, re.MULTILINE)
        for part in PARTS:
            in_checkout = f"edgeclf-{part} @ {{root:uri}}/{part}"
            if match is None or in_checkout not in project:
                raise SystemExit(f"pyproject.toml lacks a version or the line {in_checkout!r}")
            project = project.replace(in_checkout, f"edgeclf-{part}=={match[1]}")
        (copy / "pyproject.toml").write_text(project)
        if (ROOT / ENGINES).is_dir():
            shutil.copytree(ROOT / ENGINES, copy / ENGINES)
        build("--outdir", out, copy)
        for part in PARTS:
            build("--wheel", "--outdir", out, copy / part)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
