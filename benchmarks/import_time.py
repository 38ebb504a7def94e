"""What `import edgeclf` and `edgeclf --help` cost, as ratios against bare peers.

Runs each command in turn, A B A B, in fresh processes, and prints medians: shared machines drift,
and interleaving lets the drift fall on both sides.

    python benchmarks/import_time.py [rounds]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import numpy, PIL.Image": [sys.executable, "-c", "import numpy, PIL.Image"],
    "... and edgeclf": [sys.executable, "-c", "import numpy, PIL.Image, edgeclf"],
    "... and edgeclf.Classifier": [
        sys.executable,
        "-c",
        "import numpy, PIL.Image; from edgeclf import Classifier",
    ],
    "edgeclf --help": [sys.executable, "-m", "edgeclf", "--help"],
}


def wall_ms(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    samples: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, command in COMMANDS.items():
            samples[name].append(wall_ms(command))
    medians = {name: statistics.median(values[1:]) for name, values in samples.items()}
    for name, median in medians.items():
        print(f"{median:8.1f} ms  {name}")
    needed = medians["import numpy, PIL.Image"]
    beyond = medians["... and edgeclf"] - needed
    classifier = medians["... and edgeclf.Classifier"] - needed
    print(f"import edgeclf, beyond numpy and Pillow: {beyond:+.1f} ms (allowed: 20)")
    print(f"the Classifier with all it needs, beyond them: {classifier:+.1f} ms")
    print(f"edgeclf --help: {medians['edgeclf --help']:.0f} ms (allowed: 300)")
    return 1 if beyond > 20 or medians["edgeclf --help"] > 300 else 0


if __name__ == "__main__":
    raise SystemExit(main())
