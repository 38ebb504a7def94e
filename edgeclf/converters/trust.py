"""`convert --calibrate`: what is written knows how sure it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgeclf.artifact import Artifact, Metadata
from edgeclf.converters.config import ConversionConfig
from edgeclf.converters.evaluation import Evaluation
from edgeclf.datasets.photos import Photos, find_unlabelled
from edgeclf.errors import OptionError
from edgeclf.inference.classifier import Classifier
from edgeclf.trust.calibration import calibrate_artifact, check_known, check_unknown
from edgeclf.trust.record import write_record


@dataclasses.dataclass(frozen=True)
class TrustPhotos:
    """What each artifact is calibrated on.

    Attributes:
        known: The evaluation's photos.
        unknown: Photos of anything else; None to do without.
        cache: Folder for decoded photos.
    """

    known: Photos
    unknown: Photos | None
    cache: Path

    def calibrate(self, artifact: Artifact, path: Path) -> Artifact:
        """The artifact with its member `trust`; adds to the record beside `path`.

        Raises:
            DataError: See `edgeclf.trust.calibration.calibrate_artifact`.
        """
        with Classifier(artifact) as classifier:
            calibrated, result = calibrate_artifact(
                classifier, self.known, self.unknown, cache=self.cache
            )
        write_record(path.parent, path.name, artifact.metadata, result)
        return calibrated


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
    check_known(evaluation.photos, metadata)
    unknown = None if config.unknown is None else find_unlabelled(config.unknown)
    if unknown is not None:
        check_unknown(unknown, evaluation.photos, metadata)
    return TrustPhotos(evaluation.photos, unknown, cache)
