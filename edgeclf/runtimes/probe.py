"""One inference in a child with limits: a model that kills its engine does not kill the caller."""

from __future__ import annotations

import os
import sys

import numpy as np

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.errors import EdgeclfError, RuntimeLoadError
from edgeclf.runtimes import Device, load_runtime
from edgeclf.system.isolation import run_isolated

_OK = "ok"


def probe(artifact: Artifact, runtime: str, device: Device, threads: int | None) -> None:
    """Loads an artifact in a child and classifies one black picture there.

    Args:
        artifact: What to try.
        runtime: A runtime's name.
        device: Where it must run.
        threads: Threads for one call; None for the default.

    Raises:
        RuntimeLoadError: The child died, took too long, or said why it cannot.
    """
    outcome = run_isolated(__name__, [runtime, device, str(threads or "")], artifact.content)
    if outcome.death is not None:
        raise RuntimeLoadError(
            f"{artifact.path or 'The artifact'} was tried in a child process, and {outcome.death} "
            f"in the {runtime} runtime. The file is intact, so its model is broken or hostile: do "
            "not load it without a probe, and convert it again from a source you trust."
        )
    if outcome.stdout.strip() != _OK:
        words = (
            outcome.stdout.strip() or (outcome.stderr.strip().splitlines() or ["no message"])[-1]
        )
        raise RuntimeLoadError(f"Tried in a child process: {words}")


def _main(runtime: str, device: Device, threads: str) -> int:
    """The child: the artifact comes on standard input, the verdict goes to standard output."""
    # Engines write to the file descriptor behind sys.stdout; only the verdict may go there.
    verdict = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        artifact = load_artifact(sys.stdin.buffer.read())
        loaded = load_runtime(
            runtime, artifact, device=device, threads=int(threads) if threads else None
        )
        image = artifact.metadata.image
        loaded.run(np.zeros((1, image.height, image.width, 3), np.uint8))
        loaded.close()
    except EdgeclfError as exc:
        print(exc, file=verdict, flush=True)
        return 1
    print(_OK, file=verdict, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(_main(*sys.argv[1:]))  # type: ignore[arg-type]
