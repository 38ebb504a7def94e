"""What an update costs a device, and whether a power cut at a random moment leaves half of one.

A publisher, a static web server on loopback and a device's folder, all real. The updater runs as
its command does, in a process of its own, without the package cryptography: Ed25519 is then checked
by Python alone. Power cuts are kill -9 at random moments of an update, by a fork of a process that
has imported everything; after each, what runs is read and its seal checked, and the next run must
end the update.

    python benchmarks/fleet_update.py --artifacts DIR
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from environments import pip
from shared import ROOT, Figure, finish, parse

sys.path.insert(0, str(ROOT / "tests"))

from edgeclf.artifact import Artifact, load_artifact, save_artifact, seal_artifact
from support.fleets import AT_ONCE, NAME, Scene, scene
from support.services import artifact

PACKAGES = ("tuf", "securesystemslib", "urllib3")
ROUNDS = 5
# The verb, and what it took. The child that proves a file counts as CPU of the command; its memory
# is the model's and the runtime's.
PROGRAM = """
import json, os, sys
if sys.argv.pop(1) == "pure":
    sys.modules["cryptography"] = None
from edgeclf.cli import main
code = main(sys.argv[1:])
took = os.times()
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"code": code, "peak_mb": int(peak) * 1024 / 1e6, "own_s": took.user + took.system,
                  "cpu_s": sum(took[:4])}), file=sys.stderr)
"""


def wheels_mb() -> float:
    """What pip brings of the extra for 64-bit ARM, the wheel of the updater itself included."""
    with tempfile.TemporaryDirectory() as folder:
        pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT / "fleet")
        pip(
            "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder,
            "--platform", "manylinux2014_aarch64", "--python-version", "3.11", *PACKAGES,
        )  # fmt: skip
        found = list(Path(folder).glob("*.whl"))
        assert len(found) == len(PACKAGES) + 1, found
        return sum(path.stat().st_size for path in found) / 1e6


def run(kind: str, *words: object) -> dict[str, Any]:
    """One command of the updater."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, "update", *map(str, words)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    assert said["code"] == 0, done.stderr
    return said


def next_version(made: Artifact, folder: Path, number: int) -> Path:
    """The same model as another file."""
    metadata = dataclasses.replace(made.metadata, version=str(number))
    path = save_artifact(seal_artifact(made.content, metadata), folder / f"{number}.tflite").path
    assert path is not None
    return path


def costs(made: Artifact, place: Scene) -> list[Figure]:
    root = place.web.folder / "metadata" / "1.root.json"
    device = place.folder / "device"
    first: tuple[object, ...] = ("--url", place.web.url, "--root", root, "--name", NAME,
                                 "--group", "canary", "--device", "d1")  # fmt: skip
    updates, nothing, asked = [], [], []
    for number in range(ROUNDS + 1):
        file = next_version(made, place.folder, number)
        place.fleet.publish(file, name=NAME, group="canary", terms=AT_ONCE)
        for kind, found in (("update", updates), ("nothing", nothing)):
            place.web.asked.clear()
            found.append(run("pure", device, *first))
            asked.append((kind, len(place.web.asked)))
            first = ()
    updates, nothing = updates[1:], nothing[1:]  # the first brings a root too

    def median(found: list[dict[str, Any]], name: str) -> float:
        return statistics.median(each[name] for each in found)

    size = f"{made.size_bytes / 1e3:.0f} kB"
    compiled = run("compiled", device)
    return [
        Figure("requests where there is no news", max(n for k, n in asked if k == "nothing"), "",
               at_most=2),
        Figure("requests of an update", max(n for k, n in asked[2:] if k == "update"), ""),
        Figure(f"CPU of an update of {size}, its proof in a child included",
               median(updates, "cpu_s"), "s", at_most=2.0, note="median of 5"),
        Figure("of that, the updater itself", median(updates, "own_s"), "s"),
        Figure("CPU where there is no news", median(nothing, "cpu_s"), "s"),
        Figure("peak memory of the updater in an update", max(u["peak_mb"] for u in updates), "MB",
               at_most=40.0, note="VmHWM; the child that proves is apart"),
        Figure("peak memory of the updater where there is no news",
               max(n["peak_mb"] for n in nothing), "MB", at_most=40.0),
        Figure("the same with cryptography installed", compiled["peak_mb"], "MB"),
    ]  # fmt: skip


def power_cuts(place: Scene, moments: int) -> tuple[Figure, list[str]]:
    place.publish("1")
    device = place.device("cut")
    device.update()
    place.publish("2")
    hashes = {version: artifact(NAME, version).sha256 for version in ("1", "2")}
    asked = {"folder": str(device.path), "good": [*hashes.values()], "end": hashes["2"],
             "uptime_s": 0, "moments": moments}  # fmt: skip
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "power_cuts.py"), json.dumps(asked)],
        stdout=subprocess.PIPE, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    problems: list[str] = json.loads(done.stdout)["problems"]
    figure = Figure(f"of {moments:,} power cuts, those after which no whole model ran, or the next "
                    "run did not end the update", len(problems), "", at_most=0)  # fmt: skip
    return figure, problems


def main() -> int:
    args = parse(__doc__, moments=(1000, "power cuts"))
    figures = [Figure("wheels beyond the device's own, aarch64", wheels_mb(), "MB", at_most=1.2)]
    with tempfile.TemporaryDirectory() as folder, scene(Path(folder)) as place:
        figures += costs(load_artifact(args.artifacts / "mugs.int8.tflite"), place)
    with tempfile.TemporaryDirectory() as folder, scene(Path(folder)) as place:
        figure, problems = power_cuts(place, args.moments)
    method = (
        "Loopback, a static server with ranges, pure-Python Ed25519, the runtime litert. Power "
        "cuts are uniformly drawn over 1.2 times an update's length, in a file system in memory."
    )
    return finish(__file__, [*figures, figure], method, args.write, problems=problems)


if __name__ == "__main__":
    raise SystemExit(main())
