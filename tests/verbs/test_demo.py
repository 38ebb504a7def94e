"""Which stages of the demo run again when the code changes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import REPOSITORY

# Runs the demo with stubs for its verbs: once, once more, and once after each change of a file.
# Prints which verbs were called each time.
PROGRAM = """
import importlib, json, pathlib, sys, types
from edgeclf.converters.base import DEFAULT_TARGETS as TARGETS
from edgeclf.demo import demo

root, *changed = sys.argv[1:]
called, shown = [], []

def stub(verb, make):
    def work(*args, **options):
        called.append(verb)
        return make(*args, **options)
    setattr(importlib.import_module(f"edgeclf.{verb}"), verb, work)

def write(path):
    path.write_text("made")

out = pathlib.Path("out")
stub("train", lambda *_, **__: write(out / "mugs-teacher.keras"))
stub("distill", lambda *_, **__: write(out / "mugs.keras"))

def convert(model, config):
    assert config.calibrate and config.evaluation != config.calibration
    for end in (*TARGETS, "trust.json"):
        write(out / f"{model.stem}.{end}")

stub("convert", convert)
stub("verify", lambda _: types.SimpleNamespace(images=1))
stub("benchmark", lambda *_, out, **__: write(out))
stub("report", lambda path, **__: shown.append(path.name) or path.with_suffix(".html"))

for name in [None, None, *changed]:
    if name is not None:
        with open(pathlib.Path(root, name), "a") as file:
            file.write("\\n")
    called.clear()
    demo("mugs", out=out)
    print("calls", json.dumps(sorted({*called} - {"verify", "report"})))
    assert shown == ["benchmark.json", "mugs-teacher.trust.json", "mugs.trust.json"], shown
    shown.clear()
"""
ALL = ["benchmark", "convert", "distill", "train"]


@pytest.fixture
def stages_run(tmp_path: Path) -> Callable[[list[str]], list[list[str]]]:
    """The stages that ran: at first, again, and after a change of each of the files."""
    shutil.copytree(
        REPOSITORY / "edgeclf", tmp_path / "edgeclf", ignore=shutil.ignore_patterns("__pycache__")
    )
    for part in ("train", "eval"):
        for label in ("blue", "white"):
            (folder := tmp_path / "mugs" / part / label).mkdir(parents=True)
            for index in range(20):
                (folder / f"{index}.png").write_text(f"{part} {label} {index}")
    (tmp_path / "out").mkdir()

    def run(changed: list[str]) -> list[list[str]]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "edgeclf", *changed],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = (line.partition("calls ") for line in done.stdout.splitlines())
        return [json.loads(calls) for _, word, calls in lines if word]

    return run


def test_a_changed_setting_or_reader_of_photos_runs_the_stages_again(
    stages_run: Callable[[list[str]], list[list[str]]],
) -> None:
    making = ["convert", "distill", "train"]
    expected = {
        "training/config.py": ["distill", "train"],
        "datasets/cache.py": making,
        "datasets/photos.py": ALL,
        "artifact/file.py": ALL,
        "artifact/metadata.py": ALL,
        "networks/backbones.json": making,
        "converters/gptq.py": ["convert", "distill"],  # a teacher may be a file to convert
        "measurement/workloads/latency.py": ["benchmark"],
        "reporting/html.py": [],
        "reporting/conversion_page.py": [],
    }
    first, again, *after = stages_run([*expected])
    assert (first, again) == (ALL, [])
    assert dict(zip(expected, after, strict=True)) == expected
