"""`edgeclf bulk`: what it costs beside `classify_batch`, on Ray too, and what kills cost it.

Throughput is measured in whole passes in turns over the same files. The bulk run does all of its
work in that time: lists the files, loads and proves the model, syncs each part, writes the table.
Ray's starts are left out: it counts from when each actor has given its first part. Then SIGKILL
comes at random moments, until it has come often enough; the tables must be those of a run in peace.

    python benchmarks/bulk.py --artifacts DIR
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from batch_throughput import pictures
from shared import Figure, finish, parse, photos

import edgeclf
from edgeclf import BulkConfig, Classifier
from edgeclf.system.cpu import available_cpus
from edgeclf.tables import on_ray
from edgeclf.tables.ray_start import started_ray
from edgeclf.tables.rows import Part

MODEL = "mugs.int8.tflite"
MIXED = 2000
TIMES = 3  # for Ray
SMALL = 6000
CORRUPT_EVERY = 80
RAY_WORKER_KILLS = 3
RAY_DRIVER_KILLS = 2
QUIET_S = 90.0  # the longest that a run may take between two kills


def write_mixed(folder: Path) -> None:
    """JPEGs of many sizes, as `batch_throughput` has them."""
    contents = pictures()
    for number in range(MIXED):
        (folder / f"{number:06d}.jpg").write_bytes(contents[number % len(contents)])


def write_small(folder: Path, count: int) -> None:
    """The mugs under many names, of which every eightieth is cut short."""
    contents = [path.read_bytes() for path in photos()]
    for number in range(count):
        content = contents[number % len(contents)]
        broken = number % CORRUPT_EVERY == 7
        (folder / f"{number:06d}.jpg").write_bytes(content[:200] if broken else content)


def clocks() -> tuple[float, float]:
    """Wall clock, and CPU time of this process."""
    return time.perf_counter(), time.process_time()


def batch_s(classifier: Classifier, folder: Path) -> tuple[float, float]:
    paths = sorted(folder.iterdir())
    wall, cpu = clocks()
    count = sum(1 for _ in classifier.classify_batch(paths))
    assert count == len(paths)
    return time.perf_counter() - wall, time.process_time() - cpu


def bulk_s(folder: Path, model: Path, table: Path) -> tuple[float, float]:
    table.unlink(missing_ok=True)
    wall, cpu = clocks()
    edgeclf.bulk(folder, model, table)
    return time.perf_counter() - wall, time.process_time() - cpu


class RayClock:
    """Notes when parts come."""

    def __init__(self) -> None:
        self._answer = on_ray.answer_on_ray
        self.seen: list[tuple[float, int]] = []

    def __call__(self, *words: Any) -> Iterator[Part]:
        self.seen = []
        for part in self._answer(*words):
            self.seen.append((time.perf_counter(), part.stop - part.start))
            yield part

    def rate(self) -> float:
        """Pictures a second, once every actor has given its first part."""
        actors = available_cpus()
        if len(self.seen) < 3 * actors:
            raise SystemExit(f"Ray gave {len(self.seen)} parts, too few to tell a rate")
        rows = sum(count for _, count in self.seen[actors:])
        return rows / (self.seen[-1][0] - self.seen[actors - 1][0])


def table_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


class Killed:
    """A command that is killed and started again."""

    def __init__(self, words: list[str], table: Path, rng: random.Random) -> None:
        self._words, self._table, self._rng = words, table, rng
        self.kills = self.resumed = 0

    def until(self, kills: int, victim: str, expected: list[dict[str, Any]]) -> int:
        """Kills so often, and tells in how many rows the tables differed from the expected one."""
        wrong = 0
        while self.kills < kills:
            self._table.unlink(missing_ok=True)
            while not self._round(victim, self.kills < kills):
                pass
            found = table_of(self._table)
            wrong += sum(a != b for a, b in zip(found, expected, strict=False))
            wrong += abs(len(found) - len(expected))
        return wrong

    def _parts(self) -> int:
        folder = self._table.with_name(f"{self._table.name}.parts")
        return sum(path.name[0].isdigit() for path in folder.glob("*.parquet"))

    def _round(self, victim: str, kill: bool) -> bool:
        """One start of the command; whether it came to its end."""
        log = self._table.with_name("log")
        before = self._parts()
        with open(log, "wb") as stream:
            child = subprocess.Popen(self._words, stdout=stream, stderr=stream)
        if kill:
            wait_until = time.monotonic() + QUIET_S
            if self._rng.random() < 0.8:  # otherwise while it starts
                while child.poll() is None and self._parts() == before:
                    if time.monotonic() > wait_until:
                        break
                    time.sleep(0.01)
            time.sleep(self._rng.uniform(0, 1.5))
            if child.poll() is None:
                self.kills += self._kill(child, victim)
        if victim == "worker" or not kill:
            child.wait()
        code = child.wait()
        self.resumed += b"going on behind" in log.read_bytes()
        if code not in (0, -signal.SIGKILL):
            raise SystemExit(log.read_text()[-2000:])
        return code == 0

    def _kill(self, child: subprocess.Popen[bytes], victim: str) -> bool:
        if victim == "driver":
            child.kill()
            return True
        workers = [pid for pid in descendants(child.pid) if b"MapWorker" in command_of(pid)]
        if not workers:
            return False
        os.kill(self._rng.choice(workers), signal.SIGKILL)
        return True


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(each) for each in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def measure_speed(args: Any, folder: Path) -> list[Figure]:
    mixed, model, table = folder / "mixed", args.artifacts / MODEL, folder / "speed.parquet"
    mixed.mkdir()
    write_mixed(mixed)
    often = folder / "often.txt"  # enough pieces for the actors
    often.write_text("".join(f"{path}\n" for path in sorted(mixed.iterdir())) * TIMES)
    clock = RayClock()
    on_ray.answer_on_ray = clock  # type: ignore[assignment]
    batch, here, on_cluster = [], [], []
    with Classifier(model) as classifier:
        batch_s(classifier, mixed)  # the files come into the cache
        bulk_s(mixed, model, table)
        for _ in range(args.rounds):
            batch.append(batch_s(classifier, mixed))
            here.append(bulk_s(mixed, model, table))
        beside = []
        with started_ray("local", "the benchmark"):
            for _ in range(args.rounds if args.rounds < 3 else 3):
                table.unlink(missing_ok=True)
                beside.append(MIXED / batch_s(classifier, mixed)[0])
                edgeclf.bulk(often, model, table, BulkConfig(ray=""))
                on_cluster.append(clock.rate())
    ratios = [[b[at] / h[at] for b, h in zip(batch, here, strict=True)] for at in (0, 1)]
    wall, cpu = map(statistics.median, ratios)
    rates = [MIXED / statistics.median(each[0] for each in times) for times in (batch, here)]
    ray_rates = statistics.median(on_cluster), statistics.median(beside)
    return [
        Figure("edgeclf bulk / classify_batch, pictures a second", wall, at_least=0.9,
               note=f"median of pairs; {rates[1]:.0f} against {rates[0]:.0f}"),
        Figure("the same by CPU time, which others' work does not change", cpu),
        Figure("bulk --ray on this machine once running / classify_batch",
               ray_rates[0] / ray_rates[1], at_least=0.5,
               note=f"{ray_rates[0]:.0f} against {ray_rates[1]:.0f}"),
    ]  # fmt: skip


def measure_kills(args: Any, folder: Path) -> list[Figure]:
    small, model = folder / "small", args.artifacts / MODEL
    small.mkdir()
    write_small(small, SMALL)
    peace = folder / "peace.parquet"
    edgeclf.bulk(small, model, peace)
    expected = table_of(peace)
    lost = sum(row["error"] is not None for row in expected)
    table = folder / "killed.parquet"
    words = [sys.executable, "-m", "edgeclf", "bulk", str(small), "--model", str(model), "--to",
             str(table)]  # fmt: skip
    rng = random.Random(0)
    alone = Killed(words, table, rng)
    wrong = alone.until(args.kills, "driver", expected)
    figures = [
        Figure("rows lost to one corrupt picture of 80", lost / (SMALL / CORRUPT_EVERY),
               at_most=1, note=f"{lost} of {SMALL:,} pictures, {len(expected):,} rows"),
        Figure("kills of the process", alone.kills, at_least=args.kills,
               note=f"{alone.resumed} starts went on behind parts"),
        Figure("rows that are missing, twice or other than in peace", wrong, at_most=0),
    ]  # fmt: skip
    if args.ray_kills:
        drivers = Killed([*words, "--ray"], table, rng)
        wrong = drivers.until(RAY_DRIVER_KILLS, "driver", expected)
        workers = Killed([*words, "--ray"], table, rng)
        wrong += workers.until(RAY_WORKER_KILLS, "worker", expected)
        figures += [
            Figure("kills of Ray's driver", drivers.kills, at_least=RAY_DRIVER_KILLS),
            Figure("kills of Ray's workers", workers.kills, at_least=RAY_WORKER_KILLS),
            Figure("the same rows on Ray", wrong, at_most=0),
        ]
    return figures


def main() -> int:
    args = parse(__doc__, rounds=(5, "passes of each"), kills=(20, "of the process"),
                 ray_kills=(1, "0 leaves out those of Ray"),
                 work=("", "where the pictures go"))  # fmt: skip
    with tempfile.TemporaryDirectory(dir=args.work or None) as name:
        folder = Path(name)
        figures = measure_speed(args, folder)
        for figure in figures:
            print(figure, flush=True)
        shutil.rmtree(folder / "mixed")
        figures += measure_kills(args, folder)
    method = (
        f"{args.rounds} passes of each in turns over {MIXED} JPEGs of 384 x 384 to 2048 x 1536, "
        f"{MODEL}; kills at random moments of runs over {SMALL} photos of 384 x 384"
    )
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
