"""What the device benchmarks share: interleaving, limits, and results with their conditions."""

from __future__ import annotations

import argparse
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgeclf.system import files
from edgeclf.system.cpu import available_cpus, cpu_model
from edgeclf.system.environment import environment, library_versions

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PHOTOS = ROOT / "examples" / "mugs" / "eval"
_PEERS = ("mediapipe", "openvino")


@dataclass(frozen=True)
class Figure:
    """One measured figure and what was asked of it.

    Attributes:
        what: What was measured, for a reader who knows nothing of the script.
        value: The figure.
        unit: Its unit; empty for a ratio.
        at_most: The limit from above, if there is one.
        at_least: The limit from below, if there is one.
        note: Conditions that belong to this figure alone.
    """

    what: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; None without one."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    def __str__(self) -> str:
        limit = ""
        if self.at_most is not None:
            limit = f"(at most {self.at_most:g})"
        if self.at_least is not None:
            limit = f"(at least {self.at_least:g})"
        verdict = {True: "ok", False: "MISSED", None: ""}[self.met]
        unit = f" {self.unit}" * bool(self.unit)
        return f"{self.what:<72} {self.value:>10.4g}{unit:<5} {limit:<16} {verdict}  {self.note}"


def parse(description: str | None, **extra: tuple[Any, str]) -> argparse.Namespace:
    """Arguments that every script has, and `extra` ones as name=(default, help)."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--artifacts", type=Path, default=ROOT / "runs" / "demo", metavar="DIR",
                        help="where 'edgeclf demo' put its files (default: runs/demo)")  # fmt: skip
    parser.add_argument("--write", type=Path, nargs="?", const=RESULTS, metavar="DIR",
                        help="store the figures (in benchmarks/results, unless said)")  # fmt: skip
    for name, (default, text) in extra.items():
        if default is False:
            parser.add_argument(f"--{name}", action="store_true", help=text)
            continue
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default,
                            help=f"{text} (default: {default})")  # fmt: skip
    return parser.parse_args()


def checkout_before(named: str) -> tuple[Path, str]:
    """The checkout that a script compares this one with, and its commit; exits where there is none.

    Args:
        named: What was given as ``--before``.
    """
    before = Path(named).resolve()
    if not (before / "edgeclf").is_dir():
        raise SystemExit(f"--before is {named!r}; expected a checkout of the build before.")
    asked = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(asked, cwd=before, check=True, capture_output=True, text=True)
    return before, done.stdout.strip()


def interleaved_ms(
    calls: Mapping[str, Callable[[], object]], rounds: int, burst: int = 1, warmup: int = 3
) -> dict[str, list[float]]:
    """Times several calls in turns, forwards and backwards, so that drift falls on all alike.

    Args:
        calls: What to time, by name.
        rounds: How often each has its turn.
        burst: Calls in one turn.
        warmup: Calls of each beforehand that do not count.
    """
    for call in calls.values():
        for _ in range(warmup):
            call()
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(rounds):
        for name in order:
            call = calls[name]
            for _ in range(burst):
                start = time.perf_counter()
                call()
                samples[name].append((time.perf_counter() - start) * 1e3)
        order.reverse()
    return samples


def medians(samples: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in samples.items()}


def results_path(folder: Path, script: str, suffix: str = "json") -> Path:
    """Where a script's results belong: its name, the processor and the number of CPUs."""
    cpu = re.sub(r"[^a-z0-9]+", "-", cpu_model().lower()).strip("-")
    return folder / f"{Path(script).stem}.{cpu}.{available_cpus()}cpu.{suffix}"


def finish(
    script: str, figures: Sequence[Figure], method: str, write: Path | None, **more: object
) -> int:
    """Prints the figures; stores them beside their conditions if asked to; 1 if a limit is missed.

    Args:
        script: The file that measured.
        figures: What it is judged by.
        method: How it was measured.
        write: The folder to store it in, under `results_path`; None stores nothing.
        more: What else to store, as plain JSON types.
    """
    found = environment()
    for figure in figures:
        print(figure)
    if write:
        path = results_path(write, script)
        # Of a path its name: results belong to a machine, not to a folder on it.
        words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
        found["command"] = " ".join(["python", f"benchmarks/{Path(script).name}", *words])
        found["libraries"].update(library_versions(_PEERS))
        document = {
            "method": method,
            "figures": [{**asdict(figure), "met": figure.met} for figure in figures],
            **more,
            "environment": found,
        }
        files.write_json(path, document)
        print(f"stored in {path}")
    return 1 if any(figure.met is False for figure in figures) else 0


def photos(count: int | None = None) -> list[Path]:
    """Photos of the mugs' evaluation set, spread over its classes."""
    found = sorted(PHOTOS.rglob("*.jpg"), key=lambda path: (path.name, path.parent.name))
    return found[:count]


@contextmanager
def registered_runtime(name: str, source: str) -> Iterator[None]:
    """Makes a runtime known to this process and those it starts, as an installed package would.

    Args:
        name: What it is to be called.
        source: Python with a class ``Runtime`` that fills the seam of `edgeclf.runtimes.base`.
    """
    with tempfile.TemporaryDirectory() as folder:
        module = f"edgeclf_benchmark_{name}"
        Path(folder, f"{module}.py").write_text(source)
        information = Path(folder, f"{module}-0.dist-info")
        information.mkdir()
        about = f"Metadata-Version: 2.1\nName: {module}\nVersion: 0\n"
        (information / "METADATA").write_text(about)
        entry = f"[edgeclf.runtimes]\n{name} = {module}:Runtime\n"
        (information / "entry_points.txt").write_text(entry)
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *([before] if before else [])])
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)
            del os.environ["PYTHONPATH"]
            if before is not None:
                os.environ["PYTHONPATH"] = before


def enlarged(path: Path, width: int, height: int, quality: int = 90, noise: float = 6.0) -> bytes:
    """A photo as a larger JPEG, with grain, so that it takes as many bytes as a camera's would."""
    with Image.open(path) as image:
        large = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    seed = int.from_bytes(path.name.encode()[-8:], "little")
    grain = np.random.default_rng(seed).normal(0, noise, (height // 2, width // 2))
    grain = grain.repeat(2, axis=0).repeat(2, axis=1)[:height, :width, np.newaxis]
    pixels = np.clip(np.asarray(large, np.float32) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
