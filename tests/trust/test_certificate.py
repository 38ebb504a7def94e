"""What a certificate refuses, shown with runtimes that answer what the test wants."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgeclf.errors import VerificationError
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
from edgeclf.trust.certificate import make_certificate, replay


def test_another_class_is_refused_though_its_probability_hardly_moved() -> None:
    artifact = fake_artifact(["dark", "bright"])
    spec = artifact.metadata.image
    images = np.full((1, spec.height, spec.width, 3), 90, np.uint8)

    def answering(first: float) -> Classifier:
        row = np.array([first, 1 - first], np.float32)
        runtime = FakeRuntime(artifact, answer=lambda given: np.tile(row, (len(given), 1)))
        return Classifier(certified, runtime=runtime)

    certified = artifact
    known = answering(0.504)
    rows = known.probabilities(images)
    certificate = make_certificate(known, lambda given: rows[: len(given)], images, (rows, rows))
    metadata = dataclasses.replace(artifact.metadata, precision="int8", certificate=certificate)
    certified = dataclasses.replace(artifact, metadata=metadata)
    assert replay(answering(0.51)).max_change == pytest.approx(0.006, abs=1e-4)
    with pytest.raises(VerificationError, match=r"1 change their class.*0\.0080"):
        replay(answering(0.496))
    with pytest.raises(VerificationError, match=r"0 change their class.*0\.0960"):
        replay(answering(0.6))
