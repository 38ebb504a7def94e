"""Folders that take long to make, shared by all processes and sessions with equal sources."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import edgeclf
from edgeclf.system import files
from edgeclf.system.cpu import cpu_flags, cpu_model
from edgeclf.system.environment import library_versions
from support import REPOSITORY

_LIBRARIES = (
    "numpy", "pillow", "tensorflow", "keras", "ai-edge-litert", "litert-quantizer", "onnx",
    "onnxruntime", "tf2onnx", "tflite-micro",
)  # fmt: skip
_HASHES = "sha256.json"


@contextmanager
def made_once(
    name: str,
    make: Callable[[Path], None],
    inputs: Path | None,
    config: pytest.Config,
    paths: pytest.TempPathFactory,
) -> Iterator[Path]:
    """A copy of what `make` puts into a folder; a test that changes it is an error in the end.

    The folder is kept in pytest's cache, under a hash of all that it depends on: the package, the
    tests' shared code, `inputs`, the libraries and the CPU. It gets its name when it is complete,
    and its files are compared with their hashes before they are used. Without pytest's cache it
    is kept for this session alone.

    Args:
        name: Of the folder.
        make: Fills an empty folder.
        inputs: A folder whose files `make` reads.
        config: Knows pytest's cache.
        paths: Where copies go.
    """
    shelf = _shelf(config, paths)
    kept = shelf / f"{name}-{_key(inputs)}"
    copy = paths.mktemp(name)
    with open(shelf / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_whole(kept):
            for old in (*shelf.glob(f"{name}-*"), *shelf.glob(f".{name}-*")):
                shutil.rmtree(old)
            unfinished = kept.with_name(f".{kept.name}")
            unfinished.mkdir()
            make(unfinished)
            files.write_json(unfinished / _HASHES, _hashes(unfinished))
            unfinished.rename(kept)
        shutil.copytree(kept, copy, dirs_exist_ok=True)
    (copy / _HASHES).unlink()
    before = _hashes(copy)
    yield copy
    after = _hashes(copy)
    changed = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
    assert not changed, f"a test has changed {changed} in {copy}, which others use: give it a copy"


def _shelf(config: pytest.Config, paths: pytest.TempPathFactory) -> Path:
    cache = getattr(config, "cache", None)  # there is none with -p no:cacheprovider
    if cache is not None:
        return Path(cache.mkdir("made"))
    base = paths.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def _key(inputs: Path | None) -> str:
    conditions = [sys.version, library_versions(_LIBRARIES), cpu_model(), sorted(cpu_flags())]
    package, tests = Path(edgeclf.__file__).parent, REPOSITORY / "tests"
    sources = [package, tests / "support", *([] if inputs is None else [inputs])]
    found = [
        (str(file.relative_to(folder)), files.sha256_of(file))
        for folder in sources
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".pyc" and package / "web" not in file.parents
    ]
    own = files.sha256_of(tests / "conftest.py")
    return files.sha256_of(json.dumps([conditions, found, own]))[:16]


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): files.sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _HASHES
    }


def _is_whole(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / _HASHES).read_text()) == _hashes(folder))
    except (OSError, ValueError):
        return False
