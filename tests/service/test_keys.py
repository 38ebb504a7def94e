from __future__ import annotations

import stat
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeclf.cli import main
from edgeclf.errors import OptionError, ServiceError
from edgeclf.service import access
from edgeclf.service.access import Access
from edgeclf.service.config import ServiceConfig
from edgeclf.service.keys import add_key, find_key, read_keys, require_admin
from edgeclf.service.problem import Problem
from support.services import artifact, client, listening, shade, write

HASH = "ab" * 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def scope(path: str = "/classify", client: str | None = "127.0.0.1", **headers: str) -> Any:
    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {"path": path, "headers": pairs, "client": client and (client, 1)}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_key_is_shown_once_and_only_its_hash_is_kept(file: Path) -> None:
    first = add_key(file, "camera", rate=2.5)
    second = add_key(file, "boss", "admin")
    assert len({first, second}) == 2 and len(first) > 40
    text = file.read_text()
    assert first not in text and second not in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    camera, boss = read_keys(file)
    assert (camera.name, camera.role, camera.rate, camera.burst) == ("camera", "classify", 2.5, 2.5)
    assert (boss.name, boss.role, boss.rate) == ("boss", "admin", None)
    keys = (camera, boss)
    assert find_key(keys, second.encode()) is boss and find_key(keys, first.encode()) is camera
    assert find_key(keys, first[:-1].encode()) is None and find_key(keys, b"") is None


def test_keys_made_at_once_are_all_there(file: Path) -> None:
    threads = [threading.Thread(target=add_key, args=(file, f"k{i}")) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in read_keys(file)} == {f"k{i}" for i in range(16)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds none"),
        ("# only a remark\n", "holds none"),
        (f"a classify {HASH}\nb\n", "Line 2"),
        (f"a root {HASH}", "Line 1"),
        (f"a/b classify {HASH}", "Line 1"),
        (f"a classify {HASH[:-2]}", "Line 1"),
        (f"a classify {'g' * 64}", "Line 1"),
        (f"a classify {HASH} 0", "Line 1"),
        (f"a classify {HASH} nan", "Line 1"),
        (f"a classify {HASH} 1 inf", "Line 1"),
        (f"a classify {HASH} 1 2 3", "Line 1"),
        (f"a classify {HASH}\na admin {HASH}", "two keys named 'a'"),
        ("\ud800", "Line 1"),
    ],
)
def test_a_damaged_file_is_refused(file: Path, text: str, words: str) -> None:
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ServiceError, match=words):
        read_keys(file)


def test_a_file_that_anybody_may_write_or_nobody_has_is_refused(file: Path) -> None:
    with pytest.raises(ServiceError, match="--new-key NAME"):
        read_keys(file)
    add_key(file, "a")
    file.chmod(0o666)
    with pytest.raises(ServiceError, match="chmod 600"):
        read_keys(file)


def test_a_name_is_given_once_and_can_be_written(file: Path) -> None:
    add_key(file, "a")
    with pytest.raises(ServiceError, match="named 'a' already"):
        add_key(file, "a")
    for name, rate in (("a b", None), ("", None), ("b", 0.0), ("b", float("nan"))):
        with pytest.raises(ServiceError, match="expected 1 to 64 letters"):
            add_key(file, name, rate=rate)
    with pytest.raises(ServiceError, match="Cannot write"):
        add_key(file / "below", "a")


def refusal(access: Access, request: Any) -> tuple[int, str]:
    with pytest.raises(Problem) as raised:
        access.admit(request)
    return raised.value.status, raised.value.code


def test_who_has_a_key_gets_in(file: Path) -> None:
    keys = {role: add_key(file, role, role) for role in ("classify", "admin")}
    access = Access(str(file))
    for role, key in keys.items():
        for headers in (bearer(key), {"x_api_key": key}, {"authorization": f"bearer  {key} "},
                        {"authorization": "Basic eA==", "x_api_key": key}):  # fmt: skip
            request = scope(client="192.0.2.1", **headers)
            access.admit(request)
            assert (request["edgeclf.role"], request["edgeclf.key"]) == (role, role)
    for headers in ({}, bearer("x"), {"x_api_key": ""}, {"authorization": keys["admin"]}):
        for address in ("127.0.0.1", "192.0.2.1"):  # where there are keys, all need one
            assert refusal(access, scope(client=address, **headers)) == (401, "no_key")
            assert refusal(access, scope("/metrics", address, **headers)) == (401, "no_key")
    for path in ("/healthz/live", "/healthz/ready"):
        access.admit(scope(path))


def test_what_changes_the_service_takes_the_role(file: Path) -> None:
    key, boss = add_key(file, "a"), add_key(file, "b", "admin")
    access = Access(str(file))
    allowed, refused = scope(**bearer(boss)), scope(**bearer(key))
    access.admit(allowed)
    access.admit(refused)
    require_admin(allowed)
    probe = scope("/healthz/live")
    access.admit(probe)
    for request in (refused, probe):
        with pytest.raises(Problem, match="role admin") as raised:
            require_admin(request)
        assert raised.value.status == 403


@pytest.mark.parametrize(
    ("request_", "local"),
    [
        (scope(), True),
        (scope(client="::1", host="[::1]:8080"), True),
        (scope(client="::ffff:127.0.0.1", host="localhost:8080"), True),
        (scope(host="127.0.0.1:8080", origin="http://localhost:3000"), True),
        (scope(client="192.0.2.1", host="localhost"), False),
        (scope(client=None), False),
        (scope(host="rebound.example:8080"), False),  # DNS that a web site points here
        (scope(host="localhost", origin="https://site.example"), False),
        (scope(host="localhost", origin="null"), False),
        (scope(host="["), False),
        (scope(host="localhost", x_forwarded_for="127.0.0.1"), False),
        (scope(host="localhost", forwarded="for=127.0.0.1"), False),
    ],
)
def test_without_keys_only_this_machine_s_own_programs_change_the_service(
    request_: Any, local: bool
) -> None:
    Access(None).admit(request_)
    if local:
        require_admin(request_)
    else:
        with pytest.raises(Problem, match="no web site's page"):
            require_admin(request_)


def test_a_key_has_its_rate(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(access, "monotonic", lambda: now)
    key, other = add_key(file, "a", rate=2), add_key(file, "b")
    with file.open("a") as lines:
        lines.write(f"c classify {HASH} 0.1 5\n")
    door = Access(str(file))
    for _ in range(2):
        door.admit(scope(**bearer(key)))
    with pytest.raises(Problem) as raised:
        door.admit(scope(**bearer(key)))
    assert (raised.value.status, raised.value.code) == (429, "too_often")
    assert dict(raised.value.headers())[b"retry-after"] == b"1"
    for _ in range(100):
        door.admit(scope(**bearer(other)))
    now += 0.5
    door.admit(scope(**bearer(key)))
    assert refusal(door, scope(**bearer(key)))[0] == 429
    now += 3600  # what was not used does not pile up
    allowed = 0
    while allowed < 100:
        try:
            door.admit(scope(**bearer(key)))
        except Problem:
            break
        allowed += 1
    assert allowed == 2


def test_the_file_is_read_again_and_a_damaged_one_changes_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access, "_LOOK_S", 0.0)
    first = add_key(file, "a")
    door = Access(str(file))
    second = add_key(file, "b")
    door.admit(scope(**bearer(second)))
    good = file.read_text()
    for damage in (lambda: file.write_text("what?"), file.unlink):
        damage()
        for _ in range(3):
            door.admit(scope(**bearer(first)))
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2 and "Line 1" in errors[0].getMessage()
    file.write_text("".join(line for line in good.splitlines(True) if not line.startswith("a ")))
    assert refusal(door, scope(**bearer(first))) == (401, "no_key")
    door.admit(scope(**bearer(second)))


def test_nobody_else_reaches_a_service_without_keys() -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.com"):
        with pytest.raises(OptionError, match=r"--new-key NAME --keys FILE"):
            ServiceConfig(host=host)
        assert ServiceConfig(host=host, keys="file").host == host
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert ServiceConfig(host=host).host == host


def test_a_service_asks_for_keys_before_it_reads_a_body(tmp_path: Path, file: Path) -> None:
    key = add_key(file, "a", rate=1)
    path = write(tmp_path, artifact())
    with listening(path, keys=str(file)) as served:
        head = b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n"
        with served.connect(head + b"\r\n") as made:
            start = time.monotonic()
            raw = made.recv(65_536)
            assert raw.startswith(b"HTTP/1.1 401 ") and b"www-authenticate: Bearer" in raw
            assert time.monotonic() - start < 5
        with httpx.Client(base_url=served.url, headers=bearer(key)) as http:
            assert http.post("/classify", content=shade(240)).json()["label"] == "bright"
            answer = http.post("/classify", content=shade(240))
            assert (answer.status_code, answer.json()["code"]) == (429, "too_often")
            assert answer.headers["retry-after"] == "1"
            assert http.get("/healthz/ready").status_code == 200
        assert "1.0" in next(
            line
            for line in served.service.metrics.exposition().decode().splitlines()
            if line.startswith('edgeclf_refused_total{code="no_key"}')
        )


def test_a_file_of_keys_that_cannot_be_read_is_said_at_the_start(file: Path) -> None:
    with pytest.raises(ServiceError, match="Cannot read the file of keys"), client(keys=str(file)):
        pass
    assert not file.exists()


def test_the_verb_prints_a_key_alone_and_refuses_a_host_without_one(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--new-key", "a", "--keys", str(file), "--role", "admin"]) == 0
    key, said = capsys.readouterr()
    assert find_key(read_keys(file), key.strip().encode()) is not None
    assert "shown once" in said and key.strip() not in said
    for words, reason in (
        (["--new-key", "a"], "needs --keys FILE"),
        (["--new-key", "a", "--keys", str(file)], "named 'a' already"),
        (["model.onnx", "--host", "0.0.0.0"], "nothing says who may ask"),
    ):
        assert main(["serve", *words]) == 2
        assert reason in capsys.readouterr().err
