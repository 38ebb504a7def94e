"""The same work in every server: ai-edge-litert on one thread, and Pillow's scaled decode.

What to load comes in the environment, so that each server starts as its documentation says.
"""

from __future__ import annotations

import io
import json
import os
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

MODEL, LABELS, PORT = "BENCHMARK_MODEL", "BENCHMARK_LABELS", "BENCHMARK_PORT"


class Engine:
    """Loads the model; answers the bytes of an image file. One call at a time."""

    def __init__(self) -> None:
        self._labels = json.loads(os.environ[LABELS])
        self._interpreter = Interpreter(model_path=os.environ[MODEL], num_threads=1)
        self._interpreter.allocate_tensors()
        (given,) = self._interpreter.get_input_details()
        (answer,) = self._interpreter.get_output_details()
        self._given, self._answer = given["index"], answer["index"]
        _, self._height, self._width, _ = map(int, given["shape"])

    def __call__(self, content: bytes) -> dict[str, Any]:
        with Image.open(io.BytesIO(content)) as image:
            image.draft("RGB", (2 * self._width, 2 * self._height))
            small = image.resize((self._width, self._height), Image.Resampling.BILINEAR)
        self._interpreter.set_tensor(self._given, np.asarray(small)[np.newaxis])
        self._interpreter.invoke()
        scores = self._interpreter.get_tensor(self._answer)[0]
        best = int(scores.argmax())
        return {"label": self._labels[best], "probability": float(scores[best])}
