"""A folder of models: what is whole in it is served, whatever else lies there."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeclf.errors import ServiceError
from edgeclf.service.watching import Folder, Watcher
from support.services import artifact, client, lying, run_in, serving, shade, write


def made(number: str, mark: str = "", name: str = "shades") -> Any:
    return artifact(name, number, [f"{label}-{number}{mark}" for label in ("dark", "bright")])


def seen(folder: Folder, settled: bool = False) -> tuple[list[str], list[str]]:
    whole, gone = folder.look(settled=settled)
    return [each.path.name for each in whole], [path.name for path in gone]


def test_only_what_two_looks_find_alike_is_whole(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    path = write(tmp_path, made("1"), "a.onnx")
    content = path.read_bytes()
    assert seen(folder) == ([], [])
    path.write_bytes(content[:-9])  # it is still being written
    assert seen(folder) == ([], [])
    path.write_bytes(content)
    assert seen(folder) == ([], [])
    assert seen(folder) == (["a.onnx"], [])
    assert seen(folder) == ([], [])
    shutil.copy(path, tmp_path / "new")
    os.utime(tmp_path / "new", ns=(path.stat().st_mtime_ns,) * 2)
    (tmp_path / "new").replace(path)  # as large, as old: another file all the same
    assert seen(folder) == ([], []) and seen(folder) == (["a.onnx"], [])
    path.unlink()
    assert seen(folder) == ([], ["a.onnx"]) and seen(folder) == ([], [])


def test_what_has_another_name_is_not_looked_at(tmp_path: Path) -> None:
    for name in (".a.onnx", "a.onnx.part", "a.tmp", "a.txt", ".git/1/a.onnx"):
        write(tmp_path, made("1"), name)
    (tmp_path / "b.onnx").mkdir()
    assert seen(Folder(str(tmp_path)), settled=True) == ([], [])
    write(tmp_path, made("1"), "shades/2/a.onnx")
    (found,) = Folder(str(tmp_path)).look(settled=True)[0]
    assert (found.model, found.number) == ("shades", "2")


def test_a_folder_that_cannot_be_read_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "models"
    write(root, made("1"))
    folder = Folder(str(root))
    folder.look(settled=True)
    root.rename(tmp_path / "elsewhere")
    with pytest.raises(ServiceError, match="Cannot read the folder"):
        folder.look()
    (tmp_path / "elsewhere").rename(root)
    assert seen(folder) == ([], [])


@pytest.fixture
def watched(tmp_path: Path) -> Any:
    """A client, its folder, and what looks at it until nothing is waiting."""
    root = tmp_path / "models"
    root.mkdir()
    with client(models=str(root)) as http:
        watcher = Watcher(http.service.versions, str(root))
        run_in(http, watcher.start())

        def look() -> None:
            for _ in range(2):
                run_in(http, watcher._look())

        yield http, root, look


Watched = tuple[httpx.Client, Path, Callable[[], None]]


def label(http: httpx.Client, place: str = "/classify") -> Any:
    return http.post(place, content=shade(20)).json().get("label")


def test_what_comes_is_served_and_what_goes_is_not(watched: Watched) -> None:
    http, root, look = watched
    assert http.get("/healthz/ready").status_code == 503
    first = write(root, made("1"))
    look()
    assert label(http) == "dark-1"
    second = write(root, made("2"))
    look()
    assert label(http) == "dark-2"
    second.unlink()
    look()
    assert label(http) == "dark-1" and len(list(http.service.catalog)) == 1
    text = http.get("/metrics").text
    assert 'version="1"' in text and 'version="2"' not in text
    first.unlink()  # the last one goes on, from memory
    look()
    assert label(http) == "dark-1"
    assert "from memory" in http.service.catalog.find().reason
    write(root, made("1"), "again.onnx")
    look()
    assert label(http) == "dark-1"
    assert http.service.catalog.find().artifact.path.name == "again.onnx"


def test_a_damaged_file_is_named_and_not_read_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    http, root, look = watched
    write(root, made("1"))
    path = write(root, made("2"), "two.onnx")
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    reads: list[str] = []
    read = http.service.versions.read

    def counted(path: Path, *names: Any) -> Any:
        reads.append(path.name)
        return read(path, *names)

    monkeypatch.setattr(http.service.versions, "read", counted)
    look()
    look()
    assert reads.count("two.onnx") == 1 and label(http) == "dark-1"
    ready = http.get("/healthz/ready")
    assert ready.status_code == 200
    assert ready.json()["versions"][-1]["file"] == "two.onnx"
    (refused,) = http.get("/admin/models").json()["refused"]
    assert refused["file"] == "two.onnx" and "bytes have changed" in refused["reason"]
    path.write_bytes(content)
    look()
    assert label(http) == "dark-2" and http.get("/admin/models").json()["refused"] == []
    write(root, lying(made("3")), "three.onnx")
    look()
    look()
    assert label(http) == "dark-2" and reads.count("three.onnx") == 1
    (root / "three.onnx").unlink()
    look()
    assert http.get("/admin/models").json()["refused"] == []


def test_a_damaged_file_in_place_of_the_one_that_answers(watched: Watched) -> None:
    http, root, look = watched
    path = write(root, made("1"))
    look()
    path.write_bytes(b"none")
    look()
    assert label(http) == "dark-1" and http.service.catalog.find().artifact.path is None
    write(root, made("1", "b"))
    look()
    assert label(http) == "dark-1b"


def test_two_files_for_one_version_are_no_swap(watched: Watched) -> None:
    http, root, look = watched
    write(root, made("1", "a"), "a.onnx")
    write(root, made("1", "b"), "b.onnx")
    look()
    assert label(http) == "dark-1a"
    (refused,) = http.get("/admin/models").json()["refused"]
    assert refused["file"] == "b.onnx" and "a.onnx is already" in refused["reason"]
    (root / "a.onnx").unlink()
    write(root, made("1", "c"), "b.onnx")
    look()
    assert label(http) == "dark-1c"


def test_what_an_operator_loaded_and_a_trial_rejected_is_not_tried_again(tmp_path: Path) -> None:
    root = tmp_path / "models"
    first = write(root, artifact())
    with client(first, models=str(root), shadow=1.0, shadow_pictures=5, agreement=0.5) as http:
        watcher = Watcher(http.service.versions, str(root))
        run_in(http, watcher.start())
        other = artifact(version="2", labels=("bright", "middle", "dark"))
        answer = http.post("/admin/models/shades/load", content=other.content)
        assert answer.json()["state"] == "ready" and answer.json()["current"] == "1"
        while http.service.catalog.model(None).trial is not None:
            http.post("/classify", content=shade(20))
        for _ in range(2):
            run_in(http, watcher._look())
        assert http.service.catalog.model(None).trial is None
        assert http.service.catalog.version(None, "2").state == "failed"


def until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_process_serves_all_of_a_folder_and_follows_it(tmp_path: Path) -> None:
    for number in ("2", "10"):
        write(tmp_path, made(number), f"shades/{number}/a.onnx")
    write(tmp_path, made("1", name="other"), "other.onnx")
    (tmp_path / "damaged.onnx").write_bytes((tmp_path / "other.onnx").read_bytes()[:-3])
    with (
        serving("--models", tmp_path, "--runtime", "fake", "--watch", "0.1") as running,
        httpx.Client(base_url=running.url, timeout=20) as http,
    ):
        place = "/v1/models/shades/classify"
        assert label(http, place) == "dark-10"
        assert label(http, "/v1/models/shades/versions/2/classify") == "dark-2"
        assert label(http, "/v1/models/other/classify") == "dark-1"
        states = {e["file"]: e["reason"] for e in http.get("/admin/models").json()["refused"]}
        assert "damaged.onnx" in states
        write(tmp_path, made("11"), "shades/11/a.onnx")
        until(lambda: label(http, place) == "dark-11")
        back = http.post("/admin/models/shades/rollback")
        assert back.status_code == 200 and label(http, place) == "dark-10"
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(20) == 0


def test_an_empty_folder_is_waited_for_or_refused(tmp_path: Path) -> None:
    with (
        serving("--models", tmp_path, "--runtime", "fake", "--watch", "0.1") as running,
        httpx.Client(base_url=running.url, timeout=20) as http,
    ):
        assert http.get("/healthz/ready").status_code == 503
        write(tmp_path, made("1"))
        until(lambda: http.get("/healthz/ready").status_code == 200)
    (tmp_path / "shades.1.fp32.onnx").unlink()
    for content, said in ((None, "There is no artifact"), (b"none", "not an edgeclf artifact")):
        if content:
            (tmp_path / "a.onnx").write_bytes(content)
        with (
            pytest.raises(AssertionError, match=f"ended with 2.*{said}"),
            serving("--models", tmp_path, "--watch", "0"),
        ):
            pass


def test_one_that_memory_took_and_whose_file_goes_is_gone(watched: Watched) -> None:
    http, root, look = watched
    path = write(root, made("1"))
    write(root, made("1", name="other"))
    look()
    version = http.service.catalog.models["shades"].current
    version.on_demand = True
    run_in(http, as_coroutine(lambda: http.service.versions.retire(version, "memory was short")))
    version.drop_content()
    path.unlink()
    look()
    assert list(http.service.catalog.models) == ["other"]
    assert http.get("/healthz/ready").status_code == 200


async def as_coroutine(call: Callable[[], object]) -> None:
    call()


def test_what_was_loaded_by_hand_and_never_seen_goes_with_its_file(watched: Watched) -> None:
    http, root, look = watched
    paths = [write(root, made(number), f"{number}.onnx") for number in "123"]
    for path in paths:
        http.post("/admin/models/shades/load", json={"path": path.name})
    assert [v.number for v in http.service.catalog] == ["1", "2", "3"]
    for path in paths[:2]:
        path.unlink()
    look()
    assert [v.number for v in http.service.catalog] == ["3"] and label(http) == "dark-3"
