from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeclf.service import versions
from support.services import artifact, client, lying, shade, write


def made(number: str, mark: str = "") -> Any:
    return artifact(version=number, labels=[f"{label}-{number}{mark}" for label in ("dark", "b")])


@pytest.fixture
def http(tmp_path: Path) -> Iterator[httpx.Client]:
    root = tmp_path / "models"
    with client(write(root, made("1"), "shades/1/a.onnx"), models=str(root)) as made_:
        yield made_


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


def label(http: httpx.Client) -> Any:
    return http.post("/classify", content=shade(20)).json()["label"]


def test_the_index_says_everything(http: httpx.Client, root: Path) -> None:
    http.post("/admin/models/shades/load", content=made("2").content)
    (model,) = http.get("/admin/models").json()["models"]
    assert (model["model"], model["current"]) == ("shades", "2")
    assert model["previous"]["version"] == "1" and model["trial"] is None
    first, second = model["versions"]
    assert (first["state"], second["state"]) == ("unloaded", "ready")
    assert first["file"] == "shades/1/a.onnx" and second["file"] == "shades/2/shades.onnx"
    assert second["runtime"] == "fake" and "as certified" in second["certificate"]
    assert second["size_bytes"] == (root / second["file"]).stat().st_size
    assert str(root) not in http.get("/admin/models").text
    text = http.get("/metrics").text
    assert f'version="2"}} {second["size_bytes"]}' in text.replace(".0", "")
    assert 'state="unloaded",version="1"} 1.0' in text


def test_what_is_sent_is_stored_whole_and_answers(http: httpx.Client, root: Path) -> None:
    new = made("2")
    answer = http.post("/admin/models/shades/load", content=new.content)
    assert (answer.status_code, answer.json()["current"]) == (200, "2")
    assert (root / "shades/2/shades.onnx").read_bytes() == new.content
    assert label(http) == "dark-2"
    # The same version with other bytes replaces it in its place.
    assert http.post("/admin/models/shades/load", content=made("2", "b").content).status_code == 200
    assert label(http) == "dark-2b"
    back = http.post("/admin/models/shades/rollback").json()
    assert (back["version"], back["sha256"]) == ("2", new.sha256) and label(http) == "dark-2"


def test_a_file_of_the_folder_is_loaded_by_its_path_in_it(http: httpx.Client, root: Path) -> None:
    write(root, made("2"), "flat.onnx")
    answer = http.post("/admin/models/shades/load", json={"path": "flat.onnx"})
    assert answer.json()["version"] == "2" and label(http) == "dark-2"
    answer = http.post("/admin/models/mugs/load", json={"path": "flat.onnx"})
    assert (answer.status_code, answer.json()["code"]) == (409, "other_model")


@pytest.mark.parametrize(
    "path",
    ["../secret.onnx", "/etc/passwd", "shades/1/../../../secret.onnx", "link.onnx", "nosuch.onnx",
     "", ".", "shades/1", "a\0b", 3, None, ["x"]],
)  # fmt: skip
def test_only_what_is_in_the_folder(http: httpx.Client, root: Path, path: Any) -> None:
    secret = write(root.parent, made("3"), "secret.onnx")
    (root / "link.onnx").symlink_to(secret)
    answer = http.post("/admin/models/shades/load", json={"path": path})
    assert (answer.status_code, answer.json()["code"]) == (404, "no_file")
    assert label(http) == "dark-1"


def test_what_is_no_good_leaves_what_answers_and_no_file(http: httpx.Client, root: Path) -> None:
    before = sorted(root.rglob("*"))
    for content in (b"", b"none", made("2").content[:-3]):
        answer = http.post("/admin/models/shades/load", content=content)
        assert (answer.status_code, answer.json()["code"]) == (422, "model_refused")
    answer = http.post("/admin/models/..%2f..%2fx/load", content=made("2").content)
    assert answer.status_code in (404, 422)
    for number in "12":
        answer = http.post("/admin/models/shades/load", content=lying(made(number)).content)
        assert answer.status_code == 422 and "does not compute" in answer.json()["error"]
    assert sorted(root.rglob("*")) == before
    assert label(http) == "dark-1" and len(list(http.service.catalog)) == 1
    write(root, made("4"), "shades/4/other.onnx")
    answer = http.post("/admin/models/shades/load", content=made("4", "x").content)
    assert (answer.status_code, answer.json()["code"]) == (409, "exists")
    for body in (b"[]", b"{", b'{"version": 3}', b"[" * 60_000):
        answer = http.post("/admin/models/shades/load", content=body,
                           headers={"content-type": "application/json"})  # fmt: skip
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_json")


def test_a_full_disk_leaves_nothing_half_written(
    http: httpx.Client, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(root.rglob("*"))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    engines: list[Any] = []
    load = versions.load_engines
    monkeypatch.setattr(versions, "load_engines", lambda version, config: (
        load(version, config), engines.append(version)))  # fmt: skip
    for _ in range(2):
        answer = http.post("/admin/models/shades/load", content=made("2").content)
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert len(engines) == 2 and not any(version.engines for version in engines)
    assert sorted(root.rglob("*")) == before and label(http) == "dark-1"


def test_pin_promote_unload(http: httpx.Client, root: Path) -> None:
    http.post("/admin/models/shades/load", content=made("2").content)
    version = "/admin/models/shades/versions/1"
    assert http.post(f"{version}/pin").json()["pinned"] is True
    assert http.delete(f"{version}/pin").json()["pinned"] is False
    assert http.post(f"{version}/promote").json()["current"] == "1" and label(http) == "dark-1"
    assert http.post(f"{version}/unload").status_code == 409  # it answers
    assert http.post("/admin/models/shades/versions/2/unload").json()["state"] == "unloaded"
    answer = http.post("/admin/models/shades/load", json={"version": "2"})
    assert answer.json()["state"] == "ready" and label(http) == "dark-1"
    for place in ("promote", "unload", "pin"):
        answer = http.post(f"/admin/models/shades/versions/9/{place}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_version")
    assert http.get("/admin/models/shades/rollback").status_code == 405


def test_without_a_folder_nothing_is_stored(tmp_path: Path) -> None:
    with client(write(tmp_path, made("1"))) as http:
        for words in ({"content": made("2").content}, {"json": {"path": "x"}}):
            answer = http.post("/admin/models/shades/load", **words)
            assert (answer.status_code, answer.json()["code"]) == (409, "no_folder")


def test_a_page_of_a_web_site_changes_nothing(http: httpx.Client) -> None:
    for method, place in (("GET", ""), ("POST", "/shades/load"), ("POST", "/shades/rollback"),
                          ("POST", "/shades/versions/1/promote"),
                          ("DELETE", "/shades/versions/1/pin"),
                          ("POST", "/shades/versions/1/unload")):  # fmt: skip
        answer = http.request(method, f"/admin/models{place}", headers={"origin": "http://a.b"})
        assert answer.status_code in (401, 403), place


def test_what_is_sent_again_stays_where_it_is_or_is_stored_anew(
    http: httpx.Client, root: Path
) -> None:
    current = http.service.catalog.find()
    assert http.post("/admin/models/shades/load", content=made("1").content).status_code == 200
    assert current.artifact.path == root / "shades/1/a.onnx"
    http.service.versions.keep_in_memory(current)
    (root / "shades/1/a.onnx").unlink()
    http.post("/admin/models/shades/load", content=made("1").content)
    assert (root / "shades/1/shades.onnx").is_file() and http.service.catalog.find() is current
