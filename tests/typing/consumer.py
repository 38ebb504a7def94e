"""What a user's program looks like to a type checker; checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path

import edgeclf


def pipeline(photos: Path) -> str:
    teacher: edgeclf.Artifact = edgeclf.train(photos / "train", evaluation=photos / "eval")
    assert teacher.path is not None
    student = edgeclf.distill(teacher.path, photos / "train")
    assert student.path is not None
    artifacts: tuple[edgeclf.Artifact, ...] = edgeclf.convert(
        student.path, calibration=photos / "train", evaluation=photos / "eval"
    )
    with edgeclf.Classifier(artifacts[0], runtime="litert") as classifier:
        prediction: edgeclf.Prediction = classifier.classify(photos / "mug.jpg")
    best: edgeclf.Score = prediction.top(3)[0]
    milliseconds: float = prediction.timing.total_ms
    return f"{best.label} {best.probability:.1%} in {milliseconds:.1f} ms"
