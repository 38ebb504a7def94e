"""How a training run ends, well or not: what is said, and what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edgeclf.artifact import Artifact
from edgeclf.errors import TrainingError
from edgeclf.system.progress import log
from edgeclf.training.run_folder import RunFolder


@contextmanager
def keeping_good_weights(
    folder: RunFolder, save: Callable[[dict[str, Any]], Artifact]
) -> Iterator[None]:
    """The block that trains; says how it goes on if interrupted, saves what was good if it fails.

    Args:
        folder: The run's.
        save: Writes the model, which then holds its last good weights; is given what to add to the
            settings in the artifact.

    Raises:
        TrainingError: The block's, with the file of the last good weights; as it is where no epoch
            was good.
    """
    try:
        yield
    except KeyboardInterrupt:
        log(f"\ninterrupted; the same command goes on from {folder.path}")
        raise
    except TrainingError as exc:
        if not folder.rows:
            raise
        last = f"epoch {folder.epoch} of {folder.phase!r}"
        good = save({"stopped_after": last})
        raise TrainingError(
            f"{exc} The last good weights, after {last}, are in {good.path}."
        ) from exc


def finished(folder: RunFolder, artifact: Artifact) -> Artifact:
    """Says how long a run waited for data, and marks it as done with what came out of it."""
    share = folder.waiting_share()
    log(f"waited for data {share:.1%} of the time")
    folder.finish(artifact_sha256=artifact.sha256, waiting_share=round(share, 6))
    return artifact
