"""Where students of any design are made: taught for a trial, or as a finalist, and judged."""

from __future__ import annotations

import gc
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Artifact, Format, Metadata, Precision, load_artifact, save_artifact
from edgeclf.converters.unchecked import convert_unchecked
from edgeclf.datasets.photos import Photos, sample_photos, split_photos
from edgeclf.errors import ArtifactError
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.inference.classifier import Classifier
from edgeclf.networks.backend import keras
from edgeclf.networks.builder import normalization_of
from edgeclf.networks.features import keras_features
from edgeclf.networks.keras_model import in_batches, predict_probabilities, seal_model
from edgeclf.networks.student_design import StudentDesign, backbone_of, build
from edgeclf.system.progress import log
from edgeclf.training.budget import Candidate
from edgeclf.training.budget_config import BudgetConfig
from edgeclf.training.data import TrainingData
from edgeclf.training.design_search import GoOn, Judgement
from edgeclf.training.distillation import distill_student, fit_student, train_from
from edgeclf.training.models import save_model
from edgeclf.training.narrow_start import NarrowStarts
from edgeclf.training.recovery import finished, keeping_good_weights
from edgeclf.training.run_folder import RunFolder, run_config
from edgeclf.training.soft_targets import (
    PhotoPairs,
    SoftTargetCache,
    SoftTargets,
    compute_soft_targets,
)
from edgeclf.training.teachers import Teacher
from edgeclf.trust.temperature import fit_temperature, floor_of, mean_loss

_SET_ASIDE = 0.15  # of the training photos, which trials are judged by
_CALIBRATION = 64  # photos for the short conversions of a trial


class Workshop:
    """Makes students of one teacher.

    Args:
        teacher: Whose answers they learn.
        data: What they learn, and what finalists are judged by.
        config: How.
        settings: All that decides how a student ends, beside its design, as plain JSON types.
    """

    def __init__(
        self, teacher: Teacher, data: TrainingData, config: BudgetConfig, settings: dict[str, Any]
    ) -> None:
        self._teacher, self._data, self._config, self._settings = teacher, data, config, settings
        self._taught = config.distillation()
        shown = data.images(data.photos, teacher.spec), data.photos.targets
        self._starts = NarrowStarts(teacher, shown, config.seed)

    def try_out(self, candidate: Candidate, rungs: Sequence[int], go_on: GoOn) -> None:
        """Teaches a candidate on the photos that are not set aside; see `DesignSearch`."""
        design, spec = candidate.design, _spec(candidate.design)
        rest, judges = self._parts
        images = self._data.images(self._data.photos, spec)
        sample = sample_photos(rest, _CALIBRATION, self._config.seed)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            student, inherited = self._starts.start(design, images, self._config.seed)
            judged = _Judge(
                student,
                build(design, len(self._data.photos.labels)),
                partial(self._answers, spec, self._data.images(sample, spec), folder),
                (self._data.images(judges, spec), judges.targets),
                rungs,
                go_on,
            )
            fit_student(
                student,
                self._without_judges(self._soft_targets(spec), folder),
                self._taught,
                unfreeze_from=train_from(student, inherited, backbone_of(design).unfreeze_from),
                callbacks=(judged,),
            )
        keras.backend.clear_session()
        gc.collect()

    def finish(self, design: StudentDesign, folder: Path) -> Artifact:
        """Teaches a design on all photos, as `edgeclf.distill` would, unless that was done.

        Args:
            design: Which.
            folder: Where ``NAME-DESIGN.keras`` goes.
        """
        name, spec = f"{self._data.name}-{design}", _spec(design)
        settings = {**self._settings, "design": str(design)}
        before = self._made_before(folder / f"{name}.keras", settings)
        if before is not None:
            log(f"{before.path} was trained before with equal settings: reused")
            return before
        run = RunFolder(folder / f"{name}.run", run_config(self._data, settings))
        images = self._data.images(self._data.photos, spec)
        student, inherited = self._starts.start(design, images, self._config.seed)
        told = {**settings, "inherited_layers": inherited}

        def save(name: str, more: dict[str, Any]) -> Artifact:
            return save_model(self._data, name, student, spec, {**told, **more}, folder=folder)

        with keeping_good_weights(run, partial(save, f"{name}-last-good")):
            targets = self._soft_targets(spec)
            backbone = backbone_of(design)
            distill_student(student, backbone, inherited, targets, self._taught, run)
        artifact = finished(run, save(name, {}))
        keras.backend.clear_session()
        return artifact

    def _made_before(self, path: Path, settings: dict[str, Any]) -> Artifact | None:
        try:
            artifact = load_artifact(path)
        except ArtifactError:
            return None
        training = artifact.metadata.training or {}
        kept = dict(training.get("settings", {}))
        kept.pop("inherited_layers", None)
        same = training.get("data_sha256") == self._data.photos.sha256
        return artifact if kept == settings and same else None

    @cached_property
    def _parts(self) -> tuple[Photos, Photos]:
        """The training photos without those set aside, and these."""
        return split_photos(self._data.photos, _SET_ASIDE, self._config.seed)

    @property
    def judges(self) -> int:
        """How many photos are set aside."""
        return len(self._parts[1])

    def _soft_targets(self, spec: ImageSpec) -> SoftTargets:
        data = self._data
        return compute_soft_targets(
            self._teacher,
            PhotoPairs(
                data.images(data.photos, self._teacher.spec),
                data.images(data.photos, spec),
                data.photos.targets,
            ),
            student_spec=spec,
            views=self._config.views,
            seed=self._config.seed,
            mirror=not self._config.no_mirror,
            cache=SoftTargetCache(data.folder / "cache", data.photos),
        )

    def _without_judges(self, targets: SoftTargets, folder: Path) -> SoftTargets:
        """The first half of the views, of the photos that are not set aside."""
        rest = set(self._parts[0].paths)
        places = [n for n, path in enumerate(self._data.photos.paths) if path in rest]
        views = -(-self._config.views // 2)
        starts = len(self._data.photos) * np.arange(views)
        rows = (starts[:, np.newaxis] + np.array(places)).ravel()
        images = np.lib.format.open_memmap(
            folder / "views.npy", "w+", np.uint8, (len(rows), *targets.images.shape[1:])
        )
        start = 0
        for batch in in_batches(rows):
            images[start : start + len(batch)] = targets.images[batch]
            start += len(batch)
        return replace(
            targets, images=images, logits=targets.logits[rows], targets=targets.targets[rows]
        )

    def _answers(
        self,
        spec: ImageSpec,
        calibration: UInt8Array,
        folder: Path,
        student: keras.Model,
        images: UInt8Array,
    ) -> npt.NDArray[np.float32]:
        """The answers of the file that a student becomes, without gate or fallback."""
        precision, _, ending = self._config.to[0].partition(".")
        metadata = Metadata(
            name="trial",
            labels=self._data.photos.labels,
            image=spec,
            normalization=normalization_of(student),
            parameters=int(student.count_params()),
            features=keras_features(student),
        )
        artifact = save_artifact(seal_model(student, metadata), folder / "trial.keras")
        converted = convert_unchecked(
            artifact, cast(Precision, precision), calibration, cast(Format, ending)
        )
        with Classifier(converted) as classifier:
            return np.asarray(classifier.probabilities(images), np.float32)


class _Judge(keras.callbacks.Callback):
    """Judges a student at the rungs, and stops it where it must not go on.

    Args:
        student: While it is trained, its layers are what training makes of them.
        twin: The same network, which is given its weights and looked at.
        answer: The probabilities of the file that a network becomes, for images.
        judges: Images and targets.
        rungs: After so many epochs.
        go_on: Tells.
    """

    def __init__(
        self,
        student: keras.Model,
        twin: keras.Model,
        answer: Callable[[keras.Model, UInt8Array], npt.NDArray[np.float32]],
        judges: tuple[UInt8Array, npt.NDArray[np.int64]],
        rungs: Sequence[int],
        go_on: GoOn,
    ) -> None:
        super().__init__()
        self._student, self._twin, self._answer, self._judges = student, twin, answer, judges
        self._rungs, self._go_on = rungs, go_on

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Looks at the student after some of the epochs."""
        if epoch + 1 not in self._rungs:
            return
        images, targets = self._judges
        self._twin.set_weights(self._student.get_weights())
        answers = self._answer(self._twin, images)
        in_float = predict_probabilities(self._twin, images)
        found = Judgement(
            epoch + 1,
            loss=calibrated_loss(answers, targets),
            top1=float((answers.argmax(axis=1) == targets).mean()),
            float_top1=float((in_float.argmax(axis=1) == targets).mean()),
        )
        if not self._go_on(found):
            self.model.stop_training = True


def calibrated_loss(answers: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> float:
    """The cross-entropy at the temperature that suits the answers best, in nats.

    What learns from soft answers is less sure than it is right, and the more so the smaller it is
    and the fewer its epochs: at its own temperature, a network that is right on all photos lost to
    one that was surer of fewer.

    Args:
        answers: float32 [N, classes], probabilities.
        targets: int64 [N], the right classes.

    Returns:
        NaN where one of the answers is.
    """
    if not np.isfinite(answers).all():
        return math.nan
    floor = floor_of("fp32")
    return mean_loss(answers, targets, fit_temperature(answers, targets, floor).value, floor)


def _spec(design: StudentDesign) -> ImageSpec:
    return ImageSpec(design.input_size, design.input_size)
