"""The repository of the Open Inference Protocol: the index, and who may load and unload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeclf.service.keys import require_admin
from edgeclf.service.problem import Problem
from support.services import artifact, client, shade, write

PLACE = "/v2/repository/models/shades"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path, artifact())


@pytest.fixture
def http(model: Path) -> Iterator[httpx.Client]:
    with client(model) as made:
        yield made


def index(http: httpx.Client, **asked: Any) -> list[tuple[str, str, str]]:
    rows = http.post("/v2/repository/index", json=asked or None).json()
    return [(row["name"], row["version"], row["state"]) for row in rows]


def test_a_model_is_unloaded_and_loaded_again(http: httpx.Client) -> None:
    assert index(http) == [("shades", "1", "READY")]
    done = http.post(f"{PLACE}/unload", json={"parameters": {"unload_dependents": False}})
    assert done.status_code == 200, done.text
    ((_, _, state),) = index(http)
    assert state in ("UNLOADING", "UNAVAILABLE") and index(http, ready=True) == []
    refused = http.post("/classify", content=shade(20))
    assert refused.status_code == 503 and "unloaded by hand" in refused.json()["error"]
    assert http.get("/v2/models/shades/ready").status_code == 503
    assert http.get("/v1/models/shades").json()["ready"] is False
    for _ in range(2):  # what is loaded stays so
        assert http.post(f"{PLACE}/load", json={}).status_code == 200
        assert index(http, ready=True) == [("shades", "1", "READY")]
    assert http.post("/classify", content=shade(20)).json()["label"] == "dark"


def test_a_file_that_is_gone_is_said_and_changes_nothing_else(
    http: httpx.Client, model: Path
) -> None:
    http.post(f"{PLACE}/unload")
    model.unlink()
    done = http.post(f"{PLACE}/load")
    assert done.status_code == 400 and "cannot be loaded" in done.json()["error"]
    assert index(http, ready=True) == []


def test_a_request_brings_no_files_and_no_settings(http: httpx.Client) -> None:
    for parameters in ({"config": "{}"}, {"file:1/model.onnx": "AA=="}, [1], "x"):
        done = http.post(f"{PLACE}/load", json={"parameters": parameters})
        assert done.status_code == 400 and "not for this service" in done.json()["error"]
    assert http.post(f"{PLACE}/load", content=b"[]").status_code == 400
    assert http.post(f"{PLACE}/load", content=b"x" * 70_000).status_code == 413
    assert http.post("/v2/repository/index", json={"ready": 3}).status_code == 400
    assert http.post("/v2/repository/models/nix/load").status_code == 404
    assert index(http) == [("shades", "1", "READY")]


def test_only_this_machine_changes_what_is_served(http: httpx.Client) -> None:
    page = {"origin": "http://127.0.0.1.example"}
    for what in ("load", "unload"):
        assert http.post(f"{PLACE}/{what}", headers=page).json()["code"] == "not_admin"
    require_admin({"client": ("127.0.0.1", 5), "headers": []})
    for scope in ({"client": ("192.0.2.1", 5), "headers": []}, {"client": None, "headers": []}):
        with pytest.raises(Problem, match="same machine"):
            require_admin(scope)
    assert index(http) == [("shades", "1", "READY")]
