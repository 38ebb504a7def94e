"""What lies where, and how much of everything there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgeclf
from edgeclf.training.stages import Stages

SPLITS = {"train": 0.6, "val": 0.2, "test": 0.2}
MODELS = ("baseline", "tuned")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        signs: Drawn of each kind.
        labels: Kinds that are drawn; None for all ten.
        unknown: Pictures of anything else.
        backbone: Of the baseline, from where the search goes on.
        weights: Where it starts, as `edgeclf train --weights` takes it.
        input_size: Rows and columns that the networks see.
        epochs: Of the baseline and of each trial.
        batch: Pictures a step.
        trials: Of the search.
        tolerance: What int8 may lose of top-1, as a share.
        load: Requests a second, and for how many seconds.
    """

    signs: int
    labels: tuple[str, ...] | None
    unknown: int
    backbone: str
    weights: str
    input_size: int
    epochs: int
    batch: int
    trials: int
    tolerance: float
    load: tuple[float, float]


WHOLE = Size(signs=150, labels=None, unknown=150, backbone="student-s", weights="none",
             input_size=48, epochs=12, batch=32, trials=6, tolerance=0.01,
             load=(100, 12))  # fmt: skip
# Seconds on two CPUs. What it trains can do next to nothing, and its limits ask for no more.
SMOKE = Size(signs=20, labels=("give-way", "limit-30", "turn-left", "turn-right"), unknown=20,
             backbone="student-xs", weights="none", input_size=32, epochs=10, batch=8, trials=2,
             tolerance=0.5, load=(50, 3))  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """One run of the project.

    Attributes:
        out: Where everything goes.
        data: The user's own folder of classes; None to draw road signs.
        groups: A regular expression: files of a class in whose names its first match is equal show
            one thing. None where every file is one of its own.
        no_mirror: Whether left and right matter.
        limits: What the model must hold.
        size: How much is done.
        seed: Decides split, weights and order.
    """

    out: Path
    data: Path | None
    groups: str | None
    no_mirror: bool
    limits: Path
    size: Size
    seed: int

    @property
    def name(self) -> str:
        """Of the data set, and of the model in registry, images and manifests."""
        return "signs" if self.data is None else self.data.resolve().name

    @property
    def photos(self) -> Path:
        return self.data or self.out / "photos"

    @property
    def unknown(self) -> Path | None:
        """Pictures of anything else; of a user's folder there are none."""
        return self.out / "unknown" if self.data is None else None

    def table(self, split: str) -> Path:
        # The folder's name becomes the models' name.
        return self.out / self.name / f"{split}.csv"

    @property
    def data_record(self) -> Path:
        return self.out / "data.json"

    def trained(self, model: str) -> Path:
        return self.out / model / f"{self.name}-teacher.keras"

    def artifact(self, model: str) -> Path:
        """What the conversion wrote; the name says int8, unless int8 lost too much."""
        folder = self.out / model
        found = sorted(folder.glob(f"{self.name}-teacher.*.tflite"))
        return found[0] if found else folder / f"{self.name}-teacher.int8.tflite"

    @property
    def choice(self) -> Path:
        return self.out / "choice.json"

    @property
    def facts(self) -> Path:
        return self.out / "facts.json"

    @property
    def verdict(self) -> Path:
        return self.out / "validation.json"

    @property
    def card(self) -> Path:
        return self.out / "model_card.md"

    @property
    def versions(self) -> Path:
        return self.out / "versions.json"

    @property
    def registry(self) -> str:
        """MLflow's database: training runs, versions and aliases."""
        return f"sqlite:///{self.out.resolve() / 'mlflow.db'}"

    @property
    def stages(self) -> Stages:
        return Stages(self.out / "stages")

    def learning(self, model: str) -> dict[str, Any]:
        """What the baseline and the search are trained with."""
        searched: dict[str, Any] = {"search": self.size.trials} if model == "tuned" else {}
        return {
            "backbone": self.size.backbone, "weights": self.size.weights,
            "input_size": self.size.input_size, "epochs": self.size.epochs,
            "batch_size": self.size.batch,
            "no_mirror": self.no_mirror, "seed": self.seed, **searched,
        }  # fmt: skip


class NotHeld(edgeclf.EdgeclfError):
    """Something was measured and is worse than its limit."""
