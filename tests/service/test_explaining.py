from __future__ import annotations

import asyncio
import base64
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeclf
from edgeclf import Classifier
from edgeclf.image import UInt8Array
from edgeclf.runtimes.fake import FakeRuntime
from edgeclf.service.asgi import Gone
from edgeclf.service.catalog import Version
from edgeclf.service.explaining import as_entry
from support.explained import red_classifier, with_red
from support.pictures import save
from support.services import artifact, client, run_in, shade, write


def test_what_would_take_hundreds_of_passes_is_refused(tmp_path: Path) -> None:
    with client(write(tmp_path, artifact())) as http:
        response = http.post("/classify?explain=true", content=shade(20))
        assert response.status_code == 400
        assert response.json()["code"] == "no_explanation"
        assert "edgeclf explain" in response.json()["error"]
        assert "explain_passes=256" in response.json()["error"]
        assert "explanation" not in http.post("/classify", content=shade(20)).json()
        (entry,) = http.get("/v1/models").json()["models"]
        assert (entry["explains"], entry["name"]) == (False, "shades")


def reds(http: Any) -> Version:
    """A version that looks for red, and says so in its features."""
    service = http.service
    engines = [red_classifier() for _ in range(service.config.worker_count)]
    version = Version("reds", "1", engines[0].artifact, engines, state="ready")
    service.catalog.add(version)
    service.catalog.switch(version)
    return version


def test_hundreds_of_passes_are_taken_where_they_are_allowed(tmp_path: Path) -> None:
    picture = save(with_red(60, 120, slice(0, 60), slice(90, 120)), "PNG")
    with client(write(tmp_path, artifact())) as http:
        address = "/classify?explain=true&explain_passes=32"
        listed = [("a", ("a.png", picture)), ("b", ("b.png", picture))]
        assert http.post(address, files=listed).json()["code"] == "bad_option"
        answer = http.post(f"{address}&explain_label=bright", content=picture).json()
        found = answer["explanation"]
        assert (found["label"], found["method"], found["passes"]) == ("bright", "rise", 32)
        with Classifier(artifact(), runtime="fake") as here:
            expected = edgeclf.explain(here, picture, label="bright", method="rise", passes=32)
        assert found["map"] == as_entry(expected)["map"]
        service = http.service  # type: ignore[attr-defined]
        service.maps._taken = True
        refused = http.post(address, content=picture)
        assert refused.status_code == 503 and refused.headers["retry-after"] == "5"
        service.maps._taken = False
        for wrong in ("15", "513", "many"):
            said = http.post(f"/classify?explain=true&explain_passes={wrong}", content=picture)
            assert said.status_code == 400


def test_a_map_stops_where_its_client_leaves_and_pictures_go_first(tmp_path: Path) -> None:
    calls: list[int] = []

    def answer(images: UInt8Array) -> Any:
        time.sleep(0.004 * len(images))
        calls.append(len(images))
        return np.full((len(images), 3), 1 / 3)

    made = artifact()
    with client(write(tmp_path, made), workers=1) as http:
        service = http.service  # type: ignore[attr-defined]
        version = service.catalog.find("shades", None)
        version.engines = [Classifier(made, runtime=FakeRuntime(made, answer=answer))]

        async def scenario() -> None:
            gone = asyncio.Event()

            async def receive() -> dict[str, str]:
                await gone.wait()
                return {"type": "http.disconnect"}

            making = asyncio.create_task(
                service.maps.explain(version, shade(20), None, 512, receive)
            )
            while len(calls) < 4:
                await asyncio.sleep(0.001)
            before = len(calls)
            for _ in range(10):  # each waits for one piece at most, of the map's 32
                deadline = time.monotonic() + 30
                await asyncio.gather(*service.pool.submit(version, [shade(20)], deadline=deadline))
            pieces = sum(count > 1 for count in calls[before:])
            assert not making.done() and pieces <= 20, calls
            assert max(calls) <= 16
            gone.set()
            with pytest.raises(Gone):
                await making
            assert sum(calls) < 512

        run_in(http, scenario())


def test_the_map_lies_over_the_picture(tmp_path: Path) -> None:
    picture = save(with_red(60, 120, slice(0, 30), slice(90, 120)), "PNG")
    with client() as http:
        reds(http)
        answer = http.post("/classify?explain=true", content=picture).json()
        other = http.post("/classify?explain=true&explain_label=other", content=picture).json()
        wrong = http.post("/classify?explain=true&explain_label=green", content=picture)
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
    assert other["label"] == "red" and other["explanation"]["label"] == "other"
    assert other["explanation"]["probability"] == pytest.approx(1 - found["probability"])
    assert other["explanation"]["map"] != found["map"]
    assert wrong.status_code == 400 and "labels are other, red" in wrong.json()["error"]
    assert listed[0]["explanation"] == found
    assert listed[1]["code"] == "picture_refused"
