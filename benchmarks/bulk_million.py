"""A million pictures once, by `edgeclf bulk` in one process: time, CPU, and memory on the way.

The pictures are drawn, 48 x 48, a few hundred bytes as JPEG; a thousand different ones lie under a
million ids in 100 tar shards, as what is asked is whether anything grows. Every fifth of a second
the process's memory is read; the table is checked for each id once.

    python benchmarks/bulk_million.py --artifacts DIR [--work DIR] [--rows 1000000]
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from shared import Figure, finish, parse

MODEL = "mugs.int8.tflite"
SHARDS = 100
DIFFERENT = 1000
SHARES = (0.1, 0.5, 1.0)
GROWTH = 1.1


def drawn() -> list[bytes]:
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(DIFFERENT):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        buffer = io.BytesIO()
        coarse.resize((48, 48), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=75)
        pictures.append(buffer.getvalue())
    return pictures


def write_shards(folder: Path, rows: int) -> None:
    pictures = drawn()
    numbers = iter(range(rows))
    for shard in range(SHARDS):
        with tarfile.open(folder / f"shard-{shard:04d}.tar", "w") as tar:
            for _ in range(rows // SHARDS):
                number = next(numbers)
                member = tarfile.TarInfo(f"{number:08d}.jpg")
                member.size = len(pictures[number % DIFFERENT])
                tar.addfile(member, io.BytesIO(pictures[number % DIFFERENT]))


def memory_mb(pid: int) -> tuple[float, float] | None:
    """Resident now, and at most so far."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = {key: value for key, _, value in (line.partition(":") for line in lines)}
    if "VmRSS" not in found:
        return None
    return tuple(int(found[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def done_rows(parts: Path) -> int:
    """By the names of the parts."""
    try:
        names = [path.name.split("-") for path in parts.iterdir() if path.name[0].isdigit()]
    except OSError:
        return 0
    return sum(int(name[2]) - int(name[1]) for name in names)


def main() -> int:
    args = parse(__doc__, rows=(1_000_000, "how many"), work=("", "where the shards go"))
    with tempfile.TemporaryDirectory(dir=args.work or None) as name:
        folder = Path(name)
        shards, table = folder / "shards", folder / "table.parquet"
        shards.mkdir()
        write_shards(shards, args.rows)
        log = open(folder / "log", "wb")  # noqa: SIM115 - ends with the folder
        start = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-m", "edgeclf", "bulk", str(shards), "--model",
             str(args.artifacts / MODEL), "--to", str(table)], stdout=log, stderr=log,
        ) as child:  # fmt: skip
            peaks: dict[float, float] = {}
            last = (0.0, 0.0)
            while child.poll() is None:
                last = memory_mb(child.pid) or last
                share = done_rows(folder / "table.parquet.parts") / args.rows
                for each in SHARES:
                    if share >= each:
                        peaks.setdefault(each, last[1])
                time.sleep(0.2)
            seconds = time.monotonic() - start
        peaks[1.0] = last[1]
        cpu = os.times()
        cpu_s = cpu.children_user + cpu.children_system
        if child.returncode:
            print((folder / "log").read_text()[-2000:], file=sys.stderr)
            return 1
        ids = pq.read_table(table, columns=["id"])["id"].to_pylist()
        errors = args.rows - pq.read_table(table, columns=["error"])["error"].null_count
        wrong = sum(name != f"{at:08d}" for at, name in enumerate(ids)) + abs(len(ids) - args.rows)
        size_mb = table.stat().st_size / 1e6
        shards_mb = sum(path.stat().st_size for path in shards.iterdir()) / 1e6
        log.close()
        shutil.rmtree(shards)
    figures = [
        Figure("pictures", len(ids), at_least=args.rows),
        Figure("ids that are missing, twice or out of order", wrong, at_most=0),
        Figure("pictures that could not be read", errors, at_most=0),
        Figure("from start to table", seconds, "s",
               note=f"{args.rows / seconds:.0f} pictures a second"),
        Figure("CPU in all", cpu_s, "s", note=f"{cpu_s / args.rows * 1e6:.0f} µs a picture"),
        *(Figure(f"largest resident memory until {share:.0%} are done", peaks[share], "MB",
                 note="with the table put together" * (share == 1))
          for share in SHARES),
        Figure("the same, half / a tenth", peaks[0.5] / peaks[0.1], at_most=GROWTH),
        Figure("the table", size_mb, "MB"),
    ]  # fmt: skip
    method = (
        f"{SHARDS} tar shards ({shards_mb:.0f} MB) of {DIFFERENT} different drawn JPEGs of 48 x 48 "
        f"under {args.rows:,} ids, {MODEL}, in one niced process beside others' work"
    )
    return finish(__file__, figures, method, args.write)


if __name__ == "__main__":
    raise SystemExit(main())
