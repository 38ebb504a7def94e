"""Optuna's studies in a file: kept apart by their conditions, and the same after a stop.

What Optuna knows is in one SQLite file. What it proposes depends on the seed and on the trials that
have ended, and on nothing else: a search that was stopped proposes what it would have proposed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from edgeclf.errors import TrainingError
from edgeclf.system import files
from edgeclf.system.progress import log
from edgeclf.training.run_folder import differences

_CONDITIONS = "conditions"  # of a study
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(
    storage: optuna.storages.RDBStorage,
    path: Path,
    conditions: dict[str, Any],
    *,
    directions: Sequence[str] = ("minimize",),
    pruner: optuna.pruners.BasePruner | None = None,
) -> tuple[optuna.Study, bool]:
    """The study under these conditions, new or as far as it got.

    Args:
        storage: From `opened`.
        path: Its file.
        conditions: All that decides how a trial ends, as nested dictionaries of plain JSON types.
            Trials under others are kept apart.
        directions: ``minimize`` or ``maximize`` for each value of a trial.
        pruner: Decides which trials fall behind.

    Returns:
        (the study, whether it is new).
    """
    digest = files.sha256_of(json.dumps(conditions, sort_keys=True))
    name = f"{path.stem}-{digest[:12]}"
    known = optuna.get_all_study_names(storage)
    study = optuna.create_study(
        storage=storage, study_name=name, load_if_exists=True, pruner=pruner, directions=directions
    )
    if name in known:
        for trial in study.get_trials(states=(TrialState.RUNNING,)):  # when it was killed
            study.tell(trial.number, state=TrialState.FAIL)
        log(f"search {name} in {path}: trials made before: {len(ended_trials(study))}")
        return study, False
    if known:
        other = optuna.load_study(study_name=known[-1], storage=storage)
        changed = differences(other.user_attrs.get(_CONDITIONS, {}), conditions)
        log(f"{path} keeps a search with other settings; searching anew: {changed}")
    study.set_user_attr(_CONDITIONS, conditions)
    return study, True


def sampler_of(seed: int, done: int, **options: Any) -> optuna.samplers.TPESampler:
    """What proposes the trial that comes after `done` others, whoever made those."""
    state = np.random.SeedSequence((seed, done)).generate_state(1)[0]
    return optuna.samplers.TPESampler(seed=int(state), **options)


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count, in order: complete, behind or failed, but not interrupted."""
    ended: list[FrozenTrial] = study.get_trials(deepcopy=False, states=_ENDED)
    return ended


@contextmanager
def opened(path: Path) -> Iterator[optuna.storages.RDBStorage]:
    """The SQLite file at `path`, while Optuna prints nothing of its own.

    Raises:
        TrainingError: It holds something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield _storage(path)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _storage(path: Path) -> optuna.storages.RDBStorage:
    options = {
        "creator": lambda: sqlite3.connect(path),  # in a URL, a "?" or "#" would end the path
        "poolclass": sqlalchemy.pool.NullPool,  # leaves no connection open
    }
    try:
        return optuna.storages.RDBStorage("sqlite:///search", engine_kwargs=options)
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as exc:
        raise TrainingError(
            f"{path} is no search that this version of Optuna reads: "
            f"{str(exc).splitlines()[0]}. Move the file away to search anew."
        ) from exc
