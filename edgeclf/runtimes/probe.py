"""One inference in a child with limits: a model that kills its engine does not kill the caller."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.errors import EdgeclfError, RuntimeLoadError
from edgeclf.runtimes import Device, load_runtime
from edgeclf.system import child_process
from edgeclf.system.child_process import ChildError, function_command, run_child
from edgeclf.system.limits import Limits


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
    job = {"runtime": runtime, "device": device, "threads": threads}
    try:
        run_child(
            function_command(f"{__name__}:try_once"),
            job,
            artifact.content,
            limits=Limits.for_stranger(child_process.TIMEOUT_S),
        )
    except ChildError as exc:
        raise RuntimeLoadError(
            f"{artifact.path or 'The artifact'} was tried in a child process, and {exc} in the "
            f"{runtime} runtime. The file is intact, so its model is broken or hostile: do not "
            "load it without a probe, and convert it again from a source you trust."
        ) from exc
    except EdgeclfError as exc:
        raise RuntimeLoadError(f"Tried in a child process: {exc}") from exc


def try_once(job: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    """What the child does; see `edgeclf.system.child.serve`."""
    artifact = load_artifact(content)
    loaded = load_runtime(job["runtime"], artifact, device=job["device"], threads=job["threads"])
    image = artifact.metadata.image
    loaded.run(np.zeros((1, image.height, image.width, 3), np.uint8))
    loaded.close()
    return {}, b""
