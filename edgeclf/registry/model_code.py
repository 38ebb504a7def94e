"""The code of a registered model: MLflow keeps this file beside the artifact, and runs it.

So that it runs where only a device's edgeclf is, it imports nothing else of edgeclf.
"""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

from mlflow import models, pyfunc

from edgeclf.errors import ImageError
from edgeclf.image.formats import detect_format
from edgeclf.inference.classifier import Classifier
from edgeclf.trust.certificate import replay


class EdgeclfModel(pyfunc.PythonModel):
    """A classifier that MLflow loads, and that answers as it was certified or not at all."""

    def load_context(self, context: Any) -> None:
        """Loads the artifact, and replays its certificate here."""
        self._classifier = Classifier(context.artifacts["artifact"])
        certificate = self._classifier.artifact.metadata.certificate
        if certificate and certificate.get("images"):
            replay(self._classifier)

    # Type hints would change how MLflow hands pictures on; that there are none, it warns of.
    def predict(self, context: Any, model_input, params=None):  # type: ignore[no-untyped-def]
        """Answers pictures.

        Args:
            context: MLflow's.
            model_input: A column of files' contents as bytes: a DataFrame's first one, a list,
                or an array; text stands for base64.
            params: None are known.

        Returns:
            For each picture a dictionary with ``label``, ``probability``, ``confidence``,
            ``unknown`` and ``sha256``, the file's.
        """
        column = model_input.iloc[:, 0] if hasattr(model_input, "iloc") else model_input
        if hasattr(column, "tolist"):
            column = column.tolist()
        elif isinstance(column, dict):
            (column,) = column.values()
        contents = [picture(value, index) for index, value in enumerate(_flat(column))]
        return [self._answer(content) for content in contents]

    def _answer(self, content: bytes) -> dict[str, Any]:
        prediction = self._classifier.classify(content)
        return {
            "label": prediction.label,
            "probability": prediction.probability,
            "confidence": prediction.confidence,
            "unknown": prediction.unknown,
            "sha256": self._classifier.artifact.sha256,
        }


def picture(value: object, index: int) -> bytes:
    """A file's content; base64 of it is decoded, as MLflow hands it on as it came in ``inputs``.

    Raises:
        ImageError: It is neither.
    """
    if isinstance(value, str):
        value = value.encode("utf-8", "replace")
    if not isinstance(value, bytes | bytearray):
        raise ImageError(
            f"Picture {index} is {type(value).__name__}; expected the bytes of an image file, or "
            "base64 of them."
        )
    content = bytes(value)
    problem = _problem(content, index)
    if problem is None:
        return content
    try:
        decoded = base64.b64decode(content, validate=True)
    except binascii.Error:
        raise ImageError(f"{problem} Nor is it base64 of one.") from None
    problem = _problem(decoded, index)
    if problem is not None:
        raise ImageError(f"{problem} That is what its base64 stands for.")
    return decoded


def _problem(content: bytes, index: int) -> str | None:
    try:
        detect_format(io.BytesIO(content), f"picture {index}")
    except ImageError as exc:
        return str(exc)
    return None


def _flat(column: Any) -> list[Any]:
    """Rows of one value each as these values."""
    if isinstance(column, bytes | bytearray | str):
        return [column]
    return [row[0] if isinstance(row, list | tuple) and len(row) == 1 else row for row in column]


models.set_model(EdgeclfModel())
