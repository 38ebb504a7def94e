"""What a run of the bird service is of, and what lies where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import edgeclf

NAME = "birds"
TARGETS = ("int8.tflite", "fp32.tflite", "int8.onnx", "fp32.onnx")
QUICK_TARGETS = ("int8.tflite", "fp32.tflite")


@dataclass(frozen=True)
class Run:
    """What lies where; `--quick` makes the same of a smaller network.

    Attributes:
        out: Folder for all of it.
        given: The user's photos, with folders ``calibration`` and ``eval``; None for drawings.
        quick: A network of a few layers, two artifacts, short measurements.
    """

    out: Path
    given: Path | None
    quick: bool

    @property
    def model(self) -> Path:
        return self.out / "model"

    @property
    def is_stand_in(self) -> bool:
        return not (self.model / "fetched.json").exists()

    @property
    def photos(self) -> Path:
        return self.given or self.out / "photos"

    @property
    def batch(self) -> Path:
        """Pictures to be asked about: those that were fetched, else drawings."""
        fetched = self.out / "pictures"
        return fetched if fetched.is_dir() else self.out / "photos" / "batch"

    def check(self) -> None:
        """Says what is missing before there is work to lose.

        Raises:
            DataError: The user's photos do not lie where they should.
        """
        for folder in ("calibration", "eval"):
            if self.given is not None and not (self.given / folder).is_dir():
                raise edgeclf.DataError(
                    f"There is no folder {self.given / folder}. Expected --photos DIR with "
                    "photos in DIR/calibration and others in DIR/eval."
                )

    @property
    def has_photos(self) -> bool:
        """Whether there are some that int8 can measure its ranges on."""
        return self.is_stand_in or self.given is not None

    @property
    def targets(self) -> tuple[str, ...]:
        wanted = QUICK_TARGETS if self.quick else TARGETS
        return wanted if self.has_photos else tuple(t for t in wanted if t.startswith("fp32"))

    @property
    def artifacts(self) -> list[Path]:
        """What the conversion wrote, the one to be served first."""
        found = [self.out / f"{NAME}.{target}" for target in self.targets]
        written = sorted(self.out.glob(f"{NAME}.*.tflite")) + sorted(
            self.out.glob(f"{NAME}.*.onnx")
        )
        return [*(p for p in found if p in written), *(p for p in written if p not in found)]

    @property
    def registry(self) -> str:
        return f"sqlite:///{self.out.resolve()}/mlflow.db"
