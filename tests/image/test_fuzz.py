from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import REPOSITORY

SCRIPT = REPOSITORY / "benchmarks" / "fuzz_images.py"

if not Path("/proc/self/status").exists():
    pytest.skip("the fuzzer measures memory as Linux tells it", allow_module_level=True)


def test_damaged_pictures_give_a_tensor_or_an_image_error() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--count", "1000", "--seed", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    total = re.search(
        r"^1000 images: (\d+) tensors, (\d+) ImageErrors, 0 failures$", done.stdout, re.MULTILINE
    )
    assert total is not None, done.stdout
    tensors, refused = map(int, total.groups())
    assert tensors + refused == 1000
    assert tensors > 100 and refused > 100, "the damage is too light or too heavy"
    rows = re.findall(r"^(\w+) +(\d+) +(\d+) +(\d+) +0$", done.stdout, re.MULTILINE)
    assert {"jpeg", "png", "webp", "bmp", "gif", "tiff", "ppm", "mpo"} <= {row[0] for row in rows}
    assert sum(int(row[1]) for row in rows) == 1000
    assert re.search(r"^slowest image: \d+ ms of CPU time \(", done.stdout, re.MULTILINE)
    assert re.search(r"^peak memory of a child: \d+ MB more", done.stdout, re.MULTILINE)
    bombs = re.findall(
        r"^bomb, .+: ImageError after \d+ ms with .+ MB more$", done.stdout, re.MULTILINE
    )
    assert len(bombs) == 5 and bombs[0].startswith("bomb, png of 20,000 x 20,000")


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        ("os.kill(os.getpid(), 11)", "the child died: code -11"),
        ("sys.exit('gone')", "the child died: code 1, gone"),
        ("time.sleep(60)", "no answer after 0.5 s"),
        ("print('[\"ValueError\", 1, 1]', flush=True)", "ValueError"),
        ("print('[\"tensor\", 5001, 1]', flush=True)", "took 5001 ms"),
        ("print('[\"ImageError\", 1, 2e9]', flush=True)", "took 2000 MB"),
    ],
)
def test_the_fuzzer_notices(
    behaviour: str, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("fuzz_images", SCRIPT)
    assert spec is not None and spec.loader is not None
    fuzz_images = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fuzz_images", fuzz_images)  # for its dataclasses
    monkeypatch.syspath_prepend(SCRIPT.parent)  # as when it is run
    spec.loader.exec_module(fuzz_images)
    (tmp_path / "child.py").write_text(
        f"import os, sys, time\nsys.stdin.buffer.read(8)\n{behaviour}\nsys.stdin.read()\n"
    )
    monkeypatch.setattr(fuzz_images, "__file__", str(tmp_path / "child.py"))
    monkeypatch.setattr(fuzz_images, "ANSWER_LIMIT_S", 0.5 if "sleep" in behaviour else 30)
    child = fuzz_images.Child()
    try:
        answer = child.ask(b"picture")
    finally:
        child.close()
    assert answer.failed and answer.outcome.startswith(outcome)
