from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edgeclf.errors import MissingDependencyError
from edgeclf.image import ImageSpec, load_image
from edgeclf.service.keys import add_key
from edgeclf.service.page_files import STATIC, PageFiles
from support.services import artifact, client, serving, shade, write

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("models")
    with client(write(folder, artifact()), ui=True) as made:
        yield made


def test_a_browser_gets_the_page_and_a_probe_what_it_always_got(http: httpx.Client) -> None:
    for accept in ("*/*", "application/json", "application/json, text/plain, */*"):
        assert http.get("/", headers={"Accept": accept}).json()["status"] == "alive"
    page = http.get("/", headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["vary"] == "accept, accept-encoding"
    assert page.headers["cache-control"] == "no-cache"


def test_without_ui_nothing_of_it_is_there(tmp_path: Path) -> None:
    with client(write(tmp_path, artifact())) as plain:
        assert plain.get("/", headers=BROWSER).json()["status"] == "alive"
        assert plain.get("/v1/models/shades/file").json()["code"] == "no_file"
        assert plain.get("/ui/anything").json()["code"] == "no_page"


def test_the_page_lets_nothing_else_in_and_is_isolated(http: httpx.Client) -> None:
    headers = http.get("/", headers=BROWSER).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert "unsafe-inline" not in policy and "'unsafe-eval'" not in policy and "http" not in policy
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_its_files_are_kept_for_ever_under_addresses_with_their_hash(http: httpx.Client) -> None:
    page = http.get("/", headers=BROWSER).text
    script = re.search(r'src="(/ui/[0-9a-f]{16}/)page/app\.js"', page)
    assert script is not None and "{{" not in page
    for name in ("page/app.js", "style.css", "core/resample.js", "engine/worker.js"):
        got = http.get(script[1] + name)
        assert got.status_code == 200 and "immutable" in got.headers["cache-control"]
        assert got.headers["cross-origin-embedder-policy"] == "require-corp"
        code = [
            line for line in (STATIC / name).read_text().splitlines() if line.endswith((";", "}"))
        ]
        assert len(code) > 5 and all(line in got.text for line in code)
    for wrong in ("index.html", "%2e%2e/web/__init__.py", ""):
        assert http.get(script[1] + wrong).json()["code"] == "no_page"


def test_another_page_has_other_addresses(tmp_path: Path) -> None:
    names = []
    for text in ("one", "two"):
        folder = tmp_path / text
        folder.mkdir()
        (folder / "index.html").write_text('<script src="{{ui}}/a.js"></script>')
        (folder / "a.js").write_text(text)
        files = PageFiles(folder)
        address = re.search(r'"(.*)"', files.index.content.decode())
        assert address is not None
        found = files.get(address[1])
        assert found is not None and found.content == text.encode()
        assert gzip.decompress(found.answer(b"gzip, br")[0]) == found.content
        names.append(address[1])
    assert names[0] != names[1]
    with pytest.raises(MissingDependencyError, match=r"edgeclf\[web\]"):
        PageFiles(tmp_path)


def test_brotli_lies_beside_and_is_sent_to_who_takes_it(tmp_path: Path) -> None:
    folder = tmp_path / "engines" / "litert-0123"
    folder.mkdir(parents=True)
    (tmp_path / "index.html").touch()
    (tmp_path / "engines" / "engines.json").write_text('{"lock": "x", "litert": {"folder": "f"}}')
    (folder / "a.wasm").write_bytes(b"whole")
    (folder / "a.wasm.br").write_bytes(b"packed")
    files = PageFiles(tmp_path)
    assert files.engines == {"litert": {"folder": "f"}}
    found = files.get("/ui/engines/litert-0123/a.wasm")
    assert found is not None and found.kind == b"application/wasm" and found.lasting
    body, headers = found.answer(b"gzip, deflate, br")
    assert body == b"packed" and (b"content-encoding", b"br") in headers
    body, headers = found.answer(b"gzip")
    assert body == b"whole" and b"content-encoding" not in dict(headers)
    listed = files.get("/ui/engines/engines.json")
    assert listed is not None and not listed.lasting
    assert files.get("/ui/engines/litert-0123/a.wasm.br") is None


def test_the_models_and_their_files_are_given_out(http: httpx.Client) -> None:
    (model,) = http.get("/v1/models").json()["models"]
    assert model["model"] == "shades" and model["current"] and model["format"] == "onnx"
    for path in ("/v1/models/shades/file", "/v1/models/shades/versions/1/file"):
        got = http.get(path)
        assert hashlib.sha256(got.content).hexdigest() == model["sha256"]
        assert len(got.content) == model["size_bytes"]
        assert got.headers["etag"] == f'"{model["sha256"]}"'
    assert http.get("/v1/models/none/file").json()["code"] == "no_model"


def test_an_answer_names_the_tensor_that_was_given_to_the_model(http: httpx.Client) -> None:
    photo = shade(128)
    expected = hashlib.sha256(load_image(photo, ImageSpec(32, 32)).tobytes()).hexdigest()
    path = "/v1/models/shades/classify"
    assert http.post(f"{path}?tensor=true", content=photo).json()["tensor_sha256"] == expected
    assert "tensor_sha256" not in http.post(path, content=photo).json()
    files = [
        ("file", ("a.jpg", photo)),
        ("file", ("b.jpg", b"none")),
        ("file", ("c.jpg", shade(20))),
    ]
    first, refused, third = http.post(f"{path}?tensor=1", files=files).json()["answers"]
    assert first["tensor_sha256"] == expected != third["tensor_sha256"]
    assert "tensor_sha256" not in refused
    assert http.post(f"{path}?tensor=maybe", content=photo).json()["code"] == "bad_option"


def test_it_names_the_tensor_where_nobody_watches_for_drift(tmp_path: Path) -> None:
    with client(write(tmp_path, artifact()), monitor=False) as http:
        answer = http.post("/classify?tensor=true", content=shade(128)).json()
    assert re.fullmatch("[0-9a-f]{64}", answer["tensor_sha256"])


def test_with_keys_the_page_is_open_and_the_models_are_not(tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    key = add_key(keys, "page", "classify", None)
    with client(write(tmp_path, artifact()), ui=True, keys=str(keys)) as http:
        page = http.get("/", headers=BROWSER)
        style = re.search(r'href="(/ui/\S+style\.css)"', page.text)
        assert style is not None and http.get(style[1]).status_code == 200
        for path in ("/v1/models", "/v1/models/shades/file"):
            assert http.get(path).json()["code"] == "no_key"
            assert http.get(path, headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_the_verb_says_where_the_page_is(tmp_path: Path) -> None:
    path = write(tmp_path, artifact())
    with serving("--ui", path, "--runtime", "fake") as running:
        page = httpx.get(running.url, headers=BROWSER)
        assert page.text.startswith("<!doctype html>")
        running.stop()
    assert any(f"the page is at {running.url}/" in line for line in running.lines), running.lines
