"""What was being written when a process was killed is not there afterwards."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from edgeclf import load_artifact
from edgeclf.service.loading import artifacts_in
from edgeclf.service.uploads import sweep, write_whole
from support.services import artifact, serving, shade, write

_HANGS = """
import os, sys, time
from pathlib import Path
from edgeclf.service import uploads
os.fsync = lambda _: (print("writing", flush=True), time.sleep(60))
uploads.write_whole(Path(sys.argv[1]), b"x" * 100_000)
"""


def made(number: str, mark: str = "") -> Any:
    return artifact(version=number, labels=[f"{label}-{number}{mark}" for label in ("dark", "b")])


def test_a_file_is_there_at_once_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "shades" / "1" / "shades.onnx"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [each.name for each in path.parent.iterdir()] == ["shades.onnx"]


def test_what_a_killed_process_left_is_swept_and_what_another_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "shades" / "1" / "shades.onnx"
    with subprocess.Popen([sys.executable, "-c", _HANGS, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        (part,) = path.parent.iterdir()
        assert artifacts_in(tmp_path) == []
        sweep(str(tmp_path))
        assert part.exists()
        process.kill()
    assert part.exists() and not path.exists()
    sweep(str(tmp_path))
    assert list(path.parent.iterdir()) == []


def test_killed_amid_swaps_it_starts_again_with_what_is_whole(tmp_path: Path) -> None:
    write(tmp_path, made("1"), "shades/1/shades.onnx")
    contents = [made("2", mark).content for mark in "abcdefgh"]
    rng = random.Random(0)
    for _ in range(2):
        with serving("--models", tmp_path, "--runtime", "fake", "--watch", "0.05") as running:

            def swap(url: str = running.url) -> None:
                with suppress(httpx.HTTPError), httpx.Client(base_url=url, timeout=20) as http:
                    while True:
                        http.post("/admin/models/shades/load", content=rng.choice(contents))

            threads = [threading.Thread(target=swap) for _ in range(2)]
            for thread in threads:
                thread.start()
            threading.Event().wait(0.2 + rng.random() * 0.3)
            running.process.send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join()
    for path, _, _ in artifacts_in(tmp_path):
        load_artifact(path)
    with (
        serving("--models", tmp_path, "--runtime", "fake") as running,
        httpx.Client(base_url=running.url, timeout=20) as http,
    ):
        answer = http.post("/classify", content=shade(20)).json()
        assert answer["version"] == "2" and answer["label"].startswith("dark-2")
        assert http.get("/admin/models").json()["refused"] == []
        assert not list(tmp_path.rglob(".*"))
