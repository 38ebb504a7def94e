from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.services import artifact, client, shade, write


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    path = write(tmp_path_factory.mktemp("models"), artifact())
    with client(path, max_body_bytes=200_000, max_pictures=4) as made:
        yield made


def error_of(response: httpx.Response, status: int) -> tuple[str, str]:
    assert response.status_code == status, response.text
    document = response.json()
    assert set(document) == {"error", "code"}
    return document["code"], document["error"]


def test_a_photo_is_answered_by_the_file_that_is_named(http: httpx.Client) -> None:
    response = http.post("/classify", content=shade(240))
    answer = response.json()
    assert response.status_code == 200
    assert answer["label"] == "bright"
    assert [score["label"] for score in answer["top"]] == ["bright", "dark", "middle"]
    assert answer["top"][0] == {"index": 2, "label": "bright", "probability": pytest.approx(0.9)}
    (version,) = http.service.catalog  # type: ignore[attr-defined]
    assert (answer["model"], answer["version"]) == ("shades", "1")
    assert answer["sha256"] == version.artifact.sha256
    stages = {"queue_ms", "decode_ms", "preprocess_ms", "inference_ms", "total_ms"}
    assert set(answer["timing"]) == stages
    assert (
        0
        < sum(answer["timing"][name] for name in stages - {"total_ms"})
        <= (answer["timing"]["total_ms"])
    )


@pytest.mark.parametrize(
    "path", ["/v1/models/shades/classify", "/v1/models/shades/versions/1/classify"]
)
def test_a_model_and_a_version_can_be_named(http: httpx.Client, path: str) -> None:
    assert http.post(path, content=shade(20)).json()["label"] == "dark"


@pytest.mark.parametrize(
    "kind",
    [
        "image/jpeg",
        "image/png",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        None,
    ],
)
def test_the_content_says_what_a_picture_is_and_not_its_type(
    http: httpx.Client, kind: str | None
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    assert http.post("/classify", content=shade(128), headers=headers).json()["label"] == "middle"


def test_the_query_says_what_is_wanted(http: httpx.Client) -> None:
    def labels(query: str) -> list[str]:
        answer = http.post(f"/classify?{query}", content=shade(240)).json()
        return [score["label"] for score in answer["top"]]

    assert labels("top=1") == ["bright"]
    assert labels("deny=bright&deny=dark") == ["middle"]
    assert labels("allow=dark&allow=middle&top=1") == ["dark"]
    assert labels("threshold=0.5") == ["bright"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("tpo=1", "no parameter 'tpo'; expected allow"),
        ("top=0", "top is '0'; expected a whole number from 1"),
        ("top=1&top=2", "'top' is given twice"),
        ("threshold=nan", "threshold is 'nan'; expected a number from 0 to 1"),
        ("allow=cat", "no label 'cat'"),
        ("unknown=maybe", "expected one of flag, label, off"),
        ("set=0.9", "and this model's is none"),
        ("timeout_ms=0", "expected a number from 1"),
    ],
)
def test_a_wrong_query_is_named(http: httpx.Client, query: str, words: str) -> None:
    code, error = error_of(http.post(f"/classify?{query}", content=shade(240)), 400)
    assert code == "bad_option" and words in error


def test_a_form_is_answered_in_order_and_a_bad_picture_ends_nothing(http: httpx.Client) -> None:
    files = [
        ("a", ("first.jpg", shade(20))),
        ("b", ("notes.txt", b"no picture")),
        ("c", ("third.jpg", shade(240))),
    ]
    answer = http.post("/classify", files=files).json()
    assert [entry["name"] for entry in answer["answers"]] == ["first.jpg", "notes.txt", "third.jpg"]
    first, second, third = answer["answers"]
    assert (first["label"], third["label"]) == ("dark", "bright")
    assert second["code"] == "picture_refused" and "label" not in second


def as_json(*levels: int) -> dict[str, Any]:
    return {"images": [{"b64": base64.b64encode(shade(level)).decode()} for level in levels]}


def test_json_is_answered_in_order(http: httpx.Client) -> None:
    document = as_json(240, 20, 128)
    document["images"].insert(1, {"b64": "%%%"})
    document["images"][3] = {"url": "http://example.com/photo.jpg"}
    answers = http.post("/classify", json=document).json()["answers"]
    assert [entry.get("label") for entry in answers] == ["bright", None, "dark", None]
    assert "not base64" in answers[1]["error"]
    assert "'url'" in answers[3]["error"] and "not fetched" in answers[3]["error"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"", "image/jpeg", 400, "no_picture"),
        (b"no picture", "image/jpeg", 422, "picture_refused"),
        (shade(20)[:200], "image/jpeg", 422, "picture_refused"),
        (b"<html>", "text/html", 415, "media_type"),
        (b"{", "application/json", 400, "bad_json"),
        (b"[" * 9_000, "application/json", 400, "bad_json"),
        (b'{"images": []}', "application/json", 400, "bad_json"),
        (b'{"images": {"b64": ""}}', "application/json", 400, "bad_json"),
        (b"x", "multipart/form-data", 400, "bad_form"),
        (b"--a\r\n\r\ncut", "multipart/form-data; boundary=a", 400, "bad_form"),
        (b"x" * 200_001, "image/jpeg", 413, "body_too_large"),
    ],
)
def test_a_wrong_body_is_named(
    http: httpx.Client, content: bytes, kind: str, status: int, code: str
) -> None:
    response = http.post("/classify", content=content, headers={"content-type": kind})
    assert error_of(response, status)[0] == code


def test_more_pictures_than_it_takes_are_refused(http: httpx.Client) -> None:
    code, error = error_of(http.post("/classify", json=as_json(*[20] * 5)), 413)
    assert code == "too_many_pictures" and "takes 4" in error
    files = [("f", ("a.jpg", b"x"))] * 5
    assert error_of(http.post("/classify", files=files), 413)[0] == "too_many_pictures"


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/v1/models/cats/classify", 404, "no model 'cats'; served: shades"),
        ("POST", "/v1/models/shades/versions/9/classify", 404, "no version '9'; it has: 1"),
        ("GET", "/classify", 405, "expected POST"),
        ("POST", "/clasify", 404, "/classify"),
    ],
)
def test_a_wrong_address_is_named(
    http: httpx.Client, method: str, path: str, status: int, words: str
) -> None:
    assert words in error_of(http.request(method, path, content=shade(20)), status)[1]


def test_a_request_keeps_its_id_and_its_trace(http: httpx.Client) -> None:
    trace = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    headers = {"x-request-id": "mine-7", "traceparent": trace}
    response = http.post("/classify", content=shade(20), headers=headers)
    assert response.headers["x-request-id"] == response.json()["request_id"] == "mine-7"
    version, trace_id, span, flags = response.headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", "ab" * 16, "01") and span != "cd" * 8
    others = [http.post("/classify", content=shade(20)).headers["x-request-id"] for _ in range(2)]
    assert len(set(others)) == 2
    odd = http.post("/classify", content=shade(20), headers={"x-request-id": "a b"})
    assert odd.headers["x-request-id"] != "a b"


def test_two_models_have_to_be_told_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path, artifact(name)) for name in ("one", "two")]
    with client(*paths) as http:
        code, error = error_of(http.post("/classify", content=shade(20)), 404)
        assert code == "no_model" and "one, two" in error
        assert http.post("/v1/models/two/classify", content=shade(20)).json()["model"] == "two"
