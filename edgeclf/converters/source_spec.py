"""What must be said of a model from elsewhere: labels, input range, layout, scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeclf.errors import OptionError
from edgeclf.options.declaration import Options, Range, option

if TYPE_CHECKING:
    from edgeclf.artifact import Normalization

Channels = Literal["rgb", "bgr", "grey"]

# What a label file may call its columns, and the list or map in a JSON document.
ID_COLUMNS = ("id", "index", "idx", "class_id", "class_index", "class_idx", "label_id",
              "label_index", "label_idx", "category_id")  # fmt: skip
NAME_COLUMNS = ("name", "class_name", "label_name", "category_name", "display_name", "label",
                "class", "category", "names", "labels", "classes")  # fmt: skip
LABEL_KEYS = ("id2label", "label2id", "labels", "label_names", "classes", "class_names", "names",
              "categories")  # fmt: skip
LABEL_COLUMNS = (
    f"a column of ids ({', '.join(ID_COLUMNS)}) and one of names ({', '.join(NAME_COLUMNS)})"
)
LABEL_FILE = (
    f"a CSV with {LABEL_COLUMNS}, in any order; or JSON, such as class_indices.json or config.json"
)


@dataclass(frozen=True, kw_only=True)
class SourceSpec(Options):
    """What a model from elsewhere expects and answers; its file does not say.

    Examples:
        >>> from edgeclf import SourceSpec
        >>> spec = SourceSpec(labels="labels.txt", input_range=(0, 1), mean=0.5, std=0.25)
        >>> spec.normalization()
        Normalization(mean=127.5, std=63.75)
    """

    labels: str | os.PathLike[str] | None = option(
        None,
        help=f"the file labels.txt, one name a line in the order of the output; {LABEL_FILE}",
        metavar="FILE",
    )
    input_range: tuple[float, float] = option(
        (0.0, 255.0), help="what the bytes 0 and 255 become", metavar="LOW HIGH"
    )
    mean: float | tuple[float, float, float] = option(
        0.0,
        help="subtracted then, in units of that range: one number, or one for each of RGB",
    )
    std: float | tuple[float, float, float] = option(
        1.0, help="divided by then, likewise", within=Range(above=0)
    )
    channels: Channels = option(
        "rgb",
        help="what its input takes: red first, blue first, or one channel; mean and std are those "
        "of red, green and blue all the same",
    )
    layout: Literal["nhwc", "nchw"] = option("nhwc", help="where its input has the channels")
    scores: Literal["probabilities", "logits"] = option(
        "probabilities",
        help="what it answers; logits still need a softmax, or a sigmoid where one score stands "
        "for two labels",
    )
    input_size: tuple[int, int] | None = option(
        None, help="where the model leaves it open", metavar="ROWS COLUMNS", within=Range(least=1)
    )
    check: Sequence[str] | None = option(
        None,
        help="photos with the labels that the model is known to give them: where it does not, "
        "what would change that is looked for",
        metavar="PHOTO=LABEL",
        recorded=False,
    )
    trust: bool = option(
        False,
        help="let code in the file run, such as Lambda layers, Python functions and file access: "
        "only if you know its origin",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.input_range
        if low >= high:
            raise OptionError(f"input_range is {self.input_range}; expected low < high.")
        if self.channels == "grey" and tuple in (type(self.mean), type(self.std)):
            raise OptionError(
                f"mean is {self.mean} and std is {self.std}; expected one number for each, as the "
                "model takes one channel."
            )

    def normalization(self) -> Normalization:
        """The same on raw bytes: x -> (x - mean) / std."""
        from edgeclf.artifact import Normalization  # needs NumPy

        low, high = self.input_range
        step = 255 / (high - low)
        means = self.mean if isinstance(self.mean, tuple) else (self.mean,) * 3
        stds = self.std if isinstance(self.std, tuple) else (self.std,) * 3
        mean = tuple((each - low) * step for each in means)
        std = tuple(each * step for each in stds)
        if len({*mean}) == len({*std}) == 1:
            return Normalization(mean[0], std[0])
        return Normalization(mean, std)  # type: ignore[arg-type]
