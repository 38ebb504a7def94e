"""The Open Inference Protocol: the requests are those that its clients were seen to send."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from support.services import artifact, client, shade, write

LABELS = ("dark", "middle", "bright")
INFER = "/v2/models/shades/infer"
TRUST = {
    "temperature": {"value": 1.0, "floor": 1e-6},
    "novelty": {"score": "confidence", "threshold": 0.5},
    "sets": {"score": "plain", "penalty": 0.0, "levels": [{"coverage": 0.9, "quantiles": [0.5]}]},
}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("models")
    sure = artifact("sure", "7", trust=TRUST)
    with client(
        write(folder, artifact()), write(folder, sure), max_body_bytes=200_000, max_pictures=4
    ) as made:
        yield made


def pack(*files: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def image(data: bytes, count: int) -> dict[str, Any]:
    size = {"binary_data_size": len(data)}
    return {"name": "image", "shape": [count], "datatype": "BYTES", "parameters": size}


def infer(
    http: httpx.Client, document: dict[str, Any], rest: bytes = b"", path: str = INFER
) -> httpx.Response:
    head = json.dumps(document, separators=(",", ":")).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if rest else {}
    return http.post(path, content=head + rest, headers=headers)


def outputs_of(response: httpx.Response) -> dict[str, Any]:
    """The outputs by name, whatever way they came."""
    assert response.status_code == 200, response.text
    length = response.headers.get("inference-header-content-length")
    head, rest = response.content, b""
    if length is not None:
        head, rest = response.content[: int(length)], response.content[int(length) :]
        assert response.headers["content-type"] == "application/octet-stream"
    found = {}
    for output in json.loads(head)["outputs"]:
        values = output.get("data")
        if values is None:
            size = output["parameters"]["binary_data_size"]
            mine, rest = rest[:size], rest[size:]
            values = (
                np.frombuffer(mine, {"FP32": "<f4", "BOOL": "?"}[output["datatype"]]).tolist()
                if output["datatype"] != "BYTES" else unpack(mine)
            )  # fmt: skip
        assert len(values) == np.prod(output["shape"])
        found[output["name"]] = values
    assert rest == b""
    return found


def unpack(data: bytes) -> list[str]:
    texts = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        texts.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return texts


def error_of(response: httpx.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    document = response.json()
    assert set(document) == {"error", "code"}
    return str(document["error"])


def test_what_a_server_says_of_itself(http: httpx.Client) -> None:
    server = http.get("/v2").json()
    assert server["name"] == "edgeclf" and "binary_tensor_data" in server["extensions"]
    assert http.get("/v2/health/live").json()["live"] is True
    assert http.get("/v2/health/ready").json()["ready"] is True
    for path in ("/v2/models/shades/ready", "/v2/models/shades/versions/1/ready"):
        assert http.get(path).json() == {"name": "shades", "version": "1", "ready": True}
    assert "nix" in error_of(http.get("/v2/models/nix/ready"), 404)
    assert "'2'" in error_of(http.get("/v2/models/shades/versions/2/ready"), 404)


def test_what_a_model_says_of_itself_is_what_its_file_says(http: httpx.Client) -> None:
    model = http.get("/v2/models/shades").json()
    assert (model["name"], model["versions"]) == ("shades", ["1"])
    assert model["inputs"] == [
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, 32, 32, 3]},
    ]
    assert model["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ]
    assert model["parameters"]["labels"].splitlines() == list(LABELS)
    assert model["parameters"]["resize"] == "stretch"
    assert all(isinstance(v, str | int | float) for v in model["parameters"].values())
    sure = http.get("/v2/models/sure/versions/7").json()
    assert [output["name"] for output in sure["outputs"][2:]] == [
        "confidence", "novelty", "unknown",
    ]  # fmt: skip


def test_triton_s_client_sends_files_behind_the_json(http: httpx.Client) -> None:
    rest = pack(shade(20), shade(240))
    document = {
        "id": "a1", "inputs": [image(rest, 2)],
        "parameters": {"timeout": 5_000_000, "binary_data_output": True},
    }  # fmt: skip
    response = infer(http, document, rest)
    found = outputs_of(response)
    assert found["label"] == ["dark", "bright"] and set(found) == {"probabilities", "label"}
    assert found["probabilities"] == pytest.approx([0.9, 0.05, 0.05, 0.05, 0.05, 0.9])
    head = json.loads(response.content[: int(response.headers["inference-header-content-length"])])
    assert (head["model_name"], head["model_version"], head["id"]) == ("shades", "1", "a1")
    assert set(head["parameters"]) == {
        "sha256", "request_id", "queue_ms", "decode_ms", "preprocess_ms", "inference_ms",
    }  # fmt: skip


def test_each_output_comes_as_it_is_asked(http: httpx.Client) -> None:
    rest = pack(shade(128))
    wanted = [
        {"name": "probabilities", "parameters": {"classification": 2, "binary_data": True}},
        {"name": "label", "parameters": {"binary_data": False}},
        {"name": "unknown"},
        {"name": "confidence", "parameters": {"binary_data": True}},
    ]
    document = {"inputs": [image(rest, 1)], "outputs": wanted}
    found = outputs_of(infer(http, document, rest, "/v2/models/sure/versions/7/infer"))
    assert list(found) == ["probabilities", "label", "unknown", "confidence"]
    assert found["label"] == ["middle"] and found["unknown"] == [False]
    assert found["confidence"] == [pytest.approx(0.9)]
    first, second = (text.split(":") for text in found["probabilities"])
    assert float(first[0]) == pytest.approx(0.9) and first[1:] == ["1", "middle"]
    assert second[1:] == ["0", "dark"]


def test_kserve_s_sdk_sends_pixels_as_json_numbers(http: httpx.Client) -> None:
    data = [20] * (32 * 32 * 3) + [240] * (32 * 32 * 3)
    document = {
        "id": "9f", "model_name": "shades",
        "inputs": [{"name": "pixels", "shape": [2, 32, 32, 3], "datatype": "UINT8", "data": data}],
    }  # fmt: skip
    response = infer(http, document)
    assert outputs_of(response)["label"] == ["dark", "bright"]
    assert response.headers["content-type"] == "application/json"
    assert response.json()["id"] == "9f"


def test_files_may_come_as_base64_and_pixels_as_bytes(http: httpx.Client) -> None:
    text = base64.b64encode(shade(240)).decode()
    for shape, data in (([1], [text]), ([1, 1], [text]), ([1, 1], [[text]])):
        entry = {"name": "image", "shape": shape, "datatype": "BYTES", "data": data}
        assert outputs_of(infer(http, {"inputs": [entry]}))["label"] == ["bright"]
    rest = bytes([128]) * (32 * 32 * 3)
    entry = {
        "name": "pixels", "shape": [1, 32, 32, 3], "datatype": "UINT8",
        "parameters": {"binary_data_size": len(rest)},
    }  # fmt: skip
    assert outputs_of(infer(http, {"inputs": [entry]}, rest))["label"] == ["middle"]


def test_one_bad_picture_fails_the_request_and_is_named(http: httpx.Client) -> None:
    rest = pack(shade(20), b"nix", b"")
    assert error_of(infer(http, {"inputs": [image(rest, 3)]}, rest), 422).startswith("Picture 1 ")
    texts = [base64.b64encode(shade(20)).decode(), "%%"]
    entry = {"name": "image", "shape": [2], "datatype": "BYTES", "data": texts}
    assert "Picture 1 " in error_of(infer(http, {"inputs": [entry]}))
    entry["data"] = [texts[0], 3]
    assert "Picture 1 " in error_of(infer(http, {"inputs": [entry]}))


def with_inputs(*inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **more}


FILE = pack(shade(20))
ONE = image(FILE, 1)
PIXELS = {
    "name": "pixels", "shape": [1, 32, 32, 3], "datatype": "UINT8",
    "parameters": {"binary_data_size": len(FILE)},
}  # fmt: skip


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (with_inputs({**ONE, "name": "input-0"}), "'image' BYTES"),
        (with_inputs({**ONE, "datatype": "FP32"}), "'image' BYTES"),
        (with_inputs(ONE, {**ONE, "parameters": {"binary_data_size": 0}}), "expected one"),
        (with_inputs({**ONE, "shape": [2]}), "left"),
        (with_inputs({**ONE, "shape": [0]}), "at least one"),
        (with_inputs({**ONE, "shape": []}), "at least one"),
        (with_inputs({**ONE, "shape": [1, 2]}), "[N, 1]"),
        (with_inputs({**ONE, "parameters": {}, "data": []}), "behind the JSON"),
        (with_inputs({**PIXELS}), f"has {len(FILE)} bytes"),
        (with_inputs({**PIXELS, "shape": [1, 33, 32, 3]}), "[N, 32, 32, 3]"),
        (with_inputs({**PIXELS, "shape": [2**31 - 1] * 8}), "[N, 32, 32, 3]"),
        (with_inputs({**PIXELS, "shape": [0, 32, 32, 3]}), "at least one"),
        (with_inputs({**PIXELS, "datatype": "FP32"}), "UINT8"),
        (with_inputs(ONE, id=3), "'id'"),
        (with_inputs(ONE, parameters=[]), "'parameters'"),
        (with_inputs(ONE, parameters={"timeout": -1}), "timeout"),
        (with_inputs(ONE, parameters={"timeout": 1.5}), "timeout"),
        (with_inputs(ONE, parameters={"binary_data_output": 1}), "true or false"),
        (with_inputs(ONE, outputs={}), "'outputs'"),
        (with_inputs(ONE, outputs=[{"name": "label"}] * 17), "at most 16"),
        (with_inputs(ONE, outputs=["label"]), "no output"),
        (with_inputs(ONE, outputs=[{"name": "confidence"}]), "has probabilities, label"),
        (with_inputs(ONE, outputs=[{"name": ["label"]}]), "no output"),
        (with_inputs(ONE, outputs=[{"name": "label", "parameters": {"classification": 1}}]), "cla"),
        (
            with_inputs(
                ONE, outputs=[{"name": "probabilities", "parameters": {"classification": 0}}]
            ),
            "whole number from 1",
        ),
        (
            with_inputs(ONE, outputs=[{"name": "label", "parameters": {"binary_data": "yes"}}]),
            "true or false",
        ),
    ],
)
def test_what_is_no_request_is_refused_in_one_sentence(
    http: httpx.Client, document: dict[str, Any], says: str
) -> None:
    assert says in error_of(infer(http, document, FILE))


def test_limits_are_those_of_every_route(http: httpx.Client) -> None:
    rest = pack(*[shade(20)] * 5)
    assert "5 pictures" in error_of(infer(http, {"inputs": [image(rest, 5)]}, rest), 413)
    count = 2**31 - 1
    entry = {"name": "pixels", "shape": [5, 32, 32, 3], "datatype": "UINT8", "data": [0]}
    assert "5 pictures" in error_of(infer(http, {"inputs": [entry]}), 413)
    entry = {"name": "image", "shape": [count], "datatype": "BYTES", "data": ["AA=="]}
    assert f"{count} pictures" in error_of(infer(http, {"inputs": [entry]}), 413)
    assert "200,000" in error_of(http.post(INFER, content=b"x" * 200_001), 413)
    squeezed = http.post(INFER, content=b"x", headers={"content-encoding": "gzip"})
    assert "compressed" in error_of(squeezed, 415)
    late = with_inputs(ONE, parameters={"timeout": 1})
    assert infer(http, late, FILE).status_code in (200, 503)  # as quick as the machine is
    assert "POST" in error_of(http.get(INFER), 405)
