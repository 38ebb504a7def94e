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


def options(photos: Path) -> None:
    """Options are checked by name and type, one by one or all at once; an error unsaid is one."""
    config = edgeclf.TrainingConfig(epochs=3, class_weights="balanced", weights=photos / "a.h5")
    edgeclf.train(photos, config)
    edgeclf.train(photos, config=config)
    edgeclf.distill("teacher.keras", photos, edgeclf.DistillationConfig(soft_targets="online"))
    source = edgeclf.SourceSpec(labels="labels.txt", input_range=(0, 1), mean=(0.4, 0.5, 0.6))
    edgeclf.convert("model.h5", to=["fp32.onnx"], source=source)

    edgeclf.train(photos, epoch=3)  # type: ignore[call-overload]
    edgeclf.train(photos, epochs="3")  # type: ignore[call-overload]
    edgeclf.train(photos, distribute="horovod")  # type: ignore[call-overload]
    edgeclf.train(photos, config, epochs=3)  # type: ignore[call-overload]
    edgeclf.train(photos, edgeclf.ConversionConfig())  # type: ignore[call-overload]
    edgeclf.train()  # type: ignore[call-overload]
    edgeclf.distill("teacher.keras")  # type: ignore[call-overload]
    edgeclf.distill("teacher.keras", photos, source="labels.txt")  # type: ignore[call-overload]
    edgeclf.convert("model.keras", tolerance="little")  # type: ignore[call-overload]
    edgeclf.TrainingConfig(epoch=3)  # type: ignore[call-arg]
    edgeclf.SourceSpec(layout="chwn")  # type: ignore[arg-type]
