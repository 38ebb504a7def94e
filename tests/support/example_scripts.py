"""Running the scripts in examples/ as their readers do, and reading what they say."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import edgeclf
from support import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
SCRIPTS = {
    "classify_photo": "classify_photo.py",
    "camera": "camera.py",
    "watch_folder": "watch_folder.py",
    "raspberry_pi": "budget.py",
    "jetson": "jetson.py",
}
UNIT = EXAMPLES / "raspberry_pi" / "edgeclf-watch.service"
COLUMNS = ["time", "file", "size_bytes", "mtime_ns", "label", "probability", "error"]


def command(name: str, *words: object) -> list[str]:
    script = EXAMPLES / name / SCRIPTS[name]
    return [sys.executable, "-W", "error", str(script), *map(str, words)]


def start(
    name: str, *words: object, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(name, *words), capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextmanager
def running(
    name: str, *words: object, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    # A shell lets what it starts in the background ignore Ctrl-C, and children inherit that.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command(name, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **(env or {})},
    ) as process:  # fmt: skip
        signal.signal(signal.SIGINT, ours)
        try:
            yield process
        finally:
            process.kill()


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the script itself says on stderr, without the remarks of LiteRT and OpenCV."""
    return [line for line in done.stderr.splitlines() if line.startswith(tuple(SCRIPTS.values()))]


def words(prediction: edgeclf.Prediction, k: int) -> str:
    return ", ".join(f"{score.label} {score.probability:.1%}" for score in prediction.top(k))


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        found = list(reader)
    assert reader.fieldnames == COLUMNS
    return found
