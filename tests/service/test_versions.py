"""Versions come, answer, leave and come back; whatever fails leaves what answered."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeclf.errors import EdgeclfError, ServiceError, VerificationError
from edgeclf.service import loading, memory, steering, versions
from edgeclf.service.problem import Problem
from edgeclf.system.memory import give_back
from support.services import artifact, client, lying, run_in, shade, write

LABELS = ("dark", "middle", "bright")


def made(number: str, mark: str = "") -> Any:
    """A version whose every answer says which it is."""
    return artifact(version=number, labels=[f"{label}-{number}{mark}" for label in LABELS])


def ask(http: httpx.Client, number: str | None = None) -> Any:
    place = "/classify" if number is None else f"/v1/models/shades/versions/{number}/classify"
    answer = http.post(place, content=shade(20))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_new_version_answers_at_once_and_the_old_one_is_freed(tmp_path: Path) -> None:
    first, second = write(tmp_path, made("9")), write(tmp_path, made("10"))
    with client(first) as http:
        old = http.service.catalog.find()
        engines = old.engines
        new = run_in(http, http.service.load(second))
        assert ask(http)["label"] == "dark-10" and ask(http)["sha256"] == new.sha256
        assert old.state == "unloaded" and not old.engines and engines
        assert old.artifact.content  # for a rollback
        # A lower one is there for those who ask for it.
        run_in(http, http.service.load(write(tmp_path, made("1"))))
        assert ask(http)["label"] == "dark-10" and ask(http, "1")["label"] == "dark-1"


def test_the_same_number_with_other_bytes_replaces_and_can_be_undone(tmp_path: Path) -> None:
    path = write(tmp_path, made("1", "a"), "one.onnx")
    with client(path) as http:
        before = ask(http)
        write(tmp_path, made("1", "b"), "one.onnx")
        run_in(http, http.service.load(path))
        assert ask(http)["label"] == "dark-1b"
        # The file of the one before is not there any more; its bytes still are.
        run_in(http, steering.rollback(http.service.versions, None))
        assert (ask(http)["label"], ask(http)["sha256"]) == ("dark-1a", before["sha256"])
        run_in(http, steering.rollback(http.service.versions, None))
        assert ask(http)["label"] == "dark-1b"
        assert len(list(http.service.catalog)) == 1


def test_a_lower_version_with_other_bytes_is_replaced_where_it_is(tmp_path: Path) -> None:
    low, high = write(tmp_path, made("1", "a"), "one.onnx"), write(tmp_path, made("2"))
    with client(high, low) as http:
        assert ask(http, "1")["label"] == "dark-1a"
        old = http.service.catalog.version(None, "1")
        run_in(http, http.service.load(write(tmp_path, made("1", "b"), "one.onnx")))
        assert ask(http, "1")["label"] == "dark-1b" and ask(http)["label"] == "dark-2"
        assert not old.engines


@pytest.mark.parametrize("number", ["1", "2"])
def test_one_that_does_not_verify_leaves_the_old_one(tmp_path: Path, number: str) -> None:
    path = write(tmp_path, made("1"), "one.onnx")
    with client(path) as http:
        bad = write(tmp_path, lying(made(number, "x")), "one.onnx")
        with pytest.raises(VerificationError):
            run_in(http, http.service.load(bad))
        assert ask(http)["label"] == "dark-1"
        refused = http.service.catalog.refused[str(bad)]
        assert refused.number == number and "does not compute" in refused.reason
        ready = http.get("/healthz/ready")
        assert ready.status_code == 200
        assert "does not compute" in ready.json()["versions"][-1]["reason"]
        # Its file is another one now, so it must not be read again from there.
        assert http.service.catalog.find().artifact.path is None
        assert 'edgeclf_swaps_total{outcome="failed"} 1.0' in http.get("/metrics").text
        run_in(http, http.service.load(write(tmp_path, made(number, "y"), "one.onnx")))
        assert ask(http)["label"] == f"dark-{number}y" and not http.service.catalog.refused


def test_an_engine_that_breaks_in_an_unknown_way_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write(tmp_path, made("1")), write(tmp_path, made("2"))
    with client(first) as http:

        def broken(*_: object) -> None:
            raise KeyError("libfoo")

        monkeypatch.setattr(versions, "load_engines", broken)
        with pytest.raises(EdgeclfError, match="KeyError"):
            run_in(http, http.service.load(second))
        assert ask(http)["label"] == "dark-1"


def test_loading_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = write(tmp_path, made("1")), write(tmp_path, made("2"))
    go, entered = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> None:
        assert threading.current_thread().name.startswith("edgeclf-loader")
        entered.set()
        assert go.wait(20)
        loading.load_engines(*arguments)

    with client(first) as http:
        monkeypatch.setattr(versions, "load_engines", slow)
        thread = threading.Thread(target=lambda: run_in(http, http.service.load(second)))
        thread.start()
        assert entered.wait(20)
        assert ask(http)["label"] == "dark-1"
        assert http.service.catalog.version(None, "2").state == "loading"
        assert http.get("/healthz/ready").status_code == 200
        go.set()
        thread.join()
        assert ask(http)["label"] == "dark-2"


def test_one_that_is_asked_is_freed_only_when_it_has_answered(tmp_path: Path) -> None:
    first, second = write(tmp_path, made("1")), write(tmp_path, made("2"))
    with client(first) as http:
        old = http.service.catalog.find()
        old.in_flight += 1  # as of a picture that takes long
        run_in(http, http.service.load(second))
        assert (old.state, bool(old.engines)) == ("draining", True)
        # Back to it before it has left: nothing is loaded again.
        engines = old.engines
        run_in(http, steering.promote(http.service.versions, None, "1"))
        assert old.state == "ready" and old.engines is engines
        run_in(http, steering.rollback(http.service.versions, None))
        old.in_flight -= 1
        http.service.versions.settled(old)
        assert old.state == "unloaded" and not old.engines


def test_orders_by_hand(tmp_path: Path) -> None:
    paths = [write(tmp_path, made(n)) for n in "123"]
    with client(*paths) as http:
        all_ = http.service.versions
        with pytest.raises(Problem, match="Promote another"):
            run_in(http, steering.unload(all_, None, "3"))
        run_in(http, steering.promote(all_, "shades", "1"))
        assert ask(http)["label"] == "dark-1"
        assert run_in(http, steering.rollback(all_, None)).number == "3"
        steering.pin(all_, None, "3")
        run_in(http, steering.promote(all_, None, "2"))
        assert ask(http, "3")["label"] == "dark-3"  # pinned: it stayed
        run_in(http, steering.unload(all_, None))
        refused = http.post("/classify", content=shade(20))
        assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        assert http.get("/healthz/ready").status_code == 503
        run_in(http, steering.reload(all_, None))
        assert ask(http)["label"] == "dark-2" and http.get("/healthz/ready").status_code == 200
        with pytest.raises(Problem, match="no version '7'"):
            run_in(http, steering.promote(all_, None, "7"))


def test_there_may_be_nothing_to_go_back_to(tmp_path: Path) -> None:
    with (
        client(write(tmp_path, made("1"))) as http,
        pytest.raises(Problem, match="no other version"),
    ):
        run_in(http, steering.rollback(http.service.versions, None))


def test_one_that_left_is_loaded_again_when_it_is_asked_for(tmp_path: Path) -> None:
    first, second, third = (write(tmp_path, made(n)) for n in "123")
    with client(first, second, third) as http:
        left = http.service.catalog.version(None, "1")
        assert left.state == "unloaded" and not left.artifact.content
        refused = http.post("/v1/models/shades/versions/1/classify", content=shade(20))
        assert (refused.status_code, refused.json()["code"]) == (503, "loading")
        assert int(refused.headers["retry-after"]) >= 1
        until_ready(left)
        assert ask(http, "1")["label"] == "dark-1" and ask(http)["label"] == "dark-3"


def until_ready(version: Any) -> None:
    end = time.monotonic() + 20
    while version.state != "ready":
        assert time.monotonic() < end, version.reason
        time.sleep(0.01)


def test_one_whose_file_has_changed_meanwhile_is_not_loaded_for_it(tmp_path: Path) -> None:
    first, second, third = (write(tmp_path, made(n)) for n in "123")
    with client(first, second, third) as http:
        write(tmp_path, made("1", "x"))
        with pytest.raises(ServiceError, match="not version 1 of shades any more"):
            run_in(http, steering.reload(http.service.versions, None, "1"))
        assert ask(http)["label"] == "dark-3"


def test_the_least_recently_used_leaves_when_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a", "b", "c", "d")
    paths = [write(tmp_path, artifact(name)) for name in names]
    monkeypatch.setattr(versions, "resident_bytes", lambda: 0)
    with client(*paths[:3], memory_mb=100.0) as http:
        catalog = http.service.catalog
        loaded = lambda: sorted(v.model for v in catalog if v.engines)  # noqa: E731
        # Each of them takes 30 MB, as it were.
        monkeypatch.setattr(versions, "resident_bytes", lambda: 30e6 * len(loaded()))
        steering.pin(http.service.versions, "a", "1")
        for name in "bc":
            http.post(f"/v1/models/{name}/classify", content=shade(20))
        run_in(http, http.service.load(paths[3]))
        assert loaded() == ["a", "c", "d"]
        assert http.get("/healthz/ready").status_code == 200  # as it comes when it is asked for
        assert http.post("/v1/models/b/classify", content=shade(20)).status_code == 503
        until_ready(catalog.find.__self__.models["b"].current)
        assert http.post("/v1/models/b/classify", content=shade(20)).status_code == 200
        until = time.monotonic() + 30  # it is asked again before the one that leaves has left
        while loaded() != ["a", "b", "d"] and time.monotonic() < until:
            time.sleep(0.01)
        assert loaded() == ["a", "b", "d"]
        monkeypatch.setattr(versions, "resident_bytes", lambda: 1e12)  # whatever is unloaded
        run_in(http, steering.reload(http.service.versions, "c"))
        assert loaded() == ["a", "c"]


def test_memory_is_what_the_system_says() -> None:
    before = memory.resident_bytes()
    held = b"x" * 50_000_000
    assert memory.resident_bytes() > before + 0.8 * len(held)
    give_back()


def test_a_short_soak(tmp_path: Path) -> None:
    made_of = {number: made(number) for number in map(str, range(1, 52))}
    shas = {found.sha256: number for number, found in made_of.items()}
    wrong: list[object] = []
    stop = threading.Event()
    counted = [0] * 4
    with client(write(tmp_path, made_of.pop("1"))) as http:

        def clients(index: int) -> None:
            while not stop.is_set():
                answer = http.post("/classify", content=shade(20))
                body = answer.json()
                counted[index] += 1
                if answer.status_code != 200 or (
                    body["label"] != f"dark-{body['version']}"
                    or shas[body["sha256"]] != body["version"]
                ):
                    wrong.append(body)

        threads = [threading.Thread(target=clients, args=(i,)) for i in range(len(counted))]
        for thread in threads:
            thread.start()
        for found in made_of.values():
            run_in(http, http.service.load(write(tmp_path, found)))
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == [] and sum(counted) > 50
        assert sum(bool(version.engines) for version in http.service.catalog) == 1
        assert 'edgeclf_swaps_total{outcome="switched"} 50.0' in http.get("/metrics").text
