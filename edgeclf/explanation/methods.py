"""An answer's map: by which method, in the coordinates of the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from edgeclf.artifact import Features
from edgeclf.errors import OptionError, listed
from edgeclf.explanation import perturbation
from edgeclf.explanation.cam import class_activation, enlarged
from edgeclf.image import ImageSource, ImageSpec, UInt8Array, decode_image, resize_image
from edgeclf.image.resizing import placement
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.base import Float32Array

if TYPE_CHECKING:
    from PIL import Image

Method = Literal["cam", "score-cam", "rise"]
_FEWEST_PASSES = 16


@dataclass(frozen=True)
class Explanation:
    """Where in a picture the answer came from.

    Attributes:
        map: float32 [h, w], 0..1, relative to the picture's most telling place. The picture is the
            upright one before it was resized; a large JPEG may have been decoded at a half, a
            quarter or an eighth. Zero also where the model did not look: see `seen`.
        label: The class that is explained.
        probability: The model's for it, 0..1.
        method: ``cam``, ``score-cam`` or ``rise``.
        passes: How many images the model was given for it.
        seen: The part of the picture that the model was given, (left, top, right, bottom) in
            columns and rows of the map; with the resize policy ``crop`` it is not all.

    Examples:
        >>> import edgeclf, numpy as np
        >>> from edgeclf.runtimes.fake import fake_artifact
        >>> with edgeclf.Classifier(fake_artifact(["dark", "bright"]), runtime="fake") as fake:
        ...     found = edgeclf.explain(fake, np.zeros((48, 64, 3), np.uint8))
        >>> found.label, found.method, found.passes, found.map.shape
        ('dark', 'rise', 512, (48, 64))
    """

    map: Float32Array = field(repr=False, compare=False)
    label: str
    probability: float
    method: Method
    passes: int
    seen: tuple[float, float, float, float]

    def overlay(self, image: ImageSource) -> Image.Image:
        """The picture, and beside it the same under the map, with contour and legend.

        Args:
            image: The picture that was explained.
        """
        from edgeclf.explanation.overlay import draw_overlay

        return draw_overlay(image, self)


@dataclass(frozen=True)
class InputMap:
    """A map in the coordinates of the model's input.

    Attributes:
        grid: float32 [h, w], 0..1; it covers the whole input, in steps of any size.
        target: The class's position in the model's output.
        probability: The model's for it.
        method: As in `Explanation`.
        passes: Likewise.
    """

    grid: Float32Array
    target: int
    probability: float
    method: Method
    passes: int


def explain_picture(
    classifier: Classifier,
    image: ImageSource,
    label: str | None,
    *,
    method: Method | None,
    passes: int,
    seed: int,
) -> Explanation:
    """See `edgeclf.explain`, which has the defaults and also takes a file."""
    labels, spec = classifier.labels, classifier.artifact.metadata.image
    if label is not None and label not in labels:
        raise OptionError(
            f"The model has no label {label!r}; it has {len(labels)}: {listed(labels)}."
        )
    picture = decode_image(image, spec)
    target = None if label is None else labels.index(label)
    found = explain_input(
        classifier, resize_image(picture, spec), target, method=method, passes=passes, seed=seed
    )
    seen, _ = placement(picture.size, spec)
    return Explanation(
        in_picture(found.grid, picture.size, spec), labels[found.target], found.probability,
        found.method, found.passes, seen,
    )  # fmt: skip


def explain_input(
    classifier: Classifier,
    tensor: UInt8Array,
    target: int | None,
    *,
    method: Method | None,
    passes: int,
    seed: int,
) -> InputMap:
    """The map of one picture that already has the model's size.

    Args:
        classifier: The model.
        tensor: uint8 [H, W, 3].
        target: The class's position; None for the most probable one.
        method: None for the best that the file has all for.
        passes: How many images may be run at most where one is not enough.
        seed: Of RISE's masks.

    Raises:
        OptionError: The file lacks what the method needs, or there are too few passes for it.
        ArtifactError: What the file says of its features cannot be read, or is not in its graph.
        RuntimeLoadError: The file has features, and the runtime cannot give them.
    """
    method, features = _method(classifier, method, passes)
    images = tensor[np.newaxis]
    if features is None:
        probabilities, found = classifier.probabilities(images)[0], None
    else:
        (probabilities,), (found,) = classifier.features(images)
    chosen = int(probabilities.argmax()) if target is None else target

    def answer(grid: Float32Array, run: int) -> InputMap:
        return InputMap(grid, chosen, float(probabilities[chosen]), method, run)

    def score(pictures: UInt8Array) -> Float32Array:
        return classifier.probabilities(pictures)[:, chosen]

    if method == "cam" and found is not None and features is not None:
        assert features.head is not None  # see _method
        return answer(class_activation(found, features.head[:, chosen]), 1)
    mean = classifier.artifact.metadata.normalization.means
    hidden = np.broadcast_to(np.clip(mean, 0, 255), 3).astype(np.float32)
    if method == "score-cam" and found is not None:
        grid, run = perturbation.score_cam(score, tensor, found, hidden, passes - 1)
        return answer(grid, run + 1)
    return answer(perturbation.rise(score, tensor, hidden, passes - 1, seed), passes)


def _method(
    classifier: Classifier, method: Method | None, passes: int
) -> tuple[Method, Features | None]:
    """What to do, and what the file says of its features where that takes them."""
    metadata = classifier.artifact.metadata
    if method is not None and method not in get_args(Method):
        raise OptionError(f"Method is {method!r}; expected one of {get_args(Method)}, or None.")
    if method != "cam" and passes < _FEWEST_PASSES:
        raise OptionError(f"{passes} passes make no map; expected at least {_FEWEST_PASSES}.")
    if method == "rise" or (method is None and metadata.features is None):
        return "rise", None
    features = classifier.artifact.features
    if method == "cam" and features.head is None:
        raise OptionError(
            f"The file of {metadata.name} has no dense layer that reads the mean of its features, "
            "so there is no class activation map. Use the method score-cam or rise."
        )
    return method or ("score-cam" if features.head is None else "cam"), features


def in_picture(grid: Float32Array, size: tuple[int, int], spec: ImageSpec) -> Float32Array:
    """A map of the model's input as one of the picture that the input was made of.

    Args:
        grid: float32 [h, w], over the whole input.
        size: The upright picture's, (width, height).
        spec: How the input was made.

    Returns:
        float32 [height, width]; zero where the input shows nothing of the picture.
    """
    (left, top, right, bottom), inside = placement(size, spec)
    across, down = grid.shape[1] / spec.width, grid.shape[0] / spec.height
    part = (inside[0] * across, inside[1] * down, inside[2] * across, inside[3] * down)
    if spec.resize != "crop":
        return enlarged(grid, size, part)
    first, last = (round(left), round(top)), (round(right), round(bottom))
    whole = np.zeros(size[::-1], np.float32)
    fitted = enlarged(grid, (max(1, last[0] - first[0]), max(1, last[1] - first[1])), part)
    rows, columns = fitted.shape
    whole[first[1] : first[1] + rows, first[0] : first[0] + columns] = fitted
    return whole
