"""The folder of a training run: what it was asked for, how it goes, and where it can go on."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from edgeclf.system import files
from edgeclf.system.environment import library_versions
from edgeclf.system.progress import log
from edgeclf.training import run_lock
from edgeclf.training.data import TrainingData

LIBRARIES = ("edgeclf", "tensorflow", "keras", "numpy", "pillow")  # that decide a run
COLUMNS = (
    "phase",
    "epoch",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "seconds",
    "waiting_share",
)
MAPS = "maps.npy"  # what the layers below the first that is trained answer
_ENGINES = "engines.json"
_UNFINISHED = ("checkpoint.npz", "best.npz", "features.npy", MAPS, _ENGINES, "failed.json")
_META = "run.json"  # in the checkpoint
State = dict[str, npt.NDArray[Any]]


class RunFolder:
    """A run that survives being stopped at any moment.

    In it are ``config.json`` (settings, hashes of the photos, versions; once finished, the
    result), ``log.csv`` (a line an epoch), and while they are needed ``checkpoint.npz``,
    ``best.npz``, ``features.npy``, ``maps.npy``, ``engines.json`` (what runs the frozen layers) and
    ``failed.json``. Each is written beside and renamed. ``lock`` is held while the run lasts.

    Args:
        path: The folder. What a run with another `config`, or a finished one, left in it goes.
        config: All that decides how the run ends, as nested dictionaries of plain JSON types.

    Attributes:
        phase: The phase of the last checkpoint; None where there is none.
        epoch: How many epochs of that phase are done.
        rows: The log, one dictionary of `COLUMNS` an epoch.
        extra: What else the last checkpoint was saved with.

    Raises:
        TrainingError: Another process trains in this folder.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self._lock = run_lock.acquire(path)
        self.phase: str | None = None
        self.epoch = 0
        self.rows: list[dict[str, Any]] = []
        self.extra: dict[str, Any] = {}
        self._config = json.loads(json.dumps(config))
        self._state: State = {}
        if not self._resume():
            self._clear()
            files.write_json(self._file("config.json"), self._config)

    def state(self) -> State:
        """The variables of the last checkpoint."""
        return self._state

    def save(self, phase: str, epoch: int, state: State, **extra: Any) -> None:
        """Writes the checkpoint and the log in one step each, the checkpoint first.

        Args:
            phase: What is being trained.
            epoch: How many epochs of it are done.
            state: Named arrays.
            **extra: More to remember, as plain JSON types.
        """
        meta = {"phase": phase, "epoch": epoch, "rows": self.rows, "extra": extra}
        text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        self.save_arrays("checkpoint.npz", {**state, _META: text})
        self.phase, self.epoch, self.extra, self._state = phase, epoch, extra, state
        self._write_log()

    def save_arrays(self, name: str, arrays: State) -> None:
        """Writes named arrays to the file `name` of the folder."""
        with self._new(name) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def load_arrays(self, name: str) -> State:
        """What `save_arrays` wrote; nothing where it did not, or not to the end."""
        try:
            with (
                open(self._file(name), "rb") as file,  # NumPy leaves a broken one open
                np.load(file, allow_pickle=False) as archive,
            ):
                return {key: archive[key] for key in archive.files}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):
            return {}

    def features(self) -> npt.NDArray[np.float32] | None:
        """What `save_features` wrote, mapped into memory; None where it did not."""
        try:
            return np.load(self._file("features.npy"), mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
        except (OSError, EOFError, ValueError):
            return None

    def save_features(self, rows: npt.NDArray[np.float32]) -> None:
        """Keeps the backbone's answers, float32 [N, C], for a run that goes on later."""
        with self._new("features.npy") as file:
            np.save(file, rows)

    @contextmanager
    def engines(self) -> Iterator[dict[str, str]]:
        """By what each frozen part is run, to be added to in the block; kept for a resumed run."""
        found = _read_json(self._file(_ENGINES))
        chosen: dict[str, str] = found if isinstance(found, dict) else {}
        yield chosen
        files.write_json(self._file(_ENGINES), chosen)

    def waiting_share(self) -> float:
        """The share of the training time, over all epochs, that was spent waiting for data."""
        seconds = sum(row["seconds"] for row in self.rows)
        waited = sum(row["seconds"] * row["waiting_share"] for row in self.rows)
        return waited / seconds if seconds else 0.0

    def fail(self) -> bool:
        """Notes that the run could not go on from its last checkpoint.

        Returns:
            Whether that was noted before: then it failed there twice, with the same settings.
        """
        place = {"phase": self.phase, "epoch": self.epoch}
        before = _read_json(self._file("failed.json"))
        files.write_json(self._file("failed.json"), place)
        return bool(before == place)

    def finish(self, **result: Any) -> None:
        """Marks the run as done, removes what only one that goes on would need, ends the lock.

        Args:
            **result: What came out, as plain JSON types.
        """
        files.write_json(self._file("config.json"), {**self._config, "result": result})
        for name in _UNFINISHED:
            self._file(name).unlink(missing_ok=True)
        self._lock.close()

    def _resume(self) -> bool:
        found = _read_json(self._file("config.json"))
        if found is None:
            return False
        finished = "result" in found
        found.pop("result", None)
        changed = differences(found, self._config)
        if changed:
            kind = "a finished run" if finished else "a run"
            log(f"{self.path} holds {kind} with other settings; training anew: {changed}")
            return False
        if finished:
            log(f"{self.path} holds a finished run of these settings; training anew")
            return False
        state = self.load_arrays("checkpoint.npz")
        if _META in state:
            meta = json.loads(state.pop(_META).tobytes())
            self.phase, self.epoch = meta["phase"], meta["epoch"]
            self.rows, self.extra, self._state = meta["rows"], meta["extra"], state
            self._write_log()
            log(f"resuming at epoch {self.epoch + 1} of {self.phase!r}, from {self.path}")
        self._remove(".*")  # what a run that was killed was writing
        return True

    def _clear(self) -> None:
        for pattern in (".*", "*.npz", "*.npy", "log.csv", "*.json"):
            self._remove(pattern)
        shutil.rmtree(self._file("tensorboard"), ignore_errors=True)

    def _remove(self, pattern: str) -> None:
        for file in self.path.glob(pattern):
            file.unlink(missing_ok=True)

    def _write_log(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow(
                {key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()}
            )
        files.write_text(self._file("log.csv"), text.getvalue())

    @contextmanager
    def _new(self, name: str) -> Iterator[IO[bytes]]:
        """A file that takes its name once it is on the disk, even if the power fails then."""
        with files.replacing(self._file(name)) as temporary, temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def _file(self, name: str) -> Path:
        return self.path / name


@contextmanager
def engines_of(folder: RunFolder | None) -> Iterator[dict[str, str]]:
    """`RunFolder.engines`, or a dictionary that nobody keeps."""
    if folder is None:
        yield {}
        return
    with folder.engines() as chosen:
        yield chosen


def run_config(
    data: TrainingData,
    settings: dict[str, Any],
    weights: str | os.PathLike[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """All that decides how a run ends, as plain JSON types.

    Args:
        data: What it learns and is judged by.
        settings: What it was asked for.
        weights: What it starts from; a file counts by its content.
    """
    given = None if weights is None else Path(weights)
    groups = data.photos.groups
    return {
        "settings": settings,
        "data": {
            "train_sha256": data.photos.sha256,
            "evaluation_sha256": data.evaluation.sha256,
            "weights_sha256": files.sha256_of(given) if given and given.is_file() else None,
            **({"groups_sha256": files.sha256_of(*groups)} if groups else {}),
        },
        "libraries": library_versions(LIBRARIES),
    }


def discard(path: Path) -> bool:
    """Removes what an earlier run left in its folder.

    Returns:
        Whether there was anything.

    Raises:
        TrainingError: Another process trains there.
    """
    if not path.exists():
        return False
    lock = run_lock.acquire(path)
    left = [file for file in path.iterdir() if file.name != run_lock.NAME]
    for file in left:
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink()
    del lock
    return bool(left)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Names and values of what differs, old and new; empty where nothing does."""
    old, new = _flat(found), _flat(wanted)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {old.get(key)}, is {new.get(key)}" for key in changed)


def _flat(value: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat.update(_flat(inner) if isinstance(inner, dict) else {key: inner})
    return flat
