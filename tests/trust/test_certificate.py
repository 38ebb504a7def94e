"""What a certificate refuses, shown with runtimes that answer what the test wants."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from edgeclf.errors import VerificationError
from edgeclf.inference.classifier import Classifier
from edgeclf.runtimes.fake import FakeRuntime, fake_artifact
from edgeclf.trust.certificate import (
    make_certificate,
    most_jpeg_bytes,
    most_png_bytes,
    replay,
)
from support import REPOSITORY


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


@pytest.mark.parametrize("side", [32, 80, 96, 160])
def test_golden_pictures_take_little_room_and_still_look_like_the_photo(side: int) -> None:
    """On a small student, they were as large as the network itself."""
    artifact = fake_artifact(["dark", "bright"])
    sized = dataclasses.replace(artifact.metadata.image, height=side, width=side)
    metadata = dataclasses.replace(artifact.metadata, image=sized, precision="int8")
    artifact = dataclasses.replace(artifact, metadata=metadata)
    with Image.open(REPOSITORY / "examples/mugs/eval/transparent/005.jpg") as photo:
        image = np.asarray(photo.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
    plain = io.BytesIO()
    Image.fromarray(image).save(plain, "PNG", optimize=True)
    assert plain.tell() > most_png_bytes(side, side), "else nothing is made smaller here"
    row = np.array([[0.9, 0.1]], np.float32)
    with Classifier(
        artifact, runtime=FakeRuntime(artifact, answer=lambda given: np.tile(row, (len(given), 1)))
    ) as classifier:
        certificate = make_certificate(
            classifier, lambda given: np.tile(row, (len(given), 1)), image[np.newaxis], (row, row)
        )
    png = base64.b64decode(certificate["images"][0]["png"])
    assert len(png) <= most_png_bytes(side, side)
    assert len(base64.b64decode(certificate["photo"]["jpeg"])) <= most_jpeg_bytes(side, side)
    with Image.open(io.BytesIO(png)) as golden:
        kept = np.asarray(golden.convert("RGB"))
    assert np.abs(kept.astype(int) - image).mean() < 8
    assert len(np.unique(kept.reshape(-1, 3), axis=0)) >= 16


@pytest.mark.parametrize(
    ("side", "png", "jpeg"),
    [(32, 2_000, 4_000), (80, 3_840, 5_760), (96, 5_530, 8_294), (224, 12_000, 12_000)],
)
def test_a_small_network_has_a_small_certificate(side: int, png: int, jpeg: int) -> None:
    assert (most_png_bytes(side, side), most_jpeg_bytes(side, side)) == (png, jpeg)
