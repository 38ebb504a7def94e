from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from edgeclf.service import docs_routes
from edgeclf.service.keys import add_key
from support import browser
from support.services import artifact, client, serving, shade, write


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("models")
    with client(write(folder, artifact()), write(folder, artifact("tones", "7"))) as made:
        yield made


def document(http: httpx.Client) -> dict[str, Any]:
    response = http.get("/openapi.json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


def test_the_start_answers_a_probe_that_knows_no_path(http: httpx.Client) -> None:
    response = http.get("/")
    assert response.status_code == 200
    links = response.json()["links"]
    for name in ("docs", "openapi", "live", "ready", "metrics"):
        assert http.get(links[name]).status_code == 200, name


def test_the_document_is_valid_openapi(http: httpx.Client) -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="needs edgeclf[test]")
    validator.validate(document(http), cls=validator.OpenAPIV31SpecValidator)


def test_the_document_has_every_route_with_a_text(http: httpx.Client) -> None:
    paths = document(http)["paths"]
    for path in ("/classify", "/v1/models/{model}/versions/{version}/classify", "/healthz/live",
                 "/metrics", "/", "/docs", "/openapi.json"):  # fmt: skip
        assert path in paths
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["summary"].endswith((".", ":")), (path, method)
            assert f" {path}" not in f" {operation['summary']}", "said twice"
    ids = [each["operationId"] for operations in paths.values() for each in operations.values()]
    assert len(ids) == len(set(ids))


def test_the_document_says_what_the_files_say(http: httpx.Client) -> None:
    found = document(http)
    assert found["info"]["title"] == "edgeclf: shades, tones"
    assert found["components"]["schemas"]["Label"]["enum"] == ["dark", "middle", "bright"]
    shades, tones = found["x-edgeclf-models"]
    assert (shades["model"], shades["version"], shades["current"]) == ("shades", "1", True)
    assert (tones["version"], tones["input"], tones["classes"]) == ("7", [32, 32], 3)
    assert "certified" in shades["certificate"]
    (version,) = http.service.catalog.models["shades"].versions.values()  # type: ignore[attr-defined]
    assert shades["sha256"] == version.sha256


def test_the_example_of_the_document_is_answered_as_it_says(http: httpx.Client) -> None:
    found = document(http)
    asked, said = (found["components"]["examples"][name] for name in ("photo", "answer"))
    assert "#/components/examples/photo" in str(found["paths"]["/classify"])
    answer = http.post("/v1/models/shades/classify", json=asked["value"]).json()["answers"][0]
    assert answer["label"] == said["value"]["label"]
    photo = base64.b64decode(asked["value"]["images"][0]["b64"])
    assert http.get("/v1/models/shades/example").content == photo
    alone = http.post("/v1/models/shades/classify", content=photo).json()
    for got, certified in zip(alone["top"], said["value"]["top"], strict=True):
        assert got["label"] == certified["label"]
        assert got["probability"] == pytest.approx(certified["probability"], abs=1e-3)


def test_answers_have_the_form_that_the_document_gives(http: httpx.Client) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs edgeclf[test]")
    found = document(http)
    path = "/v1/models/shades/classify"

    def check(name: str, answer: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": found["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer)

    check("Answer", http.post(path, content=shade(20)).json())
    files = [("file", ("a.jpg", shade(20))), ("file", ("b.jpg", b"none"))]
    check("Answers", http.post(path, files=files).json())
    check("Error", http.post(path, content=b"none").json())
    with pytest.raises(jsonschema.ValidationError):
        check("Answer", {"label": "dark"})


def test_what_no_model_has_is_refused(http: httpx.Client) -> None:
    assert http.get("/v1/models/none/example").json()["code"] == "no_model"


def test_without_models_there_is_a_document_all_the_same() -> None:
    with client() as http:
        found = document(http)
    assert found["x-edgeclf-models"] == []
    assert "enum" not in found["components"]["schemas"]["Label"]


def test_the_page_brings_all_it_needs_and_lets_nothing_else_in(http: httpx.Client) -> None:
    page = http.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for path in ("/docs/docs.css", "/docs/docs.js"):
        assert path in page.text
        assert http.get(path).status_code == 200
    pages = Path(docs_routes.__file__).parent / "pages"
    for file in pages.iterdir():
        assert not re.search(r"https?:|[\"'(]//", file.read_text()), f"{file.name} names an address"


def test_where_there_are_keys_the_page_is_shown_and_nothing_of_the_models(tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    key = add_key(keys, "page", "classify", None)
    with client(write(tmp_path, artifact()), keys=str(keys)) as http:
        for path in ("/", "/docs", "/docs/docs.css", "/docs/docs.js"):
            assert http.get(path).status_code == 200, path
            assert "shades" not in http.get(path).text
        for path in ("/openapi.json", "/v1/models/shades/example"):
            assert http.get(path).json()["code"] == "no_key"
            assert http.get(path, headers={"X-API-Key": key}).status_code == 200


@pytest.mark.skipif(browser.CHROMIUM is None, reason="needs a Chromium")
def test_the_page_shows_the_models_in_a_browser(tmp_path: Path) -> None:
    path = write(tmp_path, artifact())
    with serving("--runtime", "fake", path) as running:
        dom = browser.run(
            tmp_path, "--virtual-time-budget=5000", "--dump-dom", f"{running.url}/docs"
        )
        shot = tmp_path / "page.png"
        browser.run(tmp_path, "--virtual-time-budget=5000", f"--screenshot={shot}",
                    "--window-size=800,900", f"{running.url}/docs")  # fmt: skip
    assert '<h1 id="title">edgeclf: shades</h1>' in dom
    assert "dark, middle, bright" in dom
    assert f"{running.url}/classify?top=3" in dom
    with Image.open(shot) as image:
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20  # not a blank page
