"""From the name of a published network to artifacts of it, made once and found again."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf.artifact import Artifact, load_artifact, save_artifact
from edgeclf.converters import find_converter
from edgeclf.converters.base import CALIBRATED, Target
from edgeclf.converters.config import ConversionConfig
from edgeclf.converters.outputs import check_outputs, file_name
from edgeclf.converters.pipeline import ConversionResult, convert_all
from edgeclf.converters.zoo_pictures import Pictures
from edgeclf.errors import ConversionError, DataError, EdgeclfError, OptionError
from edgeclf.inference.classifier import Classifier
from edgeclf.networks.pretrained import Pretrained
from edgeclf.system.files import sha256_of
from edgeclf.system.progress import log
from edgeclf.trust.certificate import replay

FORMATS = ("tflite", "onnx")


@dataclass(frozen=True)
class Order:
    """What is wanted of one published network.

    Attributes:
        model: Which.
        targets: What it is to become.
        folder: For the results.
        pictures: What it is calibrated and judged on; None for generated pictures.
        weights: A file of the user's; None for the published one.
        tolerance: Share of the answers that may change.
    """

    model: Pretrained
    targets: tuple[Target, ...]
    folder: Path
    pictures: Pictures | None
    weights: Path | None
    tolerance: float

    def config(self, targets: Sequence[Target], pictures: Path) -> ConversionConfig:
        """What `edgeclf.convert` is asked for.

        Args:
            targets: Those that are not there yet.
            pictures: The folder of the order's pictures.
        """
        photos = self.pictures is not None
        return ConversionConfig(
            to=[str(target) for target in targets],
            out=self.folder,
            calibration=pictures / "calibration" if photos else None,
            evaluation=pictures / "evaluation" if photos else None,
            tolerance=self.tolerance,
        )

    def check(self) -> None:
        """Refuses what could not be written, or would lose a file of somebody else's.

        Raises:
            OptionError: It is; or the tolerance is none.
        """
        self.config(self.targets, Path())
        check_outputs(self.folder, self.model.name, self.targets, ConversionConfig())


def find_targets(precisions: Sequence[str], formats: Sequence[str]) -> tuple[Target, ...]:
    """Every precision in every format.

    Raises:
        OptionError: There is no such precision or format, or not both together.
    """
    targets = []
    for format_ in dict.fromkeys(formats):
        if format_ not in FORMATS:
            raise OptionError(f"There is no format {format_!r}; expected {' or '.join(FORMATS)}.")
        for precision in dict.fromkeys(precisions):
            target = Target.parse(f"{precision}.{format_}")
            known = find_converter(format_).precisions
            if target.precision not in known:
                raise OptionError(
                    f"There is no {precision} in {format_}; expected {', '.join(known)}, or "
                    "another of --formats."
                )
            targets.append(target)
    if not targets:
        raise OptionError("Precisions or formats are empty; expected one of each at least.")
    return tuple(targets)


def needs_calibration(targets: Sequence[Target]) -> bool:
    """Whether one of them cannot do without photos."""
    return any(target.precision in CALIBRATED for target in targets)


def find_made(order: Order) -> dict[Target, Artifact]:
    """The targets that an earlier run made of the same weights and pictures, verified here.

    What is there of other weights or pictures, or does not repeat its certificate, is made anew.
    """
    made = {}
    for target in order.targets:
        path = order.folder / file_name(order.model.name, target)
        if not path.is_file():
            continue
        try:
            artifact = load_artifact(path)
            reason = _other(order, artifact)
            if reason is None:
                with Classifier(artifact) as classifier:
                    replay(classifier)
        except EdgeclfError as exc:
            reason = str(exc)
        if reason is None:
            log(f"{path} is there already, and verified")
            made[target] = artifact
        else:
            log(f"{path} is made anew: {reason}")
    return made


def _other(order: Order, artifact: Artifact) -> str | None:
    """Why a file is not what was ordered."""
    origin = artifact.metadata.training or {}
    weights, pictures = origin.get("origin", {}), origin.get("pictures", {})
    if order.weights is not None and weights.get("sha256") != sha256_of(order.weights):
        return f"it is of other weights than {order.weights}"
    if order.weights is None and weights.get("published") is not True:
        return "it is of weights that were given by --weights"
    wanted = {} if order.pictures is None else order.pictures.record()
    if pictures.get("sha256") != wanted.get("sha256"):
        return f"it was made with {pictures.get('text', 'generated pictures')}"
    return None


def make(order: Order, source: Artifact, targets: Sequence[Target]) -> ConversionResult:
    """Converts a published network; each file is there as soon as it holds.

    Args:
        order: What is wanted.
        source: The network as a ``.keras`` artifact, not written.
        targets: Those of the order that are not there yet.

    Raises:
        ConversionError: It cannot be converted.
        DataError: A picture cannot be used.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if order.pictures is not None:
            order.pictures.write(folder / "calibration", folder / "evaluation")
        file = save_artifact(source, folder / f"{order.model.name}.keras").path
        if file is None:
            raise ConversionError(f"{order.model.name} could not be written to {folder}.")
        try:
            return convert_all(file, order.config(targets, folder), folder / "cache")
        except DataError as exc:
            raise DataError(_with_own_names(str(exc), folder)) from exc


def _with_own_names(message: str, folder: Path) -> str:
    """A message about links to the user's photos, as one about the photos."""
    for link in folder.glob("*/*"):
        if link.is_symlink():
            message = message.replace(str(link), str(link.readlink()))
    for half in ("calibration", "evaluation"):
        message = message.replace(str(folder / half), f"the {half} half of the photos")
    return message
