"""Does a run that is killed again and again end like one that is not?

A small student is trained from scratch on the mugs, in a child process: once in peace with each of
three seeds, then with the first seed while SIGKILL comes at random times, until it ends by itself.
Compared are accuracy on the evaluation photos and distance of the weights (root mean square) to the
uninterrupted run of the same seed; the other seeds show what the noise of a seed is.

    python benchmarks/kill_and_resume.py [--kills 20] [--epochs 40] [--data examples/mugs]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgeclf.artifact import load_artifact


def command(data: Path, out: Path, epochs: int, seed: int) -> list[str]:
    return [sys.executable, "-m", "edgeclf", "train", str(data / "train"), "--evaluation",
            str(data / "eval"), "--out", str(out), "--backbone", "student-xs", "--weights", "none",
            "--input-size", "32", "--epochs", str(epochs), "--seed", str(seed)]  # fmt: skip


def run_to_end(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stderr


def kill_after(words: list[str], log: Path, rng: random.Random) -> tuple[int, bool]:
    """Kills a run some time after its first new epoch, or before it; tells the epochs it had."""
    before = epochs_in(log)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        if rng.random() < 0.8:  # otherwise while it starts
            while child.poll() is None and epochs_in(log) == before:
                time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        ended = child.poll() is not None
        child.kill()
    return epochs_in(log), ended


def epochs_in(log: Path) -> int:
    try:
        return max(len(log.read_text().splitlines()) - 1, 0)
    except OSError:
        return 0


def weights(path: Path) -> np.ndarray:
    from edgeclf.networks.keras_model import load_model

    return np.concatenate([w.ravel() for w in load_model(load_artifact(path)).get_weights()])


def top1(path: Path) -> float:
    accuracy = load_artifact(path).metadata.accuracy
    assert accuracy is not None
    return float(accuracy["source"]["top1"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("examples/mugs"))
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    args = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder, name = Path(temporary), args.data.resolve().name
        found = []
        for seed in range(args.seeds):
            run_to_end(command(args.data, folder / f"seed{seed}", args.epochs, seed))
            found.append(folder / f"seed{seed}" / f"{name}-teacher.keras")
        words = command(args.data, folder / "killed", args.epochs, 0)
        log = folder / "killed" / f"{name}-teacher.run" / "log.csv"
        killed_at = []
        for _ in range(args.kills):
            done, ended = kill_after(words, log, rng)
            if ended:
                break
            killed_at.append(done)
        said = "" if (folder / "killed" / f"{name}-teacher.keras").exists() else run_to_end(words)
        found.append(folder / "killed" / f"{name}-teacher.keras")
        first = weights(found[0])
        result = {
            "kills": len(killed_at),
            "epochs_done_at_each_kill": killed_at,
            "resumed": "resuming at epoch" in said,
            "top1": {p.parent.name: round(top1(p), 4) for p in found},
            "weights_rms_to_seed0": {
                p.parent.name: float(np.sqrt(np.mean((weights(p) - first) ** 2))) for p in found
            },
        }
    print(json.dumps(result, indent=2))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")
    distances = result["weights_rms_to_seed0"]
    noise = min(v for k, v in distances.items() if k not in ("seed0", "killed"))
    return 0 if distances["killed"] < noise else 1


if __name__ == "__main__":
    raise SystemExit(main())
