"""The service asked by Triton's own client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.services import artifact, serving, shade, write

triton: Any = pytest.importorskip("tritonclient.http", reason="needs edgeclf[clients]")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    model: Path = write(tmp_path_factory.mktemp("models"), artifact())
    with serving(model, "--runtime", "fake") as running:
        made = triton.InferenceServerClient(running.url.removeprefix("http://"))
        yield made
        made.close()


def files(*contents: bytes) -> Any:
    made = triton.InferInput("image", [len(contents)], "BYTES")
    made.set_data_from_numpy(np.array(contents, dtype=np.object_))
    return made


def test_it_finds_server_and_model(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("shades") and client.is_model_ready("shades", "1")
    assert not client.is_model_ready("nix")
    assert client.get_server_metadata()["name"] == "edgeclf"
    model = client.get_model_metadata("shades", "1")
    assert [each["name"] for each in model["inputs"]] == ["image", "pixels"]


@pytest.mark.parametrize("binary", [True, False])
def test_it_asks_files_and_pixels(client: Any, binary: bool) -> None:
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "label")
    ]
    pixels = triton.InferInput("pixels", [2, 32, 32, 3], "UINT8")
    shades = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (20, 240)])
    pixels.set_data_from_numpy(shades, binary_data=binary)
    for given in (files(shade(20), shade(240)), pixels):
        answer = client.infer("shades", [given], outputs=wanted, request_id="a1", timeout=9_000_000)
        assert answer.get_response()["id"] == "a1"
        labels = [t.decode() if binary else t for t in answer.as_numpy("label")]
        assert labels == ["dark", "bright"]
        rows = answer.as_numpy("probabilities")
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, [[0.9, 0.05, 0.05], [0.05, 0.05, 0.9]], rtol=1e-6)


def test_it_asks_for_classes_as_text(client: Any) -> None:
    best = [triton.InferRequestedOutput("probabilities", class_count=1)]
    (row,) = client.infer("shades", [files(shade(128))], outputs=best).as_numpy("probabilities")
    value, index, label = row[0].decode().split(":")
    assert (float(value), index, label) == (pytest.approx(0.9), "1", "middle")


def test_it_is_told_which_picture_is_bad(client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match="Picture 1"):
        client.infer("shades", [files(shade(20), b"nix")])


def test_it_unloads_and_loads(client: Any) -> None:
    client.unload_model("shades")
    assert not client.is_model_ready("shades")
    client.load_model("shades")
    (row,) = client.get_model_repository_index()
    assert (row["name"], row["version"], row["state"]) == ("shades", "1", "READY")
