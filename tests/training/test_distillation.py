"""`edgeclf distill`: a student taught once, also where it is interrupted or goes wrong."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import edgeclf
from edgeclf.artifact import load_artifact
from edgeclf.errors import OptionError, TrainingError
from edgeclf.training.distillation_config import DistillationConfig

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.networks.builder import build_classifier, find_backbone  # noqa: E402
from edgeclf.training.distillation import fit_student  # noqa: E402
from edgeclf.training.soft_targets import SoftTargets  # noqa: E402
from support.shades import SPEC, pictures  # noqa: E402
from support.training_runs import going_wrong, interrupted, weights_of  # noqa: E402


@pytest.mark.parametrize(
    "wrong",
    [
        {"label_weight": 1.5},
        {"feature_weight": -1.0},
        {"seeds": 2},
        {"temperature": 0.5},
        {"int8": True},
        {"learning_rate": 0.0},
        {"student_size": 16},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(wrong))}.*expected"):
        edgeclf.distill("teacher.keras", "photos", **wrong)  # type: ignore[arg-type]


def test_answers_that_are_not_kept_are_refused_to_a_study() -> None:
    with pytest.raises(OptionError, match=r"seeds is 3.*expected 'offline'"):
        edgeclf.distill("teacher.keras", "photos", seeds=3, soft_targets="online")
    with pytest.raises(OptionError, match="'live'; expected offline or online"):
        edgeclf.distill("teacher.keras", "photos", soft_targets="live")


@pytest.mark.parametrize("width", [3, 8])
def test_a_student_learns_the_teachers_features(width: int) -> None:
    """With the logits of nothing, all it can learn from are the features."""
    keras.utils.set_random_seed(0)
    student = build_classifier(find_backbone("student-xs"), 2, SPEC)
    images = pictures(64)
    rng = np.random.default_rng(0)
    features = images.mean(axis=(1, 2))[:, :1] / 128 * rng.uniform(0.5, 1, (1, width))
    soft_targets = SoftTargets(
        images, np.zeros((64, 2), np.float32), np.zeros(64, np.int64), features.astype(np.float32)
    )
    before = [weights.copy() for weights in student.get_layer("head_conv").get_weights()]
    config = DistillationConfig(epochs=2, temperature=1.0, label_weight=0.0, feature_weight=1.0)
    fit_student(student, soft_targets, config)
    after = student.get_layer("head_conv").get_weights()
    assert not any(map(np.array_equal, before, after))
    assert "projection" not in [layer.name for layer in student.layers]


@pytest.mark.parametrize(("soft_targets", "feature_weight"), [("offline", 0.0), ("online", 1.0)])
def test_a_distillation_that_is_interrupted_ends_as_one_that_is_not(
    teachers: Path, shades: Path, tmp_path: Path, soft_targets: str, feature_weight: float,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def distil(out: str, seed: int = 0) -> edgeclf.Artifact:
        return edgeclf.distill(
            teachers / "swapped.keras", shades / "train", out=tmp_path / out, student="student-xs",
            soft_targets=soft_targets, feature_weight=feature_weight, views=2, epochs=3, seed=seed,
        )  # fmt: skip

    whole, other = weights_of(distil("whole")), weights_of(distil("other", seed=1))
    with interrupted(kept=1):
        distil("stopped")
    assert "the same command goes on" in capsys.readouterr().err
    assert not list((tmp_path / "stopped").glob("*.keras"))

    artifact = distil("stopped")
    assert "resuming at epoch 2 of 'student learns the answers'" in capsys.readouterr().err
    stopped = weights_of(artifact)
    assert np.abs(stopped - whole).max() < 1e-6 < np.abs(other - whole).max()
    folder = tmp_path / "stopped" / f"{artifact.metadata.name}.run"
    with (folder / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["epoch"] for line in lines] == ["1", "2", "3"]
    assert all(0 <= float(line["accuracy"]) <= 1 for line in lines)
    assert not list(folder.glob("*.npz")), "only a run that goes on needs it"


def test_a_distillation_whose_loss_is_no_number_leaves_the_last_good_weights(
    teachers: Path, shades: Path, tmp_path: Path
) -> None:
    message = r"became nan in epoch 2.*after epoch 1 of.*last-good"
    with going_wrong(), pytest.raises(TrainingError, match=message):
        edgeclf.distill(
            teachers / "swapped.keras", shades / "train", out=tmp_path, student="student-xs",
            views=1, epochs=3,
        )  # fmt: skip
    (path,) = tmp_path.glob("*.keras")
    assert path.stem.endswith("-last-good") and np.isfinite(weights_of(load_artifact(path))).all()
