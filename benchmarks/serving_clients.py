"""Whether the clients of other servers get from `edgeclf serve` what the file answers.

Installs Triton's client and KServe's SDK into an environment each, as neither can be installed
beside everything else: the one wants an older ml_dtypes than the converters, the other an older
protobuf and psutil, and 60 packages. Then it serves an artifact and lets each ask health, metadata
and answers, in JSON and in binary. Needs a package index. Ends with 1 if an answer differs.

    python benchmarks/serving_clients.py runs/mugs/mugs.int8.tflite
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import environments
import numpy as np
from shared import PHOTOS, ROOT

from edgeclf import Classifier, load_artifact

CLIENTS = {
    "triton": ("tritonclient[http]>=2.73,<3",),
    "kserve": ("kserve>=0.21,<1",),
}
START_S, ASK_S = 60, 300
TOLERANCE = 1e-6  # float32, there and back


def install(name: str) -> Path:
    """The interpreter of a client's environment, which is made if there is none."""
    python = environments.python_of(name)
    marker = python.parent.parent / "installed.txt"
    if not marker.exists():
        venv.create(python.parent.parent, clear=True, with_pip=False, symlinks=True)
        environments.pip("--python", str(python), "install", "--quiet", *CLIENTS[name])
        marker.write_text("\n".join(CLIENTS[name]))
    return python


@contextmanager
def serving(artifact: Path) -> Iterator[str]:
    """The address of a service of this very checkout."""
    command = [sys.executable, "-m", "edgeclf", "serve", str(artifact), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if found := re.search(r"ready at (http://\S+) ", line):
                    yield found[1]
                    return
            raise SystemExit("".join(lines))
        finally:
            process.terminate()
            process.wait(START_S)


def ask(name: str, python: Path, url: str, model: str, photos: list[Path]) -> dict[str, Any]:
    script = ROOT / "benchmarks" / f"ask_by_{name}.py"
    done = subprocess.run(
        [str(python), str(script), url, model, *map(str, photos)],
        capture_output=True, text=True, timeout=ASK_S, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{name}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", type=Path)
    args = parser.parse_args()
    photos = [next(iter(sorted(folder.iterdir()))) for folder in sorted(PHOTOS.iterdir())]
    with Classifier(args.artifact, threads=1) as classifier:
        expected = np.array([classifier.classify(photo).probabilities for photo in photos])
    model = load_artifact(args.artifact).metadata.name
    failed = False
    with serving(args.artifact) as url:
        for name in CLIENTS:
            found = ask(name, install(name), url, model, photos)
            results = dict(found["checks"])
            for form, rows in found["rows"].items():
                results[form] = bool(np.abs(np.array(rows) - expected).max() <= TOLERANCE)
            failed |= not all(results.values())
            words = ", ".join(f"{what} {'ok' if ok else 'WRONG'}" for what, ok in results.items())
            print(f"{name} {found['version']}: {words}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
