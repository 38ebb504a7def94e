"""Whether a model from elsewhere was told right: by photos whose labels are known.

Source and artifact are asked alike, so that a wrong range, layout or order of channels shows in
neither's answer to the other. A photo with a known label shows it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeclf.artifact import Metadata
from edgeclf.converters.channels import from_rgb
from edgeclf.converters.evaluation import generated_pictures, in_parts
from edgeclf.converters.scores import Head
from edgeclf.converters.source_spec import Channels, SourceSpec
from edgeclf.errors import OptionError
from edgeclf.image import ImageSpec, UInt8Array, load_image
from edgeclf.runtimes.base import Float32Array
from edgeclf.system.progress import log

Predict: TypeAlias = Callable[[Any], Any]

_PROBES = 8
# What models are usually trained on: torchvision's, and Caffe's of the networks Keras calls so.
_IMAGENET = {"input_range": (0.0, 1.0), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_CAFFE = {"input_range": (0.0, 255.0), "mean": (123.68, 116.779, 103.939), "std": 1.0}
_RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5))


def probe_pictures(spec: ImageSpec) -> UInt8Array:
    """Pictures of all sorts, black and white ones among them: uint8 [N, H, W, 3]."""
    flat = np.zeros((2, spec.height, spec.width, 3), np.uint8)
    flat[1] = 255
    return np.concatenate([flat, generated_pictures(spec, _PROBES)])


def scores_of(predict: Predict, images: UInt8Array, source_spec: SourceSpec) -> Float32Array:
    """A model's own scores for uint8 RGB [N, H, W, 3], given to it as it was said to expect them.

    Args:
        predict: From normalised float32 in the model's own layout to its scores.
        images: uint8 [N, H, W, 3].
        source_spec: What it expects.

    Returns:
        float32 [N, scores].
    """
    scheme = source_spec.normalization()
    rows = []
    for part in in_parts(images):
        values = from_rgb(scheme.apply(part), source_spec.channels)
        if source_spec.layout == "nchw":
            values = values.transpose(0, 3, 1, 2)
        rows.append(np.asarray(predict(np.ascontiguousarray(values)), np.float32))
    return np.concatenate(rows)


def check_known_answers(
    file: Path, metadata: Metadata, predict: Predict, head: Head, source_spec: SourceSpec
) -> None:
    """Compares a model's answers to photos with what they are known to be.

    Args:
        file: The model, for messages.
        metadata: Its labels and its input size.
        predict: As for `scores_of`.
        head: What makes probabilities of its scores.
        source_spec: What it is said to expect, and in `check` the photos.

    Raises:
        OptionError: It answers another label. The message names what would change that, if one of
            the usual conventions does.
        ImageError: A photo cannot be read.
    """
    paths, targets = _known(source_spec.check or (), metadata.labels)
    images = np.stack([load_image(path, metadata.image) for path in paths])

    def probabilities(spec: SourceSpec) -> Float32Array:
        return head.apply(scores_of(predict, images, spec))

    found = probabilities(source_spec)
    wrong = np.flatnonzero(found.argmax(axis=1) != targets)
    for path, row in zip(paths, found, strict=True):
        log(f"  {path}: {metadata.labels[row.argmax()]} ({row.max():.3f})")
    if not len(wrong):
        return
    index = int(wrong[0])
    answered = int(found[index].argmax())
    fixes = {}
    for spec in _alternatives(source_spec):
        rows = probabilities(spec)
        plain = _flags(dataclasses.replace(spec, channels=source_spec.channels), source_spec)
        if plain not in fixes and (rows.argmax(axis=1) == targets).all():
            fixes[_flags(spec, source_spec)] = float(rows[np.arange(len(rows)), targets].min())
    raise OptionError(
        f"{file} answers {metadata.labels[answered]!r} ({found[index, answered]:.3f}) to "
        f"{paths[index]}, not {metadata.labels[targets[index]]!r}. {_advice(fixes, len(paths))}"
    )


def _known(check: Sequence[str], labels: Sequence[str]) -> tuple[list[Path], npt.NDArray[np.int64]]:
    paths, targets = [], []
    for text in check:
        photo, equals, label = text.rpartition("=")
        if not equals or not photo:
            raise OptionError(f"check is {text!r}; expected PHOTO=LABEL, as cat.jpg=cat.")
        if label not in labels:
            raise OptionError(
                f"check names the label {label!r}, which is not among the {len(labels)} of the "
                f"model: {', '.join(labels[:3])}{', ...' if len(labels) > 3 else ''}."
            )
        paths.append(Path(photo))
        targets.append(labels.index(label))
    return paths, np.array(targets, np.int64)


def _alternatives(source_spec: SourceSpec) -> Iterator[SourceSpec]:
    """The usual conventions, those first that change least of what was said."""
    orders: list[Channels] = ["grey"] if source_spec.channels == "grey" else ["rgb", "bgr"]
    orders.sort(key=lambda order: order != source_spec.channels)
    said = {name: getattr(source_spec, name) for name in ("input_range", "mean", "std")}
    turned = {name: value[::-1] if name != "input_range" and isinstance(value, tuple) else value
              for name, value in said.items()}  # fmt: skip
    schemes: list[dict[str, Any]] = [
        said, turned, *({"input_range": span, "mean": 0.0, "std": 1.0} for span in _RANGES)
    ]  # fmt: skip
    if source_spec.channels != "grey":
        schemes += [_IMAGENET, _CAFFE]
    seen = [source_spec]
    for scheme in schemes:
        for order in orders:
            spec = dataclasses.replace(source_spec, channels=order, **scheme)
            if spec not in seen:
                seen.append(spec)
                yield spec


def _flags(spec: SourceSpec, said: SourceSpec) -> str:
    flags = []
    for name in ("channels", "input_range", "mean", "std"):
        value = getattr(spec, name)
        if value != getattr(said, name):
            numbers = value if isinstance(value, tuple) else (value,)
            words = " ".join(f"{n:g}" if isinstance(n, float) else str(n) for n in numbers)
            flags.append(f"--{name.replace('_', '-')} {words}")
    return " ".join(flags)


def _advice(fixes: dict[str, float], photos: int) -> str:
    if not fixes:
        return (
            "None of the usual ranges and orders of channels gives the label; check the order of "
            "--labels, and that the model knows this kind of photo."
        )
    best, *others = sorted(fixes, key=lambda flags: -fixes[flags])
    right = "that label" if photos == 1 else f"the right labels of all {photos} photos"
    advice = f"With {best} it gives {right} ({fixes[best]:.3f})"
    if not others:
        return f"{advice}."
    return f"{advice}; so it does with {' or '.join(others[:2])}, and more photos would tell."
