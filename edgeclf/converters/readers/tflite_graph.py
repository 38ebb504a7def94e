"""What no TFLite model from elsewhere may hold, told before an engine runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.converters.flatbuffer import unpack
from edgeclf.converters.flatbuffer.tree import text
from edgeclf.errors import ConversionError, listed

# By the beginning of an operator's name: what the file is, and the way on.
_FOREIGN = {
    "edgetpu-": "it was compiled for the Edge TPU. Take the .tflite that it was compiled from",
    "ethos-u": "it was compiled for an Ethos-U. Take the .tflite that it was compiled from",
    "TFLite_Detection": "it finds objects in a picture, and is no classifier of one",
    "Flex": "they are TensorFlow's own, which LiteRT has not. Convert the SavedModel or the Keras "
    "model that it was made from, or make it with TFLITE_BUILTINS alone",
}
_UNKNOWN = "no engine here has them. Export it with TFLite's own operators alone"


def check_graph(model: bytes, path: Path) -> None:
    """Refuses several graphs, and operators that are not TFLite's.

    Args:
        model: The file.
        path: Of the file, for messages.

    Raises:
        ConversionError: It has such.
    """
    tree = unpack(model)
    if len(tree.subgraphs) != 1:
        keys = [text(each.signatureKey) for each in tree.signatureDefs or []]
        cause = f"the signatures {listed(keys)}" if len(keys) > 1 else "control flow"
        raise ConversionError(
            f"{path} has {len(tree.subgraphs)} graphs, by {cause}; expected one. Export what "
            "classifies an image alone, without loops and branches."
        )
    names = {text(code.customCode) for code in tree.operatorCodes or [] if code.customCode}
    if not names:
        return
    found = (words for begin, words in _FOREIGN.items() if any(n.startswith(begin) for n in names))
    raise ConversionError(
        f"{path} holds the operators {listed(sorted(names))}: {next(found, _UNKNOWN)}."
    )


def check_scores(answer: Mapping[str, Any], path: Path) -> None:
    """Refuses an output of integers that do not say what they stand for, as of an argmax.

    Args:
        answer: As LiteRT describes it.
        path: Of the file, for messages.

    Raises:
        ConversionError: They have no scale, or are no numbers.
    """
    kind = np.dtype(answer["dtype"])
    if kind != np.float32 and not answer["quantization"][0]:
        raise ConversionError(
            f"{path} answers {kind.name} without a scale as {answer['name']!r}; expected scores in "
            "float32, or integers that say what they stand for. Export it without what picks a "
            "label or changes the type behind its scores."
        )


def check_rank(shape: Sequence[int | None], path: Path) -> None:
    """Refuses an input that holds no images.

    Raises:
        ConversionError: It has not four sizes.
    """
    if len(shape) != 4:
        sizes = " x ".join("?" if size is None else str(size) for size in shape)
        raise ConversionError(
            f"{path} takes {sizes or 'a single number'}; expected four sizes, those of a batch of "
            "images. Export it with an input of [1, rows, columns, channels]."
        )
