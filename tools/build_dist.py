"""Builds what is released: the sdist, the device's wheel and the workstation's wheel.

    python tools/build_dist.py dist

In a checkout the extras name the folder `workstation/`, so that installing from it needs no index.
A release names the version instead; everything is built from a copy of the sources in which that
one line is changed.
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
IN_CHECKOUT = "edgeclf-workstation @ {root:uri}/workstation"


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
        if match is None or IN_CHECKOUT not in project:
            raise SystemExit(f"pyproject.toml lacks a version or the line {IN_CHECKOUT!r}")
        released = project.replace(IN_CHECKOUT, f"edgeclf-workstation=={match[1]}")
        (copy / "pyproject.toml").write_text(released)
        build("--outdir", out, copy)
        build("--wheel", "--outdir", out, copy / "workstation")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
