"""`convert --calibrate`: what is written knows how sure it is."""

from __future__ import annotations

from pathlib import Path

from edgeclf.artifact import Artifact, Metadata
from edgeclf.converters.config import ConversionConfig
from edgeclf.converters.evaluation import Evaluation, find_any_photos
from edgeclf.datasets.photos import Photos, find_unlabelled
from edgeclf.errors import OptionError
from edgeclf.inference.classifier import Classifier
from edgeclf.trust.calibration import calibrate_artifact
from edgeclf.trust.photos import TrustPhotos
from edgeclf.trust.record import write_record


def calibrated(artifact: Artifact, photos: TrustPhotos, path: Path) -> Artifact:
    """The artifact with its member `trust`; adds to the record beside `path`.

    Raises:
        DataError: See `edgeclf.trust.calibration.calibrate_artifact`.
    """
    with Classifier(artifact) as classifier:
        found, result = calibrate_artifact(classifier, photos)
    write_record(path.parent, path.name, artifact.metadata, result)
    return found


def open_trust_photos(
    config: ConversionConfig, evaluation: Evaluation, metadata: Metadata, cache: Path
) -> TrustPhotos | None:
    """Finds and checks the photos, before anything is converted; None where none are wanted.

    Raises:
        DataError: They cannot be used.
        OptionError: There are none with labels, or only unknown ones.
    """
    if not config.calibrate:
        if config.unknown is not None:
            raise OptionError("--unknown is for --calibrate; add that, or leave it out.")
        return None
    if evaluation.photos is None or evaluation.kind != "labelled":
        raise OptionError(
            "--calibrate needs evaluation photos in one folder a class. Give them with "
            "--evaluation, or calibrate later with 'edgeclf calibrate'."
        )
    unknown = None if config.unknown is None else find_unlabelled(config.unknown)
    trained = _of_every_class(config, metadata)
    photos = TrustPhotos(evaluation.photos, unknown, trained, cache)
    photos.check(metadata)
    return photos


def _of_every_class(config: ConversionConfig, metadata: Metadata) -> Photos | None:
    """The photos that int8 measures its ranges on, if they are labelled and of all classes."""
    if config.calibration is None:
        return None
    photos = find_any_photos(config.calibration, metadata.labels, split="train")
    return photos if len(set(photos.targets.tolist())) == len(metadata.labels) else None
