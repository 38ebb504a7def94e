"""What a service takes before its first picture: time, memory, disk; and what it takes at rest.

`edgeclf serve` from its start until it says that it is ready, which it is after each engine has
replayed the certificate, beside `edgeclf classify` from its start to its end, in turns. Memory is
the PSS of the service after some pictures, beside that of a process that has classified one. Disk
is two environments, with `edgeclf[litert]` and with `edgeclf[litert,serve]`.

    python benchmarks/serving_start.py
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from compileall import compile_dir
from pathlib import Path

from device_memory import pss_mb
from environments import pip
from http_client import Client, post
from serving_throughput import answered, serve
from shared import ROOT, Figure, enlarged, finish, parse, photos

from edgeclf.metrics.statistics import paired_ratio

PICTURES = 50


def classified(job: dict[str, str]) -> float:
    """PSS in MB of this process once it has done what `edgeclf classify` does."""
    from edgeclf.cli import main as edgeclf

    assert edgeclf(["classify", job["model"], job["photo"]]) == 0
    return pss_mb()


def start_of_classify(model: Path, photo: Path) -> float:
    command = [sys.executable, "-m", "edgeclf", "classify", str(model), str(photo)]
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    return time.perf_counter() - start


def pss_of_classify(model: Path, photo: Path) -> float:
    job = json.dumps({"model": str(model), "photo": str(photo)})
    command = [sys.executable, __file__, "--child", job]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def installed_mb(folder: Path, extras: str) -> float:
    """Size of an environment with edgeclf and these extras, as pip leaves it."""
    home = folder / extras.replace(",", "-")
    venv.create(home, with_pip=False, symlinks=True)
    python = str(home / "bin" / "python")
    pip("--python", python, "install", "--quiet", "--no-compile", f"{ROOT}[{extras}]")
    (library,) = (home / "lib").glob("python*")
    return sum(p.lstat().st_size for p in library.rglob("*") if not p.is_dir()) / 1e6


def main() -> int:
    if "--child" in sys.argv:
        print(classified(json.loads(sys.argv[-1])))
        return 0
    args = parse(__doc__, rounds=(8, "starts of each"), idle=(30.0, "seconds at rest"))
    compile_dir(ROOT / "edgeclf", quiet=1)  # as pip does when it installs
    load = os.getloadavg()[0]
    model = args.artifacts.resolve() / "mugs.int8.tflite"
    starts: dict[str, list[float]] = {"serve": [], "classify": []}
    memory: dict[str, list[float]] = {"serve": [], "classify": []}
    idle_share = 0.0
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.jpg")
        photo.write_bytes(enlarged(photos(1)[0], 640, 480))
        request = post("/classify", photo.read_bytes())
        start_of_classify(model, photo)  # files come into the page cache
        for turn in range(args.rounds):
            starts["classify"].append(start_of_classify(model, photo))
            memory["classify"].append(pss_of_classify(model, photo))
            server = serve(model, os.sched_getaffinity(0))
            try:
                starts["serve"].append(server.start_s)
                client = Client(server.address, 2)
                answered(client.closed_loop([request], count=PICTURES))
                client.close()
                memory["serve"].append(server.pss_bytes() / 1e6)
                if turn == args.rounds - 1:
                    time.sleep(2)
                    before = server.cpu_s()
                    time.sleep(args.idle)
                    idle_share = (server.cpu_s() - before) / args.idle
            finally:
                server.stop()
        sizes = [installed_mb(Path(folder), extras) for extras in ("litert", "litert,serve")]
    value, low, high = paired_ratio(starts["serve"], starts["classify"])
    middle = {name: statistics.median(found) for name, found in memory.items()}
    figures = [
        Figure("start to ready / cold start of 'edgeclf classify'", value, at_most=2,
               note=f"{statistics.median(starts['serve']) * 1e3:.0f} / "
               f"{statistics.median(starts['classify']) * 1e3:.0f} ms, 95 % interval {low:.2f} to "
               f"{high:.2f}"),
        Figure("PSS of the service beyond 1.3 times that of a process that classifies",
               middle["serve"] - 1.3 * middle["classify"], "MB", at_most=25,
               note=f"{middle['serve']:.1f} and {middle['classify']:.1f} MB"),
        Figure("installed: edgeclf[litert,serve] beyond edgeclf[litert]", sizes[1] - sizes[0], "MB",
               at_most=25, note=f"{sizes[1]:.0f} and {sizes[0]:.0f} MB"),
        Figure("CPU at rest", 100 * idle_share, "%", at_most=0.5, note=f"{args.idle:g} s"),
    ]  # fmt: skip
    method = (
        f"{args.rounds} fresh processes of each in turns, files in the page cache; medians; load "
        f"of the machine before {load:.1f}"
    )
    return finish(__file__, figures, method, args.write, starts_s=starts, memory_mb=memory)


if __name__ == "__main__":
    raise SystemExit(main())
