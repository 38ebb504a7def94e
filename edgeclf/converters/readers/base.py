"""What every reader gives, and what they share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf.converters.base import Graph
from edgeclf.converters.labels import read_labels
from edgeclf.converters.source_spec import SourceSpec
from edgeclf.errors import ConversionError, OptionError, mapped

_NUMBERS = re.compile(r"(u?int|b?float)\d+")
_SCORES = re.compile(r"b?float\d*|double|u?int(8|16)")  # integers of a quantised model
_WHOLE = 1e-3  # how far a value may be from the whole number it stands for


@dataclass(frozen=True)
class ForeignModel:
    """What a reader finds.

    Attributes:
        graph: The network in the form that the converters take.
        predict: The original, from normalised float32 in its own layout to its own scores.
        input_shape: Its own, the batch included; None where a size is open.
        parameters: How many weights it has.
        format: What it was read from.
        files: What else of it lies beside its file, such as its weights.
        softmax: Whether a softmax makes its scores; None where that is not known.
        input_range: What the bytes 0 and 255 are to its quantised input, where that is what was
            said but for rounding.
    """

    graph: Graph
    predict: Callable[[Any], Any]
    input_shape: Sequence[int | None]
    parameters: int
    format: str
    files: Sequence[Path] = ()
    softmax: bool | None = None
    input_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Output:
    """One of a model's outputs.

    Attributes:
        name: Its tensor's.
        shape: The batch included; None where a size is open.
        softmax: Whether a softmax makes it; None where that is not known.
    """

    name: str
    shape: Sequence[int | None]
    softmax: bool | None = None

    def __str__(self) -> str:
        sizes = " x ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} ({sizes or 'no tensor of known shape'})"


def choose_output(outputs: Sequence[Output], path: Path, source_spec: SourceSpec) -> Output:
    """The output that holds the scores: the only one, or the only one that fits what was said.

    Args:
        outputs: The tensors that the model answers.
        path: Of the model.
        source_spec: Its labels say how many scores there are, its `scores` whether a softmax made
            them or is still to come.

    Raises:
        ConversionError: None fits, or several do.
    """
    if len(outputs) == 1:
        return outputs[0]
    found = [output for output in outputs if fits(output, source_spec)]
    if len(found) > 1:
        found = [o for o in found if o.name == source_spec.scores] or [
            o for o in found if o.softmax is (source_spec.scores == "probabilities")
        ]
    if len(found) == 1:
        return found[0]
    classes = _classes(source_spec)
    score = "a score for each class" if classes is None else f"a score for each of {classes} labels"
    raise ConversionError(
        f"{path} has the outputs {', '.join(map(str, outputs)) or 'none'}; expected just one of "
        f"them to hold {score}, {source_spec.scores}. Export it with that one alone."
    )


def fits(output: Output, source_spec: SourceSpec) -> bool:
    """Whether an output may hold a score for each label, as far as its shape tells."""
    sizes, classes = [size for size in output.shape[1:] if size != 1], _classes(source_spec)
    return len(sizes) == 1 and (classes is None or sizes[0] in (classes, None))


def _classes(source_spec: SourceSpec) -> int | None:
    return None if source_spec.labels is None else len(read_labels(source_spec.labels))


def only_input(names: Sequence[str], path: Path) -> None:
    """Refuses a model that takes something besides an image.

    Raises:
        ConversionError: It has another number of inputs than one.
    """
    if len(names) != 1:
        raise ConversionError(
            f"{path} has {len(names)} inputs ({', '.join(names)}); an image classifier takes an "
            "image alone. Export it with the others as constants."
        )


def check_input_type(kind: str, tensor: str, path: Path) -> None:
    """Refuses a model that takes no numbers: a photo made true and false is another picture.

    Args:
        kind: The type's name, as NumPy's: ``uint8``, ``bool``.
        tensor: The input's name.
        path: Of the model.

    Raises:
        ConversionError: It takes truth values, texts or complex numbers.
    """
    if not _NUMBERS.fullmatch(kind):
        raise ConversionError(
            f"{path} takes {kind} as {tensor!r}; expected images of numbers, such as float32 or "
            "uint8. Export it with such an input."
        )


def check_output_type(kind: str, tensor: str, path: Path) -> None:
    """Refuses a model that answers the number of a label, or truth values, instead of scores.

    Args:
        kind: The type's name, as NumPy's: ``int64``, ``bool``.
        tensor: The output's name.
        path: Of the model.

    Raises:
        ConversionError: It does; one of two labels would pass as a probability.
    """
    if not _SCORES.fullmatch(kind):
        raise ConversionError(
            f"{path} answers {kind} as {tensor!r}; expected scores in a float type. Export it "
            "without what picks a label behind its scores, such as an argmax."
        )


def as_rows(scores: Any, count: int) -> Any:
    """Scores [N, classes] of what a model answered: [N, C, 1, 1], [N, 1, 1, C] or [C] for one."""
    sizes = [size for size in scores.shape[scores.shape[:1] == (count,) :] if size != 1]
    return scores.reshape(count, -1) if len(sizes) <= 1 else scores


def in_type(values: Any, dtype: Any, path: Path) -> Any:
    """Normalised float32 values in a model's own type.

    Raises:
        OptionError: It takes whole numbers, and they are others.
    """
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    limits, whole = np.iinfo(dtype), np.rint(values)
    fits = limits.min <= whole.min() and whole.max() <= limits.max
    if not fits or np.abs(values - whole).max() > _WHOLE:
        raise OptionError(
            f"{path} takes {np.dtype(dtype)}: whole numbers from {limits.min} to {limits.max}, but "
            f"the input range, mean and std make {values.min():.4g} to {values.max():.4g} of the "
            "bytes. Leave --input-range, --mean and --std out."
        )
    return whole.astype(dtype)


@contextmanager
def answering(engine: str, path: Path, tensor: str, shape: Sequence[int | None]) -> Iterator[None]:
    """Says which model an engine cannot run, and what it was given.

    Raises:
        ConversionError: Whatever the engine raises.
    """
    sizes = " x ".join(map(str, shape))
    with mapped(
        ConversionError,
        f"{engine} cannot run {path} on its input {tensor!r} of {sizes}",
        "Compare that shape with what the model was trained on: --layout says where its channels "
        "are, --input-size how large its pictures.",
    ):
        yield
