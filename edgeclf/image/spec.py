"""The tensor that a model takes, and how a photo becomes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from edgeclf.errors import OptionError

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
ResizePolicy = Literal["stretch", "crop", "letterbox"]
ResizeKernel = Literal["bilinear", "bicubic", "lanczos", "box"]


@dataclass(frozen=True)
class ImageSpec:
    """How a photo becomes a tensor; part of every artifact.

    Attributes:
        height: Rows of the model's input.
        width: Columns of the model's input.
        resize: ``stretch`` ignores the aspect ratio, ``crop`` keeps the centre, ``letterbox``
            keeps everything inside grey borders.
        kernel: The resampling filter; all of them average over the source area when shrinking.
        scaled_decode: Whether JPEGs may be decoded at a reduced DCT scale.
        crop_share: How much of the longest centre that fits ``crop`` keeps, of a side; published
            ImageNet networks are evaluated on 0.875. 1 keeps all of it.

    Examples:
        >>> from edgeclf import ImageSpec
        >>> ImageSpec(96, 96, resize="crop").to_dict()["kernel"]
        'bilinear'
    """

    height: int
    width: int
    resize: ResizePolicy = "stretch"
    kernel: ResizeKernel = "bilinear"
    scaled_decode: bool = True
    crop_share: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.height <= 8192 and 0 < self.width <= 8192):
            raise OptionError(
                f"Input size is {self.height}x{self.width}; expected 1 to 8192 pixels a side."
            )
        if self.resize not in get_args(ResizePolicy):
            raise OptionError(
                f"Resize policy is {self.resize!r}; expected one of {get_args(ResizePolicy)}."
            )
        if self.kernel not in get_args(ResizeKernel):
            raise OptionError(
                f"Kernel is {self.kernel!r}; expected one of {get_args(ResizeKernel)}."
            )
        if not 0 < self.crop_share <= 1 or (self.crop_share != 1 and self.resize != "crop"):
            raise OptionError(
                f"The crop's share is {self.crop_share} with the resize policy {self.resize!r}; "
                "expected more than 0 to 1, and less than 1 only with 'crop'."
            )

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON types; without a crop's share of 1, as before there was one."""
        spec = asdict(self)
        if self.crop_share == 1:
            del spec["crop_share"]
        return spec
