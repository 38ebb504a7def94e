"""Where in a picture an answer came from, for a page that lays it over the picture."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from edgeclf.errors import ArtifactError, listed
from edgeclf.explanation.methods import Explanation, explain_picture
from edgeclf.image import ImageSource
from edgeclf.inference.classifier import Classifier
from edgeclf.inference.prediction import Prediction
from edgeclf.service.catalog import Version
from edgeclf.service.intake import Wanted
from edgeclf.service.problem import Problem

_SIDE = 64  # pixels of the map's longer side; networks see in 3 to 10 steps
_DIGITS = 4


def explains(version: Version) -> bool:
    """Whether one more pass of the model is all that a map takes."""
    try:
        head = version.artifact.features.head
    except ArtifactError:
        return False
    return head is not None and all(engine.gives_features for engine in version.engines)


def check_explainable(version: Version, wanted: Wanted) -> None:
    """Refuses a map of a class that there is not, or that takes passes nobody has asked for.

    Raises:
        Problem: 400; says what to do.
    """
    labels = version.artifact.metadata.labels
    if wanted.explain_label is not None and wanted.explain_label not in labels:
        raise Problem(
            400, "bad_option",
            f"explain_label is {wanted.explain_label!r}; the model's labels are {listed(labels)}.",
        )  # fmt: skip
    if not explains(version) and wanted.explain_passes is None:
        raise Problem(
            400, "no_explanation",
            "explain takes one more pass of a model whose file names its features and the dense "
            "layer that reads them, on a runtime that gives them; for model "
            f"{version.artifact.metadata.name!r} here it takes hundreds. Allow them, as "
            "explain_passes=256, or convert the model again, or ask 'edgeclf explain'.",
        )  # fmt: skip


def explanation_entry(
    engine: Classifier, image: ImageSource, prediction: Prediction, label: str | None = None
) -> dict[str, Any]:
    """The map of a class by one more pass, for `as_entry`'s readers.

    Args:
        engine: What answered.
        image: The picture.
        prediction: Its answer.
        label: The class; None for the most probable one.
    """
    return as_entry(explain_picture(engine, image, label, method="cam", passes=1, seed=0))


def as_entry(found: Explanation) -> dict[str, Any]:
    """A map in the upright picture's coordinates.

    Returns:
        As JSON types: ``label`` and ``probability`` of what is explained, ``method``, ``passes``;
        ``size``, width and height of the map; ``map``, a PNG in base64 with a level 0..255 for each
        place, 255 being the picture's most telling one, to be stretched over the upright picture;
        and ``seen``, the part of the picture that the model was given: left, top, right and bottom
        as shares 0..1.
    """
    height, width = found.map.shape
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    levels = Image.fromarray(np.rint(np.clip(found.map, 0, 1) * 255).astype(np.uint8))
    buffer = io.BytesIO()
    levels.resize(size, Image.Resampling.BOX).save(buffer, "PNG")
    sides = (width, height, width, height)
    return {
        "label": found.label,
        "probability": found.probability,
        "method": found.method,
        "passes": found.passes,
        "size": list(size),
        "map": base64.b64encode(buffer.getvalue()).decode(),
        "seen": [
            round(place / side, _DIGITS) for place, side in zip(found.seen, sides, strict=True)
        ],
    }
