from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from edgeclf.service.catalog import Version
from support.explained import red_classifier, with_red
from support.pictures import save
from support.services import artifact, client, shade, write


def test_what_would_take_hundreds_of_passes_is_refused(tmp_path: Path) -> None:
    with client(write(tmp_path, artifact())) as http:
        response = http.post("/classify?explain=true", content=shade(20))
        assert response.status_code == 400
        assert response.json()["code"] == "no_explanation"
        assert "edgeclf explain" in response.json()["error"]
        assert "explanation" not in http.post("/classify", content=shade(20)).json()


def test_the_map_lies_over_the_picture(tmp_path: Path) -> None:
    picture = save(with_red(60, 120, slice(0, 30), slice(90, 120)), "PNG")
    with client() as http:
        service = http.service  # type: ignore[attr-defined]
        engines = [red_classifier() for _ in range(service.config.worker_count)]
        version = Version("reds", "1", engines[0].artifact, engines, state="ready")
        service.catalog.add(version)
        service.catalog.switch(version)
        answer = http.post("/classify?explain=true", content=picture).json()
        listed = http.post(
            "/classify?explain=true", files=[("a", ("a.png", picture)), ("b", ("b.png", b"none"))]
        ).json()["answers"]
    found = answer["explanation"]
    assert (found["label"], found["method"], found["passes"]) == ("red", "cam", 1)
    assert found["label"] == answer["label"]
    assert (found["size"], found["seen"]) == ([64, 32], [0, 0, 1, 1])
    with Image.open(io.BytesIO(base64.b64decode(found["map"]))) as image:
        assert (image.mode, image.size) == ("L", (64, 32))
        levels = np.asarray(image)
    assert levels[:16, 48:].mean() > 200  # the red block
    assert levels[:, :36].max() == 0
    assert listed[0]["explanation"] == found
    assert listed[1]["code"] == "picture_refused"
