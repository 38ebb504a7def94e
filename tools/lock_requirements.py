"""Writes deploy/requirements.txt: what the image installs, each at one version, with hashes.

    pip install uv                                               # with Python 3.11 or later
    python tools/lock_requirements.py                            # litert and serve
    python tools/lock_requirements.py onnxruntime serve otel     # for .onnx, with spans

uv resolves what `pyproject.toml` asks for, for every platform and each Python from 3.11 on, and
keeps the versions that are in the file already; delete it to take the newest. The hashes are those
of all files of a version, from the index that uv uses.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "deploy" / "requirements.txt"
EXTRAS = ("litert", "serve")
PYTHON = "3.11"
# uv heeds no upper limit of Requires-Python: later ones are for Python 3.10 alone, says pip.
CONSTRAINTS = ("backports-strenum<1.3",)
_OWN = re.compile(r"edgeclf\[([\w,-]+)\]$")


def needed(extras: Sequence[str]) -> Iterator[str]:
    """What the package and some of its extras ask for, without its own wheels."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield from project["dependencies"]
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            if own := _OWN.match(requirement):
                yield from needed(own[1].split(","))
            elif not requirement.startswith("edgeclf-"):
                yield requirement


def lock(extras: Sequence[str], before: str) -> str:
    """The file's text, of which the versions of before are kept where they may be."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, limits, locked = (Path(folder, name) for name in ("wanted", "limits", "locked"))
        wanted.write_text("\n".join(dict.fromkeys(needed(extras))))
        limits.write_text("\n".join(CONSTRAINTS))
        locked.write_text(before)
        words = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", PYTHON,
                 "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url",
                 "--no-emit-find-links", "--constraints", limits, "--output-file", locked,
                 wanted]  # fmt: skip
        subprocess.run(words, check=True)
        text = locked.read_text()
    return f"# Made by: python tools/lock_requirements.py {' '.join(extras)}\n{text}"


def main() -> int:
    before = FILE.read_text() if FILE.exists() else ""
    FILE.write_text(lock(sys.argv[1:] or EXTRAS, before))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
