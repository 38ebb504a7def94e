"""What is published of backbones that know ImageNet's 1,000 classes: whose weights, how good.

Nothing here was measured by edgeclf; each figure names who published it. The names are those of
`edgeclf.networks.builder.BACKBONES`. A network is missing here where its published classifier has
layers between the pooled features and the classes that our frame does not have (MobileNetV3,
ConvNeXt), or where nobody offers its weights in a form that is read here (Lite3 and Lite4).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeclf.image import ImageSpec

CLASSES = 1000
_LITE = "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite"
_KERAS = "https://keras.io/api/applications/"
_BORDER = 32  # pixels that EfficientNet's evaluation leaves out, of the input's size and these


@dataclass(frozen=True)
class Published:
    """A backbone with its ImageNet classes, as others published it.

    Attributes:
        input_size: Rows and columns that its accuracy was published for.
        top1: Share of the 50,000 ImageNet validation photos that it gets right, as published.
        source: Address of who says so.
        license: Of the weights, as SPDX writes it.
        paper: Address of the paper that describes the network.
        weights_file: What Keras calls its weights with the classes; None come in a pip package.
        crop_share: How much of the centre crop it was evaluated on.
    """

    input_size: int
    top1: float
    source: str
    license: str
    paper: str
    weights_file: str | None = None
    crop_share: float = 0.875

    @property
    def spec(self) -> ImageSpec:
        """How photos become its input, as in its evaluation: the centre, by a bicubic filter."""
        return ImageSpec(
            self.input_size,
            self.input_size,
            resize="crop",
            kernel="bicubic",
            crop_share=self.crop_share,
        )


def _lite(size: int, top1: float) -> Published:
    paper = "https://arxiv.org/abs/1905.11946"
    return Published(size, top1, _LITE, "Apache-2.0", paper, crop_share=size / (size + _BORDER))


def _v2(name: str, size: int, top1: float, share: float | None = None) -> Published:
    return Published(
        size, top1, _KERAS, "Apache-2.0", "https://arxiv.org/abs/2104.00298",
        f"efficientnetv2-{name}.h5", size / (size + _BORDER) if share is None else share,
    )  # fmt: skip


def _resnet(depth: int, top1: float) -> Published:
    file = f"resnet{depth}_weights_tf_dim_ordering_tf_kernels.h5"
    return Published(224, top1, _KERAS, "MIT", "https://arxiv.org/abs/1512.03385", file)


PUBLISHED = {
    "efficientnet-lite0": _lite(224, 0.751),
    "efficientnet-lite1": _lite(240, 0.767),
    "efficientnet-lite2": _lite(260, 0.776),
    "mobilenet-v2": Published(
        224, 0.713, _KERAS, "Apache-2.0", "https://arxiv.org/abs/1801.04381",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
    ),
    "efficientnet-v2-b0": _v2("b0", 224, 0.787),
    "efficientnet-v2-b1": _v2("b1", 240, 0.798),
    "efficientnet-v2-b2": _v2("b2", 260, 0.805),
    "efficientnet-v2-b3": _v2("b3", 300, 0.820),
    "efficientnet-v2-s": _v2("s", 384, 0.839, share=1.0),
    "resnet50": _resnet(50, 0.749),
    "resnet101": _resnet(101, 0.764),
    "resnet152": _resnet(152, 0.766),
    "densenet121": Published(
        224, 0.750, _KERAS, "BSD-3-Clause", "https://arxiv.org/abs/1608.06993",
        "densenet121_weights_tf_dim_ordering_tf_kernels.h5",
    ),
    "xception": Published(
        299, 0.790, _KERAS, "MIT", "https://arxiv.org/abs/1610.02357",
        "xception_weights_tf_dim_ordering_tf_kernels.h5",
    ),
    "nasnet-mobile": Published(
        224, 0.744, _KERAS, "Apache-2.0", "https://arxiv.org/abs/1707.07012", "nasnet_mobile.h5"
    ),
}  # fmt: skip
