"""One run of `edgeclf.prune`: from a trained model, photos and a config to a smaller artifact."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact
from edgeclf.datasets.manifest import is_table, read_table
from edgeclf.datasets.photos import sample_photos
from edgeclf.errors import DataError, OptionError, QualityGateError, listed
from edgeclf.measurement.latency_table import LatencyTable
from edgeclf.metrics.accuracy import accuracy_record
from edgeclf.networks.backend import keras, layers
from edgeclf.networks.channel_groups import ChannelGraph, channel_groups
from edgeclf.networks.cut import Indices, cut
from edgeclf.networks.keras_model import predict_probabilities
from edgeclf.networks.operators import operators_of
from edgeclf.system.files import sha256_of
from edgeclf.system.progress import log
from edgeclf.training.data import TrainingData
from edgeclf.training.distillation import fit_student
from edgeclf.training.fit import use_seed
from edgeclf.training.models import save_model
from edgeclf.training.pruning import (
    Scores,
    counts_within,
    give_back,
    importance,
    removals,
    strongest,
)
from edgeclf.training.pruning_config import PruningConfig
from edgeclf.training.recovery import finished, keeping_good_weights
from edgeclf.training.run_folder import RunFolder, run_config
from edgeclf.training.soft_targets import PhotoPairs, SoftTargetCache, compute_soft_targets
from edgeclf.training.teachers import KerasTeacher, Teacher, open_teacher

_SCORING_PHOTOS = 1024  # more do not change which channels go
_SCORES = "importance.npz"
_MOMENTUM = 0.9  # of BatchNorm: with Keras's 0.99 a few hundred steps leave its averages behind


@dataclass(frozen=True)
class _Pruned:
    """A network without some of its channels.

    Attributes:
        model: The network, not yet taught again.
        counts: For each group, how many channels it has.
        multiply_adds: How many it needs.
    """

    model: keras.Model
    counts: Mapping[str, int]
    multiply_adds: int


def prune_model(
    artifact: Artifact,
    teacher: Artifact | None,
    table: LatencyTable | None,
    data: TrainingData,
    config: PruningConfig,
) -> Artifact:
    """Removes channels, lets the network learn back what it lost, and writes ``NAME-pruned.keras``.

    Args:
        artifact: A ``.keras`` one.
        teacher: Another one to learn from; None is the model itself.
        table: Of the device, if there is a latency to keep to.
        data: What it learns and is judged by.
        config: How.

    Raises:
        ArtifactError: A model does not know a class of the photos, or Keras cannot read it.
        ConversionError: The network cannot be cut; the message names the layer.
        DataError: There are no photos of some of its classes.
        OptionError: So much of it cannot go, or it is as fast as asked already.
        QualityGateError: However small, it is predicted to be slower than asked.
        TrainingError: The loss is not a number.
    """
    use_seed(config.seed)
    name = config.name or f"{artifact.metadata.name}-pruned"
    _check_apart(artifact, data.folder / f"{name}.keras")
    whole = _open(artifact, data)
    graph = channel_groups(whole.model)
    taught_by = whole if teacher is None else open_teacher(teacher, data.photos.labels)
    settings = {
        "pruned_from_sha256": artifact.sha256,
        "teacher_sha256": taught_by.sha256,
        **config.record(),
        "device": None if config.device is None else sha256_of(Path(config.device)),
    }
    _check_possible(whole.model, graph, config, table)  # before another run's state is given up
    folder = RunFolder(data.folder / f"{name}.run", run_config(data, settings))
    scores = _scores(whole, graph, data, config.seed, folder)
    if table is None:
        pruned = _within_share(whole.model, graph, scores, config)
    else:
        pruned = _within_time(whole.model, graph, scores, config, table)
    share = pruned.multiply_adds / graph.multiply_adds()
    log(f"{share:.1%} of the multiply-adds remain: {_described(graph, pruned)}")
    told = {
        **settings,
        "kept_multiply_adds": round(share, 4),
        "channels": {n: [group.channels, pruned.counts[n]] for n, group in graph.prunable.items()},
    }

    def save(name: str, more: dict[str, Any]) -> Artifact:
        return save_model(data, name, pruned.model, whole.spec, {**told, **more})

    with keeping_good_weights(folder, partial(save, f"{name}-last-good")):
        _teach(pruned.model, whole, taught_by, data, config, folder)
    saved = finished(folder, save(name, {}))
    (folder.path / _SCORES).unlink(missing_ok=True)
    _report(artifact, saved, whole, graph, pruned, data)
    return saved


def _check_apart(artifact: Artifact, out: Path) -> None:
    """What is pruned is kept: it may be pruned by another share."""
    assert artifact.path is not None
    if out.resolve() == artifact.path.resolve():
        raise OptionError(
            f"The pruned network would replace {artifact.path}; expected another name, or another "
            "folder for out."
        )


def _open(artifact: Artifact, data: TrainingData) -> KerasTeacher:
    opened = open_teacher(artifact, data.photos.labels)
    if not isinstance(opened, KerasTeacher):
        missing = sorted(set(artifact.metadata.labels) - set(data.photos.labels))
        raise DataError(
            f"There are no photos of {listed(missing)}, which {artifact.path} knows; expected "
            f"photos of all its classes, {listed(artifact.metadata.labels)}."
        )
    return opened


def _scores(
    whole: KerasTeacher, graph: ChannelGraph, data: TrainingData, seed: int, folder: RunFolder
) -> Scores:
    """The importance of channels; of a run that goes on, what decided then."""
    kept = folder.load_arrays(_SCORES)
    if kept.keys() != graph.prunable.keys():
        photos = sample_photos(data.photos, _SCORING_PHOTOS, seed)
        kept = importance(whole.model, data.images(photos, whole.spec), photos.targets, graph)
        folder.save_arrays(_SCORES, kept)
    return kept


def _check_possible(
    model: keras.Model, graph: ChannelGraph, config: PruningConfig, table: LatencyTable | None
) -> None:
    """Refuses what no pruning meets; which channels go makes no difference to that."""
    alike: Scores = {name: np.ones(group.channels) for name, group in graph.prunable.items()}
    *_, fewest = removals(graph, alike)
    least, needed = graph.multiply_adds(fewest), graph.multiply_adds()
    if config.keep is not None and least > config.keep * needed:
        raise OptionError(
            f"keep is {config.keep:g}; with the fewest channels, 8 of each group, "
            f"{least / needed:.3f} of the multiply-adds remain. Expected more than that; or distil "
            "a smaller student."
        )
    if table is None or config.max_latency_ms is None:
        return
    limit, where = config.max_latency_ms, _where(config, table)
    now_ms = _predicted_ms(model, config, table)
    if now_ms <= limit:
        raise OptionError(
            f"max_latency_ms is {limit:g} and the network is predicted to take {now_ms:.3g} ms "
            f"{where} as it is: there is nothing to prune. Expected less than that."
        )
    smallest = _pruned(model, graph, alike, fewest)
    least_ms = _predicted_ms(smallest.model, config, table)
    if least_ms > limit:
        raise QualityGateError(
            f"No pruning of the network meets max_latency_ms {limit:g}: with the fewest channels, "
            f"8 of each group, {least / needed:.1%} of the multiply-adds remain and it is "
            f"predicted to take {least_ms:.3g} ms {where}, {now_ms:.3g} ms before. Its depth and "
            "input size bar it: distil a student with fewer layers or smaller images."
        )


def _where(config: PruningConfig, table: LatencyTable) -> str:
    return f"as {config.target} on {table.device['cpu']}"


def _predicted_ms(model: keras.Model, config: PruningConfig, table: LatencyTable) -> float:
    precision, _, format = config.target.partition(".")
    return table.predict_ms(operators_of(model), format=format, precision=precision)


def _within_share(
    model: keras.Model, graph: ChannelGraph, scores: Scores, config: PruningConfig
) -> _Pruned:
    assert config.keep is not None, "else there is a table"
    return _pruned(model, graph, scores, counts_within(graph, scores, config.keep))


def _within_time(
    model: keras.Model,
    graph: ChannelGraph,
    scores: Scores,
    config: PruningConfig,
    table: LatencyTable,
) -> _Pruned:
    """The first of the removals that is predicted to be fast enough, found by halving.

    It is given back what it can have and be as fast as that.
    """
    limit = config.max_latency_ms
    assert limit is not None, "else there is no table"
    steps = list(removals(graph, scores))

    def predicted(counts: Mapping[str, int]) -> tuple[_Pruned, float]:
        pruned = _pruned(model, graph, scores, counts)
        return pruned, _predicted_ms(pruned.model, config, table)

    def is_fast(counts: Mapping[str, int]) -> bool:
        return predicted(counts)[1] <= limit

    low, high = 0, len(steps) - 1  # too slow, and fast enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_fast(steps[middle]) else (middle, high)
    best, best_ms = predicted(give_back(graph, scores, steps[high], is_fast))
    before_ms = _predicted_ms(model, config, table)
    log(f"predicted {_where(config, table)}: {best_ms:.3g} ms, {before_ms:.3g} ms before")
    return best


def _pruned(
    model: keras.Model, graph: ChannelGraph, scores: Scores, counts: Mapping[str, int]
) -> _Pruned:
    kept: dict[str, Indices] = strongest(scores, counts)
    return _Pruned(cut(model, kept, graph), dict(counts), graph.multiply_adds(counts))


def _teach(
    model: keras.Model,
    whole: KerasTeacher,
    teacher: Teacher,
    data: TrainingData,
    config: PruningConfig,
    folder: RunFolder,
) -> None:
    """Distils what the network lost back into it; all of its layers learn."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = min(layer.momentum, _MOMENTUM)
    photos = PhotoPairs(
        data.images(data.photos, teacher.spec),
        data.images(data.photos, whole.spec),
        data.photos.targets,
    )
    soft_targets = compute_soft_targets(
        teacher,
        photos,
        student_spec=whole.spec,
        views=config.views,
        seed=config.seed,
        mirror=not config.no_mirror,
        cache=SoftTargetCache(data.folder / "cache", data.photos),
    )
    fit_student(model, soft_targets, config.distillation(), folder=folder)


def _described(graph: ChannelGraph, pruned: _Pruned) -> str:
    return ", ".join(
        f"{name} {pruned.counts[name]} of {group.channels}"
        for name, group in graph.prunable.items()
        if pruned.counts[name] < group.channels
    )


def _next(saved: Artifact, data: TrainingData) -> str:
    """What to type to convert it; photos that were split here have no folder to be judged by."""
    root = data.photos.root
    in_table = is_table(root) and any(row.split == "eval" for row in read_table(root))
    apart = in_table or data.evaluation.root != root
    judges = shlex.quote(str(data.evaluation.root)) if apart else "OTHER_PHOTOS"
    own = shlex.join([str(saved.path), "--calibration", str(root)])
    return f"edgeclf convert {own} --evaluation {judges}"


def _report(
    artifact: Artifact,
    saved: Artifact,
    whole: KerasTeacher,
    graph: ChannelGraph,
    pruned: _Pruned,
    data: TrainingData,
) -> None:
    """Before and after, in lines to read, and what to type next."""
    assert saved.metadata.accuracy is not None, "measured when it was saved"
    answers = predict_probabilities(whole.model, data.images(data.evaluation, whole.spec))
    records = accuracy_record(answers, data.evaluation), saved.metadata.accuracy["source"]
    rows = [
        ("", "before", "after"),
        ("multiply-adds", *(f"{n / 1e6:,.1f} M" for n in (graph.multiply_adds(),
                                                          pruned.multiply_adds))),
        ("parameters", *(f"{model.count_params():,}" for model in (whole.model, pruned.model))),
        ("size", *(f"{file.size_bytes / 1e3:,.0f} kB" for file in (artifact, saved))),
        ("top-1", *map(_percent, records)),
    ]  # fmt: skip
    for what, before, after in rows:
        log(f"  {what:<14}{before:>24}{after:>24}")
    log(f"next: {_next(saved, data)}")


def _percent(record: Mapping[str, Any]) -> str:
    low, high = record["top1_interval_95"]
    return f"{record['top1']:.1%} [{low:.1%}, {high:.1%}]"
