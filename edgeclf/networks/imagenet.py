"""A backbone with its ImageNet classes, built and sealed: what the zoo converts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeclf.artifact import Artifact, Metadata
from edgeclf.networks.builder import build_classifier, find_backbone, normalization_of
from edgeclf.networks.features import keras_features
from edgeclf.networks.imagenet_labels import imagenet_labels
from edgeclf.networks.keras_model import seal_model
from edgeclf.networks.pretrained import Pretrained
from edgeclf.networks.weights import download_weights, load_classifier_weights
from edgeclf.system.files import sha256_of


def imagenet_artifact(
    model: Pretrained, file: Path, *, published: bool, pictures: Mapping[str, Any]
) -> Artifact:
    """The ``.keras`` artifact of a published network, not yet written.

    Args:
        model: Which.
        file: Its weights, the classes' included; where it is not there, Keras fetches it.
        published: Whether those are the published ones, not the user's.
        pictures: What its conversions will be calibrated and judged on, for the record.

    Raises:
        OptionError: Keras could not fetch the file.
        ArtifactError: It holds other weights, or there are no names for the classes.
        MissingDependencyError: The package of the names is not installed.
    """
    labels = imagenet_labels()
    backbone, said = find_backbone(model.name), model.published
    if not file.is_file():
        download_weights(backbone, file, classes=True)
    network = build_classifier(backbone, len(labels), said.spec)
    load_classifier_weights(network, backbone, file)
    metadata = Metadata(
        name=model.name,
        labels=labels,
        image=said.spec,
        normalization=normalization_of(network),
        parameters=int(network.count_params()),
        training={
            "origin": {"file": file.name, "sha256": sha256_of(file), "published": published},
            "published": {"top1": said.top1, "source": said.source},
            "pictures": dict(pictures),
        },
        features=keras_features(network),
        description=(
            f"Tells ImageNet's 1,000 classes. The published top-1 is {said.top1:.1%} "
            f"({said.source}); edgeclf did not measure it."
        ),
        license=said.license,
        origin_url=said.source,
        paper=said.paper,
    )
    return seal_model(network, metadata)
