"""One run of `edgeclf.train`: from photos and a config to a trained artifact."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from edgeclf.artifact import Artifact
from edgeclf.datasets.photos import split_photos
from edgeclf.image import ImageSpec
from edgeclf.networks.backend import keras
from edgeclf.networks.builder import BACKBONES, build_classifier, find_backbone, input_spec
from edgeclf.training.config import TrainingConfig
from edgeclf.training.data import TrainingData
from edgeclf.training.distribution import data_of_worker
from edgeclf.training.fit import Examples, TrainingRun, fit_from_scratch, fit_pretrained, use_seed
from edgeclf.training.models import save_model
from edgeclf.training.precision import as_float32, computing_in, prepare
from edgeclf.training.recovery import finished, keeping_good_weights
from edgeclf.training.run_folder import RunFolder, run_config

_VALIDATION = 0.15  # of the training photos, for early stopping and for the search


def train_classifier(data: TrainingData, config: TrainingConfig) -> Artifact:
    """Searches settings if asked to, builds a network, trains it and writes ``NAME-teacher.keras``.

    Args:
        data: What it learns and is judged by.
        config: How.

    Raises:
        ArtifactError: The weights are those of another network.
        OptionError: TensorFlow does not find the devices that are asked for.
        TrainingError: The loss is not a number, or no trial of a search came to its end.
        RegistryError: The run is finished, and could not be logged to MLflow.
        MissingDependencyError: A package for TensorBoard's events is not installed.
    """
    name = f"{data.name}-teacher"
    prepare(config)
    if config.distribute == "multi-worker":
        data = data_of_worker(data, f"{name}.run")
    backbone = find_backbone(config.backbone)
    spec = input_spec(backbone, config.input_size)
    config = replace(config, backbone=backbone.name, input_size=spec.height)
    if config.search is not None:
        config = _search(data, config, spec, name, config.search)
    use_seed(config.seed)
    model = _build(data, config, spec)
    folder = RunFolder(
        data.folder / f"{name}.run", run_config(data, config.record(), config.weights)
    )

    def save(name: str, more: dict[str, Any]) -> Artifact:
        plain = as_float32(model, BACKBONES[config.backbone], spec)
        return save_model(data, name, plain, spec, {**config.record(), **more})

    with keeping_good_weights(folder, partial(save, f"{name}-last-good")):
        _fit(model, data, config, spec, folder)
    artifact = finished(folder, save(name, {}))
    if config.mlflow is not None:
        from edgeclf.training.mlflow_log import log_run  # needs MLflow

        log_run(config.mlflow, artifact, folder.path, config.record(), folder.rows)
    return artifact


def _search(
    data: TrainingData, config: TrainingConfig, spec: ImageSpec, name: str, trials: int
) -> TrainingConfig:
    """The config with the settings that did best."""
    from edgeclf.training.search import Search  # needs Optuna

    settings = config.record()
    del settings["search"]  # more trials are of the same search
    conditions = run_config(data, settings, config.weights)
    del conditions["data"]["evaluation_sha256"]  # those photos decide nothing
    examples, judges = _set_aside(data, spec, config.seed)
    search = Search(
        TrainingRun(examples, config, judges), len(data.photos.labels), spec, conditions,
        data.folder / f"{name}.search.db",
    )  # fmt: skip
    return search.run(trials)


def _build(data: TrainingData, config: TrainingConfig, spec: ImageSpec) -> keras.Model:
    with computing_in(config):
        return build_classifier(
            BACKBONES[config.backbone],
            len(data.photos.labels),
            spec,
            weights=config.weights,
            download=config.download,
        )


def _fit(
    model: keras.Model,
    data: TrainingData,
    config: TrainingConfig,
    spec: ImageSpec,
    folder: RunFolder,
) -> None:
    """Trains `model` in place."""
    validation: Examples | None = None
    if config.early_stopping is None:
        examples = data.images(data.photos, spec), data.photos.targets
    else:
        examples, validation = _set_aside(data, spec, config.seed)
    run = TrainingRun(examples, config, validation, folder)
    if config.weights == "none":
        fit_from_scratch(model, run)
    else:
        fit_pretrained(model, run, unfreeze_from=BACKBONES[config.backbone].unfreeze_from)


def _set_aside(data: TrainingData, spec: ImageSpec, seed: int) -> tuple[Examples, Examples]:
    """The training photos without a part of each class, and that part to judge by."""
    rest, judges = split_photos(data.photos, _VALIDATION, seed)
    return (data.images(rest, spec), rest.targets), (data.images(judges, spec), judges.targets)
