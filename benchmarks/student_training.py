"""The students of one network for `students.py`, taught and converted in a process of their own."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from student_networks import CONTESTANTS, Contestant

from edgeclf.system import files

VIEWS = 16  # of each photo, which the teacher has answered
LEAST_EPOCHS = 3
PRUNED_VIEWS, PRUNED_EPOCHS = 8, 4  # as `edgeclf prune` teaches back
PROBE_BATCHES, PROBE_WARMUP = 30, 10
TARGETS = {"tflite": "int8.tflite", "onnx": "int8.onnx"}


class StudentLab:
    """Photos, the teacher's answers to their views, and what is made of them.

    Args:
        job: ``data`` with train/ and eval/, ``teacher``, ``folder`` for what is kept, ``network``
            and ``mirror``.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        from edgeclf.artifact import load_artifact
        from edgeclf.image import ImageSpec
        from edgeclf.training.data import open_training_data
        from edgeclf.training.soft_targets import (
            PhotoPairs,
            SoftTargetCache,
            compute_soft_targets,
        )
        from edgeclf.training.teachers import open_teacher

        self.folder = Path(job["folder"])
        self.photos, self.evaluation = (Path(job["data"]) / part for part in ("train", "eval"))
        self.data = open_training_data(self.photos, self.evaluation, self.folder, 0)
        self.contestant: Contestant = CONTESTANTS[job["network"]]
        self.spec = ImageSpec(self.contestant.side, self.contestant.side)
        self.teacher = open_teacher(load_artifact(Path(job["teacher"])), self.data.photos.labels)
        pairs = PhotoPairs(
            self.data.images(self.data.photos, self.teacher.spec),
            self.data.images(self.data.photos, self.spec),
            self.data.photos.targets,
        )
        self.soft_targets = compute_soft_targets(
            self.teacher,
            pairs,
            student_spec=self.spec,
            views=VIEWS,
            seed=0,
            mirror=job["mirror"],
            cache=SoftTargetCache(self.folder / "cache", self.data.photos),
        )

    def start(self, seed: int) -> tuple[Any, str | None]:
        """The network before it is taught, and the first layer that is."""
        from edgeclf.networks.builder import build_classifier
        from edgeclf.training.distillation import start_student, train_from
        from edgeclf.training.fit import use_seed

        backbone = self.contestant.build()
        if self.contestant.start == "teacher":
            model, inherited = start_student(backbone, self.spec, self.teacher, seed=seed)
            return model, train_from(model, inherited, backbone.unfreeze_from)
        use_seed(seed)
        weights = "imagenet" if self.contestant.start == "ImageNet" else None
        model = build_classifier(backbone, len(self.teacher.labels), self.spec, weights=weights)
        return model, backbone.unfreeze_from if weights else None

    def pruned(self, model: Any, keep: float) -> Any:
        """The network without the channels that matter least, as `edgeclf prune` takes them out."""
        from edgeclf.training.pruning import importance, prune_channels

        photos = self.data.photos
        scores = importance(model, self.data.images(photos, self.spec), photos.targets)
        return prune_channels(model, scores, keep)

    def views(self, count: int) -> Any:
        """The answers to the first `count` views of every photo."""
        from edgeclf.training.soft_targets import SoftTargets

        kept, rows = self.soft_targets, count * len(self.data.photos)
        return SoftTargets(kept.images[:rows], kept.logits[:rows], kept.targets[:rows])

    def fit(self, model: Any, unfreeze_from: str | None, targets: Any, **how: Any) -> None:
        """Teaches by `edgeclf distill`'s own settings."""
        from edgeclf.training.distillation import fit_student
        from edgeclf.training.distillation_config import DistillationConfig

        fit_student(model, targets, DistillationConfig(**how), unfreeze_from=unfreeze_from)


def cpu_times(lab: StudentLab) -> dict[str, float]:
    """CPU seconds of one step of 32 views, and of what is done once before the first.

    The feed notes the process's CPU time whenever it is asked for a batch.
    """
    from edgeclf.training.batch_loader import BatchLoader
    from edgeclf.training.soft_targets import SoftTargets

    marks: list[float] = []

    class MarkedLoader(BatchLoader):
        def _load(self, index: int) -> Any:
            marks.append(time.process_time())
            return super()._load(index)

    class MarkedTargets(SoftTargets):
        def feed(self, seed: int, *, features: bool = False, first_epoch: int = 0) -> BatchLoader:
            return MarkedLoader((self.images, self.logits), self.targets, seed)

    kept, rows = lab.soft_targets, PROBE_BATCHES * 32
    short = MarkedTargets(kept.images[:rows], kept.logits[:rows], kept.targets[:rows])
    model, unfreeze_from = lab.start(0)
    start = time.process_time()
    lab.fit(model, unfreeze_from, short, epochs=1)
    step_s = (marks[-1] - marks[PROBE_WARMUP]) / (len(marks) - 1 - PROBE_WARMUP)
    whole_s = time.process_time() - start
    return {"step_cpu_s": step_s, "once_cpu_s": max(0.0, whole_s - len(marks) * step_s)}


def plan(passes: int) -> tuple[int, int]:
    """(views, epochs) that together are at most so many passes over the photos."""
    epochs = max(min(LEAST_EPOCHS, passes), math.ceil(passes / VIEWS))
    return passes // epochs, epochs


def teach(lab: StudentLab, name: str, seed: int, passes: int) -> dict[str, Any]:
    """Teaches, converts and judges a student."""
    from edgeclf.converters.config import ConversionConfig
    from edgeclf.converters.pipeline import convert_all
    from edgeclf.training.models import save_model

    model, unfreeze_from = lab.start(seed)
    before = time.process_time()
    keep = lab.contestant.keep
    views, epochs = plan(passes)
    lab.fit(model, unfreeze_from, lab.views(views), epochs=epochs, seed=seed)
    if keep is not None:
        model = lab.pruned(model, keep)
        lab.fit(model, None, lab.views(PRUNED_VIEWS), epochs=PRUNED_EPOCHS, seed=seed)
    cpu_s = time.process_time() - before
    artifact = save_model(lab.data, f"{name}-{seed}", model, lab.spec, {"seed": seed})
    row = {
        "views": views,
        "epochs": epochs,
        "cpu_s": cpu_s,
        "parameters": artifact.metadata.parameters,
        "keras": judge(lab, artifact),
    }
    assert artifact.path is not None
    # Nothing is refused and nothing tried again: what int8 loses by the usual recipe is shown.
    config = ConversionConfig(
        evaluation=lab.evaluation, calibration=lab.photos, to=tuple(TARGETS.values()), tolerance=1.0
    )
    converted = convert_all(artifact.path, config)
    if converted.error is not None:
        raise converted.error
    for each in converted.artifacts:
        row[each.format] = {
            **judge(lab, each),
            "size_bytes": each.size_bytes,
            "metadata_bytes": len(each.metadata.to_json().encode()),
        }  # fmt: skip
    return row


def judge(lab: StudentLab, artifact: Any) -> dict[str, Any]:
    """Accuracy of a file, and which photos it had right, as a text of 0 and 1."""
    from edgeclf.inference.classifier import Classifier

    evaluation = lab.data.evaluation
    with Classifier(artifact) as classifier:
        scores = classifier.probabilities(lab.data.images(evaluation, lab.spec))
    right = scores.argmax(axis=1) == evaluation.targets
    return {"top1": float(np.mean(right)), "right": "".join("01"[int(each)] for each in right)}


def main() -> int:
    """Does the jobs that the first argument lists, and keeps each row where its ``row`` says.

    They are of one network, and their photos and answers are opened once.
    """
    jobs = json.loads(sys.argv[1])
    lab = StudentLab(jobs[0])
    for job in jobs:
        if job["passes"] is None:
            row: dict[str, Any] = cpu_times(lab)
        else:
            row = teach(lab, job["network"], job["seed"], job["passes"])
        files.write_json(Path(job["row"]), row)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
