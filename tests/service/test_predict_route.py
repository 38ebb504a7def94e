"""What clients of TensorFlow Serving send, and get."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.services import artifact, client, shade, write

MODEL = "/v1/models/shades"


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    path = write(tmp_path_factory.mktemp("models"), artifact())
    with client(path, max_pictures=4) as made:
        yield made


def b64(level: int) -> dict[str, str]:
    return {"b64": base64.b64encode(shade(level)).decode()}


def pixels(level: Any) -> list[Any]:
    return [[[level] * 3] * 32] * 32


DARK, BRIGHT = ([pytest.approx(p) for p in row] for row in ((0.9, 0.05, 0.05), (0.05, 0.05, 0.9)))


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"instances": [b64(20), b64(240)]}, "predictions"),
        ({"instances": [{"image_bytes": b64(20)}, {"image": b64(240)}]}, "predictions"),
        ({"signature_name": "serving_default", "instances": [pixels(20), b64(240)]}, "predictions"),
        ({"inputs": [b64(20), b64(240)]}, "outputs"),
        ({"inputs": {"image_bytes": [b64(20), pixels(240)]}}, "outputs"),
    ],
)
@pytest.mark.parametrize("place", ["", "/versions/1"])
def test_predict_answers_probabilities(
    http: httpx.Client, asked: dict[str, Any], key: str, place: str
) -> None:
    response = http.post(f"{MODEL}{place}:predict", json=asked)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer[key] == [DARK, BRIGHT]
    assert (answer["model"], answer["version"]) == ("shades", "1")
    assert answer["request_id"] == response.headers["x-request-id"]


def test_classify_answers_labels_most_probable_first(http: httpx.Client) -> None:
    examples = [{"image": b64(240)}, {"image_bytes": b64(20)}, b64(128)]
    response = http.post(f"{MODEL}:classify", json={"examples": examples})
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [row[0] for row in results] == [
        [label, pytest.approx(0.9)] for label in ("bright", "dark", "middle")
    ]
    assert [label for label, _ in results[0]] == ["bright", "dark", "middle"]


@pytest.mark.parametrize(
    ("path", "asked", "status", "says"),
    [
        (":predict", [], 400, "instances"),
        (":predict", {}, 400, "one of 'instances' and 'inputs'"),
        (":predict", {"instances": [b64(20)], "inputs": [b64(20)]}, 400, "one of"),
        (":predict", {"instances": []}, 400, "a list"),
        (":predict", {"inputs": {"x": [b64(20)]}}, 400, "a list"),
        (":predict", {"instances": [b64(20), "AAAA"]}, 400, "Picture 1"),
        (":predict", {"instances": [{"url": "http://example.org"}]}, 400, "not fetched"),
        (":predict", {"instances": [{"b64": 3}]}, 400, "Picture 0"),
        (":predict", {"instances": [b64(20), {"b64": "%"}]}, 400, "Picture 1"),
        (":predict", {"instances": [b64(20), {"b64": "AAAA"}]}, 422, "Picture 1"),
        (":predict", {"instances": [pixels(0.5)]}, 400, "holds a float"),
        (":predict", {"instances": [pixels(256)]}, 400, "above 255"),
        (":predict", {"instances": [pixels(9)[1:]]}, 400, "[32, 32, 3]"),
        (":predict", {"instances": [b64(20)] * 5}, 413, "5 pictures"),
        (":classify", {"examples": {}}, 400, "'examples'"),
        (":classify", {"instances": [b64(20)]}, 400, "'examples'"),
        (":classify", {"examples": [{"x": b64(20)}]}, 400, "Picture 0"),
        ("/versions/2:predict", {"instances": [b64(20)]}, 404, "version '2'"),
        (":regress", {"examples": [b64(20)]}, 405, "GET"),
    ],
)
def test_what_is_no_request_is_refused_in_one_sentence(
    http: httpx.Client, path: str, asked: Any, status: int, says: str
) -> None:
    response = http.post(MODEL + path, json=asked)
    assert response.status_code == status, response.text
    assert says in response.json()["error"] and len(response.text) < 500


def test_a_model_says_its_state_and_signature(http: httpx.Client) -> None:
    for path in (MODEL, f"{MODEL}/versions/1"):
        (version,) = http.get(path).json()["model_version_status"]
        assert (version["version"], version["state"]) == ("1", "AVAILABLE")
        assert version["status"] == {"error_code": "OK", "error_message": ""}
    assert http.get(f"{MODEL}/versions/2").status_code == 404
    assert http.get("/v1/models/nix").status_code == 404
    document = http.get(f"{MODEL}/metadata").json()
    assert document["model_spec"] == {"name": "shades", "signature_name": "", "version": "1"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    dimensions = signature["outputs"]["probabilities"]["tensor_shape"]["dim"]
    assert [dimension["size"] for dimension in dimensions] == ["-1", "3"]
    assert document["metadata"]["labels"] == ["dark", "middle", "bright"]
    assert http.get("/").json()["status"] == "alive"  # where KServe's older clients look
