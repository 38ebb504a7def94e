"""Does the teacher help? The student distilled and alone, from several seeds.

Alone means: the same network, the same start (with what it inherits from the teacher), the same
views, as many steps in the same order; only the loss is that of the true labels. So the
difference is what the teacher's answers gave, and nothing else.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.errors import ArtifactError
from edgeclf.image import ImageSpec, UInt8Array
from edgeclf.inference.classifier import Classifier
from edgeclf.metrics.accuracy import accuracy_record
from edgeclf.metrics.statistics import bootstrap_interval, paired_t_interval
from edgeclf.networks.builder import Backbone
from edgeclf.networks.keras_model import predict_probabilities
from edgeclf.reporting import distillation_page as pages
from edgeclf.reporting.html import write_pages
from edgeclf.system import files
from edgeclf.system.environment import environment, library_versions
from edgeclf.system.progress import log
from edgeclf.training.data import TrainingData
from edgeclf.training.distillation import distillation_settings, train_student
from edgeclf.training.distillation_config import DistillationConfig
from edgeclf.training.models import save_model
from edgeclf.training.soft_targets import SoftTargets
from edgeclf.training.teachers import Teacher, teacher_logits

SCHEMA = "edgeclf.distillation/1"
KINDS = ("distilled", "alone")
_LIBRARIES = ("edgeclf", "tensorflow", "keras", "numpy")
_METHOD = (
    "alone: the same network, start, views and steps with the true labels as its only loss; the "
    "interval over seeds is the paired t interval of the differences (Student 1908), that over "
    "photos a bootstrap of each photo's difference, averaged over the seeds (Efron 1979)"
)


@dataclass(frozen=True)
class SeedStudy:
    """What is compared, and how the students are trained.

    Attributes:
        data: What they learn, what they are judged by, and where the files go.
        teacher: Whose answers they learn.
        backbone: The student's network.
        spec: How photos become its input.
        soft_targets: The same for all of them.
        config: How the distilled ones are taught, from which seed on, and from how many.
        as_int8: Writes a student as int8 file, for comparing those too; None leaves it out.
    """

    data: TrainingData
    teacher: Teacher
    backbone: Backbone
    spec: ImageSpec
    soft_targets: SoftTargets
    config: DistillationConfig
    as_int8: Callable[[Artifact], Artifact] | None = None

    @property
    def path(self) -> Path:
        """The JSON file; ``.md`` and ``.html`` lie beside it."""
        return self.data.folder / f"{self.data.name}.distillation.json"

    @property
    def students(self) -> Path:
        """The folder of all students but the first distilled one, which is the result."""
        return self.data.folder / f"{self.data.name}.students"

    def run(self) -> Artifact:
        """Trains what has not been trained yet with equal settings, and writes the report.

        Returns:
            The distilled student of the first seed. Not the best one: a choice by the evaluation
            photos would make its accuracy on them look better than it is.
        """
        conditions = self._conditions()
        runs: dict[str, dict[str, Any]] = _runs_before(self.path, conditions)
        seeds = range(self.config.seed, self.config.seed + self.config.seeds)
        if reused := sum(set(KINDS) <= runs.get(f"{seed}", {}).keys() for seed in seeds):
            log(f"{reused} of {len(seeds)} seeds were trained before with equal settings: reused")
        result = None
        for seed in seeds:
            done = runs.setdefault(f"{seed}", {"seed": seed})
            for kind in KINDS:
                is_result = kind == "distilled" and seed == seeds[0]
                judged = kind in done and (self.as_int8 is None or "int8" in done[kind])
                if judged and not is_result:
                    continue
                artifact, done[kind] = self._student(seed, kind, done.get(kind))
                files.write_json(
                    self.path, {"schema": SCHEMA, "conditions": conditions, "runs": runs}
                )
                result = artifact if is_result else result
        assert result is not None
        record = self._record(conditions, runs, [runs[f"{seed}"] for seed in seeds], result)
        files.write_json(self.path, record)
        write_pages(self.path, record, pages.to_markdown, pages.to_html)
        for sentence in record["sentences"]:
            log(sentence)
        return result

    def _student(
        self, seed: int, kind: str, done: dict[str, Any] | None
    ) -> tuple[Artifact, dict[str, Any]]:
        """A student and how it does; one that an earlier run left is not trained again."""
        if kind == "distilled" and seed == self.config.seed:
            path = self.data.folder / f"{self.data.name}.keras"
        else:
            path = self.students / f"{self.data.name}-{kind}-{seed}.keras"
        artifact = _kept(path, done)
        if artifact is None or done is None:
            log(f"seed {seed}, {kind}")
            artifact, done = self._train(seed, kind, path)
        if self.as_int8 is not None and "int8" not in done:
            done = {**done, "int8": self._judge_int8(self.as_int8(artifact))}
        return artifact, done

    def _train(self, seed: int, kind: str, path: Path) -> tuple[Artifact, dict[str, Any]]:
        config = dataclasses.replace(self.config, seed=seed, seeds=1, int8=False)
        if kind == "alone":
            config = dataclasses.replace(config, label_weight=1.0, feature_weight=0.0)
        model, inherited = train_student(
            self.backbone, self.spec, self.teacher, self.soft_targets, config
        )
        settings = {
            **distillation_settings(config, self.teacher), "inherited_layers": inherited
        }  # fmt: skip
        artifact = save_model(self.data, path.stem, model, self.spec, settings, folder=path.parent)
        scores = predict_probabilities(model, self._evaluation_images())
        return artifact, {
            **self._accuracy(scores), "inherited_layers": inherited, "sha256": artifact.sha256
        }  # fmt: skip

    def _judge_int8(self, artifact: Artifact) -> dict[str, Any]:
        with Classifier(artifact) as classifier:
            scores = classifier.probabilities(self._evaluation_images())
        return {
            **self._accuracy(scores), "sha256": artifact.sha256, "size_bytes": artifact.size_bytes
        }  # fmt: skip

    def _evaluation_images(self) -> UInt8Array:
        return self.data.images(self.data.evaluation, self.spec)

    def _accuracy(self, scores: Any) -> dict[str, Any]:
        """Top-1 with its interval, and which photos were right, as a text of 0 and 1."""
        evaluation = self.data.evaluation
        record = accuracy_record(scores, evaluation)
        right = scores.argmax(axis=1) == evaluation.targets
        return {
            "top1": record["top1"],
            "top1_interval_95": record["top1_interval_95"],
            "right": "".join("01"[int(each)] for each in right),
        }

    def _conditions(self) -> dict[str, Any]:
        """What two runs must share to be of one study."""
        conditions = {
            "settings": distillation_settings(self.config, self.teacher),
            "labels": self.teacher.labels,
            "image": self.spec.to_dict(),
            "data_sha256": self.data.photos.sha256,
            "evaluation_sha256": self.data.evaluation.sha256,
            "libraries": library_versions(_LIBRARIES),
        }
        plain: dict[str, Any] = json.loads(json.dumps(conditions))
        return plain

    def _record(
        self,
        conditions: dict[str, Any],
        runs: dict[str, dict[str, Any]],
        shown: list[dict[str, Any]],
        artifact: Artifact,
    ) -> dict[str, Any]:
        logits = teacher_logits(
            self.teacher,
            self.data.images(self.data.evaluation, self.teacher.spec),
        )
        record = {
            "schema": SCHEMA,
            "conditions": conditions,
            "name": self.data.name,
            "file": f"{self.data.name}.keras",
            "parameters": artifact.metadata.parameters,
            "images": len(self.data.evaluation),
            "training_images": len(self.data.photos),
            "inherited_layers": shown[0]["distilled"]["inherited_layers"],
            "teacher": {"sha256": self.teacher.sha256, **self._accuracy(logits)},
            "seeds": [run["seed"] for run in shown],
            "difference": _difference(shown),
            "int8_difference": None
            if self.as_int8 is None
            else _difference([{kind: run[kind]["int8"] for kind in KINDS} for run in shown]),
            "method": _METHOD,
            "runs": runs,
            "environment": environment(),
        }
        return {**record, "sentences": list(pages.describe(record))}


def _difference(shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What distillation gave: the differences of the seeds' pairs, and their intervals."""
    per_seed = [run["distilled"]["top1"] - run["alone"]["top1"] for run in shown]
    right = {
        kind: np.array([[int(c) for c in run[kind]["right"]] for run in shown]) for kind in KINDS
    }
    per_photo = (right["distilled"] - right["alone"]).mean(axis=0)
    return {
        "mean": float(np.mean(per_seed)),
        "per_seed": per_seed,
        "interval_95_over_seeds": list(paired_t_interval(per_seed)),
        "interval_95_over_photos": list(bootstrap_interval(per_photo.tolist())),
    }


def _kept(path: Path, done: Mapping[str, Any] | None) -> Artifact | None:
    """The student that an earlier run left; None where it is gone, or another."""
    try:
        artifact = load_artifact(path)
    except ArtifactError:
        return None
    return artifact if done is not None and done.get("sha256") == artifact.sha256 else None


def _runs_before(path: Path, conditions: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The runs in the file that were made under equal conditions; none where it cannot be read."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["schema"] == SCHEMA and before["conditions"] == conditions:
            runs: dict[str, dict[str, Any]] = before["runs"]
            return runs
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    log(f"{path} holds a study of other settings or photos: it begins anew")
    return {}
