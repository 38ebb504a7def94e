"""The networks of `students.py`: ours, and peers of the same job, in the frame of every classifier.

The peers follow their papers: MobileNetV3-Small (Howard et al., "Searching for MobileNetV3", 2019)
and MobileNetV2 (Sandler et al., "MobileNetV2", 2018) by Keras Applications, EfficientNet-Lite0 by
edgeclf, and the network of Lin et al., "MCUNet: Tiny Deep Learning on IoT Devices" (2020), from the
table of kernels, expansions and widths that Cai et al. published beside "Network Augmentation for
Tiny Deep Learning" (2022) as ``models/base/mcunet.py``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import keras

    from edgeclf.networks.builder import Backbone

Start = Literal["nothing", "teacher", "ImageNet"]
PEER_SIDE = 96  # what the student that is compared with takes
PRESENT, HALF, SAME = "student", "student-half", "student-same"


@dataclass(frozen=True)
class Contestant:
    """A network that is taught.

    Attributes:
        title: For the table.
        ours: Whether it is a student of edgeclf.
        start: What its weights come from before it is taught.
        side: Rows and columns of its input.
        body: Adds its convolutional part to normalised images; None for a backbone of edgeclf.
        backbone: Name of that backbone.
        keep: The share of its multiply-adds that pruning leaves once it has been taught, before it
            is taught again; None prunes nothing.
    """

    title: str
    ours: bool
    start: Start
    side: int = PEER_SIDE
    body: Callable[[keras.KerasTensor], keras.KerasTensor] | None = None
    backbone: str | None = None
    keep: float | None = None

    def build(self) -> Backbone:
        """The backbone, which imports TensorFlow."""
        from edgeclf.networks.applications import TF
        from edgeclf.networks.builder import Backbone, find_backbone

        if self.backbone is not None:
            return find_backbone(self.backbone)
        assert self.body is not None
        name = self.title.replace(" ", "-")  # TensorFlow takes no space in it
        return Backbone(name, self.body, self.side, "", TF)


def inverted_residual(
    x: keras.KerasTensor, expansion: int, kernel: int, stride: int, width: int, name: str
) -> keras.KerasTensor:
    """MobileNetV2's block with ReLU6; of expansion 1 the first one, which adds nothing up."""
    from keras import layers

    from edgeclf.networks.efficientnet_lite import conv_bn

    shortcut, channels = x, x.shape[-1]
    if expansion != 1:
        x = conv_bn(x, channels * expansion, 1, name=f"{name}_expand")
    x = layers.DepthwiseConv2D(
        kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = layers.BatchNormalization(epsilon=1e-3, momentum=0.9, name=f"{name}_depthwise_bn")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu6")(x)
    x = conv_bn(x, width, 1, activation=False, name=f"{name}_project")
    adds = expansion != 1 and x.shape == shortcut.shape
    return layers.Add(name=f"{name}_add")([shortcut, x]) if adds else x


def mobilenet(
    inputs: keras.KerasTensor, *, function: str, alpha: float, **options: Any
) -> keras.KerasTensor:
    """One of Keras's MobileNets of a width that `edgeclf backbones` does not offer."""
    import keras

    with warnings.catch_warnings():  # of an input size that no weights were published for
        warnings.simplefilter("ignore", UserWarning)
        network = getattr(keras.applications, function)(
            include_top=False, weights=None, input_tensor=inputs, alpha=alpha, **options
        )
    return with_quick_averages(network).output


def with_quick_averages(network: keras.Model) -> keras.Model:
    """A momentum with which BatchNorm's averages follow a few hundred photos, as in edgeclf."""
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    return network


# Expansions and kernels of each block; then the stage's stride and width.
MCUNET_STAGES = (
    ((3, 5, 5, 4), (7, 3, 7, 5), 2, 16),
    ((5, 5, 5), (5, 5, 5), 2, 24),
    ((5, 6, 4), (3, 7, 5), 2, 40),
    ((5, 5, 5), (5, 7, 3), 1, 48),
    ((6, 5, 4), (3, 7, 3), 2, 96),
)
MCUNET_HEAD = (5, 7, 160)  # expansion, kernel and width of the last block


def mcunet(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """MCUNet's convolutional part."""
    from edgeclf.networks.efficientnet_lite import conv_bn

    x = conv_bn(inputs, 16, 3, stride=2, name="stem")
    x = inverted_residual(x, 1, 3, 1, 8, "first")
    for number, (expansions, kernels, stride, width) in enumerate(MCUNET_STAGES):
        for index, (expansion, kernel) in enumerate(zip(expansions, kernels, strict=True)):
            step = stride if index == 0 else 1
            x = inverted_residual(x, expansion, kernel, step, width, f"stage{number}_{index}")
    expansion, kernel, width = MCUNET_HEAD
    return inverted_residual(x, expansion, kernel, 1, width, "last")


_MOBILENET_V3 = {"include_preprocessing": False}
OURS = {
    PRESENT: Contestant("student", True, "teacher", 96, backbone="student"),
    HALF: Contestant("student, 60 % pruned", True, "teacher", 80, backbone="student", keep=0.4),
    SAME: Contestant("student, 30 % pruned", True, "teacher", 104, backbone="student", keep=0.7),
}
PEERS = {
    **{
        f"mobilenet-v3-small-{alpha:g}": Contestant(
            f"MobileNetV3-Small {alpha:g}",
            False,
            "nothing",
            body=partial(mobilenet, function="MobileNetV3Small", alpha=alpha, **_MOBILENET_V3),
        )
        for alpha in (0.35, 0.5, 0.75, 1.0)
    },
    "mobilenet-v2-0.35": Contestant(
        "MobileNetV2 0.35",
        False,
        "nothing",
        body=partial(mobilenet, function="MobileNetV2", alpha=0.35),
    ),
    "mcunet": Contestant("MCUNet", False, "nothing", body=mcunet),
    "efficientnet-lite0": Contestant(
        "EfficientNet-Lite0", False, "ImageNet", backbone="efficientnet-lite0"
    ),
}
CONTESTANTS = {**OURS, **PEERS}
