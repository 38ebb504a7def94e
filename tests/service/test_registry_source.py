"""A service that serves what an alias names, and what it does while the registry is away."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeclf.errors import OptionError, ServiceError
from edgeclf.service.config import ServiceConfig
from edgeclf.service.registry_source import read_secret
from edgeclf.service.service import Service
from support.registries import Tracking, tracking
from support.services import artifact, client, lying, run_in, serving, shade, write

ALIAS = "models:/shades@champion"
SECRET = b"0123456789abcdef"


def made(number: str) -> Any:
    return artifact("shades", "1.0", [f"dark-{number}", f"bright-{number}"])


@pytest.fixture
def server() -> Iterator[Tracking]:
    with tracking() as found:
        found.add(made("1"), "1")
        yield found


@pytest.fixture
def http(server: Tracking, tmp_path: Path) -> Iterator[httpx.Client]:
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    with serve(server, tmp_path, registry_secret=str(tmp_path / "secret")) as found:
        yield found


def serve(server: Tracking, folder: Path, **config: Any) -> Any:
    return client(registry=ALIAS, tracking_uri=server.url, registry_cache=str(folder / "cache"),
                  **config)  # fmt: skip


def start(http: httpx.Client) -> None:
    run_in(http, http.service.registry.start())  # type: ignore[attr-defined]


def look(http: httpx.Client, again: bool = False) -> None:
    run_in(http, http.service.registry.look(again=again))  # type: ignore[attr-defined]


def answered(http: httpx.Client) -> tuple[str, str]:
    answer = http.post("/classify", content=shade(20)).json()
    return answer["version"], answer["label"]


def ready(http: httpx.Client) -> tuple[int, Any]:
    answer = http.get("/healthz/ready")
    return answer.status_code, answer.json()["registry"]


def test_what_the_alias_names_answers_forwards_and_back(
    http: httpx.Client, server: Tracking
) -> None:
    assert ready(http)[0] == 503
    start(http)
    assert answered(http) == ("1", "dark-1")
    status, entry = ready(http)
    assert status == 200 and entry["reachable"] and entry["problem"] is None
    assert (entry["model"], entry["version"]) == (ALIAS, "1")
    server.add(made("2"), "2")
    look(http)
    assert answered(http) == ("2", "dark-2")
    server.aliases["champion"] = "1"
    look(http)
    assert answered(http) == ("1", "dark-1")
    look(http)
    assert http.get("/admin/models").json()["registry"]["version"] == "1"


def test_what_operators_do_stays_until_the_alias_moves(
    http: httpx.Client, server: Tracking
) -> None:
    start(http)
    server.add(made("2"), "2")
    look(http)
    assert http.post("/admin/models/shades/rollback").status_code == 200
    look(http)
    assert answered(http)[0] == "1"
    server.add(made("3"), "3")
    look(http)
    assert answered(http)[0] == "3"


def test_a_version_that_does_not_verify_never_answers(http: httpx.Client, server: Tracking) -> None:
    start(http)
    server.add(lying(made("2")), "2")
    look(http)
    assert answered(http) == ("1", "dark-1")
    status, entry = ready(http)
    assert status == 200 and entry["reachable"] and "version 2 is not served" in entry["problem"]
    asked = len(server.heads)
    look(http)  # it is not fetched again and again
    assert len(server.heads) == asked + 1
    server.aliases["champion"] = "1"
    look(http)
    assert ready(http)[1]["problem"] is None and answered(http)[0] == "1"


def test_a_damaged_version_never_answers(http: httpx.Client, server: Tracking) -> None:
    start(http)
    server.add(made("2"), "2")
    tags, content = server.files["2"]
    server.files["2"] = (tags, content[:-1])
    look(http)
    assert answered(http)[0] == "1" and "damaged or replaced" in ready(http)[1]["problem"]
    server.files["2"] = (tags, content)
    look(http)
    assert answered(http)[0] == "1"
    look(http, again=True)
    assert answered(http)[0] == "2" and ready(http)[1]["problem"] is None


def test_a_download_that_is_cut_off_is_tried_again(http: httpx.Client, server: Tracking) -> None:
    start(http)
    server.add(made("2"), "2")
    server.cut = 700
    look(http)
    assert answered(http)[0] == "1" and "too few" in ready(http)[1]["problem"]
    server.cut = None
    look(http)
    assert answered(http)[0] == "2"


def test_while_the_registry_is_away_the_last_version_goes_on(
    http: httpx.Client, server: Tracking
) -> None:
    start(http)
    server.answer = (503, b"{}")
    look(http)
    status, entry = ready(http)
    assert status == 200 and not entry["reachable"] and "answers 503" in entry["problem"]
    assert entry["answered_at"] is not None and answered(http)[0] == "1"
    assert 'edgeclf_registry_up{model="shades"} 0.0' in http.get("/metrics").text
    server.answer = None
    look(http)
    assert ready(http)[1]["reachable"]
    assert 'edgeclf_registry_up{model="shades"} 1.0' in http.get("/metrics").text


def test_a_start_without_the_registry_serves_what_was_served_last(
    server: Tracking, tmp_path: Path
) -> None:
    with serve(server, tmp_path) as http:
        start(http)
    server.answer = (503, b"{}")
    with serve(server, tmp_path) as http:
        start(http)
        status, entry = ready(http)
        assert status == 200 and not entry["reachable"] and answered(http)[0] == "1"
        server.answer = None
        server.add(made("2"), "2")
        look(http)
        assert answered(http)[0] == "2"


def test_a_start_without_registry_and_cache_waits(server: Tracking, tmp_path: Path) -> None:
    server.answer = (503, b"{}")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "shades@champion.json").write_text("[")
    with serve(server, tmp_path) as http:
        start(http)
        answer = http.get("/healthz/ready")
        assert answer.status_code == 503
        assert "answers 503" in answer.json()["problems"][0]["reason"]
        server.answer = None
        look(http)
        assert answered(http)[0] == "1"


def test_a_new_version_is_tried_first_if_that_is_asked(server: Tracking, tmp_path: Path) -> None:
    with serve(server, tmp_path, canary=0.5, canary_pictures=4) as http:
        start(http)
        server.add(made("2"), "2")
        look(http)
        (model,) = http.get("/admin/models").json()["models"]
        assert model["current"] == "1" and model["trial"]["version"] == "2"
        seen = {answered(http)[0] for _ in range(12)}
        assert seen == {"1", "2"} and answered(http)[0] == "2"


def signed(body: bytes = b"{}", at: float | None = None, secret: bytes = SECRET) -> dict[str, str]:
    delivery, stamp = "d-1", str(int(time.time() if at is None else at))
    text = f"{delivery}.{stamp}.".encode() + body
    digest = base64.b64encode(hmac.digest(secret, text, hashlib.sha256)).decode()
    return {"x-mlflow-delivery-id": delivery, "x-mlflow-timestamp": stamp,
            "x-mlflow-signature": f"v1,{digest}"}  # fmt: skip


def refresh(http: httpx.Client, headers: dict[str, str], body: bytes = b"{}") -> httpx.Response:
    return http.post("/admin/registry/refresh", content=body, headers=headers)


def test_a_webhook_makes_it_look_at_once(http: httpx.Client, server: Tracking) -> None:
    start(http)
    server.add(made("2"), "2")
    answer = refresh(http, signed())
    assert answer.status_code == 200 and answer.json()["version"] == "2"
    assert answered(http)[0] == "2"
    server.add(made("3"), "3")
    assert refresh(http, {}).json()["version"] == "3"  # an operator on this machine


@pytest.mark.parametrize(
    "headers",
    [
        signed(secret=b"another secret, as long"),
        signed(b"[]"),
        signed(at=time.time() - 3600),
        {**signed(), "x-mlflow-timestamp": "soon"},
        {**signed(), "x-mlflow-signature": ""},
        {"x-mlflow-signature": "v1,"},
        {**signed(), "x-mlflow-delivery-id": "d-2"},
    ],
)
def test_a_webhook_that_is_not_signed_so_is_refused(
    http: httpx.Client, server: Tracking, headers: dict[str, str]
) -> None:
    asked = len(server.heads)
    answer = refresh(http, headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "bad_signature")
    assert len(server.heads) == asked


def test_without_a_secret_no_signature_is_good(server: Tracking, tmp_path: Path) -> None:
    with serve(server, tmp_path) as http:
        for headers in (signed(secret=b""), {"x-mlflow-signature": ""}):
            assert refresh(http, headers).status_code == 403


def test_where_there_are_keys_a_webhook_needs_none(server: Tracking, tmp_path: Path) -> None:
    from edgeclf.service.keys import add_key

    keys, secret = tmp_path / "keys", tmp_path / "secret"
    low = add_key(keys, "app")
    admin = add_key(keys, "ops", "admin")
    secret.write_bytes(SECRET)
    with serve(server, tmp_path, keys=str(keys), registry_secret=str(secret)) as http:
        start(http)
        assert refresh(http, {}).status_code == 403
        assert refresh(http, {"x-api-key": low}).status_code == 403
        assert refresh(http, {"x-api-key": "wrong"}).status_code == 401
        assert refresh(http, {"x-api-key": admin}).status_code == 200
        assert refresh(http, signed()).status_code == 200
        assert refresh(http, signed(secret=b"wrong")).status_code == 403
        assert http.post("/admin/models/shades/rollback").status_code == 401


def test_a_service_of_files_has_no_registry(tmp_path: Path) -> None:
    with client(write(tmp_path, made("1"))) as http:
        answer = refresh(http, {})
        assert (answer.status_code, answer.json()["code"]) == (409, "no_registry")
        assert "registry" not in http.get("/healthz/ready").json()
        assert http.get("/admin/models").json()["registry"] is None


def test_what_cannot_be_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="models:/NAME@ALIAS"):
        Service(ServiceConfig(registry="birds"))
    with pytest.raises(ServiceError, match="Cannot read"):
        read_secret(str(tmp_path / "gone"))
    (tmp_path / "short").write_text("secret")
    with pytest.raises(ServiceError, match="at least 16"):
        read_secret(str(tmp_path / "short"))


def test_the_process_polls(server: Tracking, tmp_path: Path) -> None:
    words = ("--registry", ALIAS, "--tracking-uri", server.url, "--runtime", "fake", "--poll", 0.1,
             "--registry-cache", tmp_path / "cache", "--drain-s", 0)  # fmt: skip
    with serving(*words) as running:
        with httpx.Client(base_url=running.url, timeout=30) as http:
            assert answered(http)[0] == "1"
            server.add(made("2"), "2")
            end = time.monotonic() + 30
            while answered(http)[0] != "2":
                assert time.monotonic() < end
                time.sleep(0.02)
        assert running.stop() == 0
    assert any("models" not in line and "answers instead of 1" in line for line in running.lines)
