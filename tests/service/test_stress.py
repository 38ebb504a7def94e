"""The stress test of a service by itself: what may be asked, what is told, and how it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeclf.measurement.workloads.load_record import read_load
from edgeclf.service.access import Access
from edgeclf.service.config import ServiceConfig
from edgeclf.service.keys import add_key
from edgeclf.service.stress.asked import read_asked
from edgeclf.service.stress.run import StressRun
from support.services import Listening, artifact, client, listening, serving, shade, write

WAIT_S = 30


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that listens nowhere: for what is refused."""
    folder = tmp_path_factory.mktemp("models")
    with client(write(folder, artifact()), ui=True) as made:
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    folder = tmp_path_factory.mktemp("models")
    with listening(write(folder, artifact()), ui=True, workers=1, max_stress_runs=2) as made:
        yield made


@pytest.fixture(scope="module")
def own(running: Listening) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=WAIT_S) as made:
        yield made


def begin(own: httpx.Client, **asked: object) -> Any:
    response = own.post("/v1/stress", json={"model": "shades", **asked})
    assert response.status_code == 202, response.text
    return response.json()


def followed(own: httpx.Client, run: dict[str, Any]) -> list[Any]:
    with own.stream("GET", f"/v1/stress/{run['id']}") as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in response.iter_lines()]


def children(pid: int) -> list[int]:
    """Of whichever of its threads."""
    found = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return list(map(int, " ".join(found).split()))


def until(condition: Any) -> Any:
    end = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "Nothing is asked"),
        ({"rate": 0}, "rate is 0"),
        ({"rate": 2001}, "at most 2000"),
        ({"rate": True}, "rate is True"),
        ({"rate": "many"}, "rate is 'many'"),
        ({"rate": 1e999}, "rate is inf"),
        ({"clients": 65}, "at most 64"),
        ({"clients": 1.5}, "a whole number"),
        ({"rate": 1, "seconds": 301}, "at most 300"),
        ({"rate": 1, "clients": 1, "seconds": 200}, "Up to 2 steps of 200 s"),
        ({"ramp": [1, 1000], "seconds": 100}, "Up to 14 steps of 100 s"),
        ({"ramp": [100, 10]}, "expected it to rise"),
        ({"ramp": 10}, "ramp is no pair"),
        ({"ramp": [1, 10], "rate": 5}, "one of the two"),
        ({"rate": 1, "deadline_ms": 0}, "deadline_ms is 0"),
        ({"rate": 1, "images": [{"url": "x"}]}, "An image is no base64"),
        ({"rate": 1, "images": [{"b64": "AAAA"}] * 9}, "at most 8 pictures"),
        ({"rate": 1, "url": "http://192.0.2.1/"}, "There is no field 'url'"),
        ({"rate": 1, "model": 5}, "model is no text"),
        ({"rate": 1, "model": ""}, "No model is named"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_refused(
    asked: dict[str, Any], words: str, http: httpx.Client
) -> None:
    body = json.dumps({"model": "shades", **asked})
    response = http.post("/v1/stress", content=body)
    assert response.json()["code"] == "bad_stress" and words in response.json()["error"]


def test_what_is_not_there_or_no_picture_is_refused(http: httpx.Client) -> None:
    def code(**asked: object) -> Any:
        return http.post("/v1/stress", json={"model": "shades", "rate": 1, **asked}).json()["code"]

    assert code(model="none") == "no_model" and code(version="9") == "no_version"
    wrong = base64.b64encode(b"a text").decode()
    assert code(images=[{"b64": wrong}]) == "picture_refused"
    assert code() == "no_address"  # this one listens nowhere
    assert http.post("/v1/stress", content="[]").json()["code"] == "bad_stress"
    for path in ("/v1/stress/none", "/v1/stress/none/record"):
        assert http.get(path).json()["code"] == "no_run"
    assert http.delete("/v1/stress/none").json()["code"] == "no_run"
    assert http.get("/v1/stress").json()["running"] is None


def test_only_who_may_change_the_service_puts_it_under_load(tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    who = {role: add_key(keys, role, role, None) for role in ("classify", "admin")}
    asked = {"model": "shades", "rate": 1}
    path = write(tmp_path, artifact())
    with client(path, ui=True, keys=str(keys)) as http:
        for method, address in (("GET", ""), ("POST", ""), ("GET", "/x"), ("DELETE", "/x"),
                                ("GET", "/x/record")):  # fmt: skip

            def ask(**headers: str) -> Any:
                return http.request(method, f"/v1/stress{address}", json=asked, headers=headers)  # noqa: B023

            assert ask().json()["code"] == "no_key"
            assert ask(**{"x-api-key": who["classify"]}).json()["code"] == "not_admin"
            assert ask(**{"x-api-key": who["admin"]}).json().get("code") != "not_admin"
    with client(path, ui=True) as http:  # no keys: this machine, and no page of elsewhere
        for headers in ({"origin": "http://192.0.2.1"}, {"x-forwarded-for": "192.0.2.1"}):
            answer = http.post("/v1/stress", json=asked, headers=headers)
            assert answer.json()["code"] == "not_admin"
    with client(path) as http:  # and not without the page
        assert http.post("/v1/stress", json=asked).json()["code"] == "no_stress"


def test_a_service_tells_of_each_second_and_keeps_the_record_that_load_writes(
    running: Listening, own: httpx.Client, tmp_path: Path
) -> None:
    watched = own.get("/v1/monitor").json()
    before = children(os.getpid())  # of tests before it in this process
    run = begin(own, rate=80, clients=2, seconds=1.2, images=[
        {"b64": base64.b64encode(shade(level)).decode()} for level in (20, 240)
    ])  # fmt: skip
    assert run["state"] == "running" and run["asked"]["images"] == 2
    again = own.post("/v1/stress", json={"model": "shades", "rate": 1})
    assert (again.status_code, again.json()["code"]) == (409, "stress_running")
    assert own.get("/v1/stress").json()["running"] == run["id"]
    assert own.get(f"/v1/stress/{run['id']}/record").json()["code"] == "no_record"
    first, *seconds, last = followed(own, run)
    assert first["run"]["id"] == run["id"] and last["end"]["state"] == "done"
    steps = last["record"]["steps"]
    assert [step["loop"] for step in steps] == ["closed", "open"]
    for index, step in enumerate(steps):
        told = [line["second"] for line in seconds if line["second"]["step"] == index]
        assert sum(each["offered"] for each in told) == step["offered"] > 20
        assert step["accepted"] == step["offered"]
        assert all(each["queue"]["most"] >= each["queue"]["mean"] >= 0 for each in told)
    assert last["record"]["images"]["count"] == 2
    # It is the file that the verb writes, and whoever comes later is told the same.
    path = tmp_path / "load.json"
    path.write_bytes(own.get(f"/v1/stress/{run['id']}/record").content)
    assert read_load(path) == last["record"]
    assert followed(own, run)[1:] == [*seconds, last]
    assert last["record"]["url"].startswith(f"{running.url}/v1/models/shades/versions/1/")
    # What it sent is counted as requests, and is no picture of the world.
    assert own.get("/v1/monitor").json() == watched
    own.post("/classify", content=shade(20))
    assert own.get("/v1/monitor").json() != watched
    assert {*children(os.getpid())} <= {*before}


def test_it_is_ended_by_hand_with_what_was_measured(own: httpx.Client) -> None:
    before = children(os.getpid())
    run = begin(own, rate=40, seconds=60)
    with own.stream("GET", f"/v1/stress/{run['id']}") as response:
        lines = map(json.loads, response.iter_lines())
        next(line for line in lines if "second" in line)
        assert own.delete(f"/v1/stress/{run['id']}").status_code == 202
        *_, last = lines
    assert last["end"]["state"] == "cancelled" and last["record"]["interrupted"]
    assert last["record"]["steps"][0]["accepted"] > 10
    until(lambda: {*children(os.getpid())} <= {*before})
    # The next one runs, and of all the last two are kept.
    later = begin(own, rate=20, seconds=0.2)
    assert followed(own, later)[-1]["end"]["state"] == "done"
    listed = own.get("/v1/stress").json()["runs"]
    assert [each["id"] for each in listed] == [later["id"], run["id"]]


def test_a_test_that_fails_says_why() -> None:
    asked = read_asked({"model": "shades", "rate": 5, "seconds": 1}, ServiceConfig())
    run = StressRun(asked, "http://127.0.0.1:9/classify", [shade(20)], asked.words(100))
    asyncio.run(run.work(Access(None).lent(), lambda: 0, lambda: False))
    assert (run.state, run.record, run.buckets) == ("failed", None, [])
    assert run.reason is not None and run.reason.startswith("Nothing answers at http://127.0.0.1:9")


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_it_ends_with_the_service(signal: str, tmp_path: Path) -> None:
    path = write(tmp_path, artifact())
    with serving("--ui", path, "--runtime", "fake", "--drain-s", "0.5") as service:
        with httpx.Client(base_url=service.url, timeout=WAIT_S) as own:
            run = begin(own, rate=20, seconds=120)
            with own.stream("GET", f"/v1/stress/{run['id']}") as response:
                lines = map(json.loads, response.iter_lines())
                next(line for line in lines if "second" in line)
                (child,) = children(service.process.pid)
                if signal == "SIGTERM":
                    service.process.terminate()
                    *_, last = lines
                    assert last["end"]["state"] == "ended" and last["record"]["interrupted"]
                    assert service.process.wait(WAIT_S) == 0
                else:
                    service.process.kill()
        until(lambda: not Path(f"/proc/{child}/cmdline").exists())
