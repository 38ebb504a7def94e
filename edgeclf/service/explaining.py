"""Where in a picture an answer came from, for a page that lays it over the picture."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from edgeclf.artifact import Features
from edgeclf.errors import ArtifactError
from edgeclf.explanation.methods import explain_picture
from edgeclf.image import ImageSource
from edgeclf.inference.classifier import Classifier
from edgeclf.inference.prediction import Prediction
from edgeclf.service.catalog import Version
from edgeclf.service.problem import Problem

_SIDE = 64  # pixels of the map's longer side; networks see in 3 to 10 steps
_DIGITS = 4


def check_explainable(version: Version) -> None:
    """Refuses what would take more than one more pass of the model.

    Raises:
        Problem: 400; says what to do.
    """
    metadata = version.artifact.metadata
    try:
        one_pass = version.artifact.features.head is not None
    except ArtifactError:
        one_pass = False
    if not one_pass or not all(engine.gives_features for engine in version.engines):
        raise Problem(
            400, "no_explanation",
            "explain takes one more pass of a model whose file names its features and the dense "
            "layer that reads them, on a runtime that gives them; for model "
            f"{metadata.name!r} here it would take hundreds. Convert the model again, or ask "
            "'edgeclf explain', which has the time.",
        )  # fmt: skip


def explanation_entry(
    engine: Classifier, image: ImageSource, prediction: Prediction
) -> dict[str, Any]:
    """The map of the most probable class, in the upright picture's coordinates.

    Args:
        engine: What answered.
        image: The picture.
        prediction: Its answer.

    Returns:
        As JSON types: ``label`` and ``probability`` of what is explained, ``method``, ``passes``;
        ``size``, width and height of the map; ``map``, a PNG in base64 with a level 0..255 for each
        place, 255 being the picture's most telling one, to be stretched over the upright picture;
        and ``seen``, the part of the picture that the model was given: left, top, right and bottom
        as shares 0..1.
    """
    found = explain_picture(engine, image, None, method="cam", passes=1, seed=0)
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
