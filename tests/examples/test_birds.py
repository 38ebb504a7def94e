"""examples/birds, run as its readers run it: offline, on drawn pictures and a stand-in."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import edgeclf
from support import browser
from support.example_scripts import EXAMPLES
from support.services import artifact, serving, shade, write

FOLDER = EXAMPLES / "birds"
SCRIPT = FOLDER / "birds.py"
NOWHERE = "http://127.0.0.1:1"  # where nothing listens


def birds(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)], cwd=folder, capture_output=True,
        text=True, check=False, timeout=900,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports one of the example's modules."""
    monkeypatch.syspath_prepend(FOLDER)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


@contextmanager
def hub(files: dict[str, bytes], cut: int = 0) -> Iterator[str]:
    """A server on loopback in place of those that have models and pictures."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path.partition("?")[0])
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + cut))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=partial(server.serve_forever, 0.02))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def packed(folder: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.add(folder, ".")
    return out.getvalue()


# The whole story.


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder of one whole run, and what it printed."""
    for name in ("tensorflow", "mlflow", "starlette", "jinja2"):
        pytest.importorskip(name, reason="needs edgeclf[all,registry]")
    folder = tmp_path_factory.mktemp("birds")
    done = birds(folder, "run", "--quick", "--out", "out")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


@pytest.mark.slow
def test_the_story_ends_in_a_table_of_the_top_3(told: tuple[Path, str, str], module: Any) -> None:
    folder, printed, said = told
    out, stand_in = folder / "out", module("stand_in")
    assert "has never seen a bird" in said  # loud, whatever else is read
    assert sorted(path.name for path in folder.iterdir()) == ["out"]  # nothing beside it
    pictures = sorted((out / "photos" / "batch").iterdir())
    lines = printed.splitlines()
    assert lines[0].split() == ["PICTURE", "RANK", "LABEL", "PROBABILITY"]
    with edgeclf.Classifier(out / "birds.int8.tflite") as classifier:
        names = classifier.artifact.metadata.labels
        assert names == tuple(stand_in.labels())  # though the table has them in no order
        top = [classifier.classify(path).top(3) for path in pictures]
    right = 0
    for index, (path, scores) in enumerate(zip(pictures, top, strict=True)):
        first, *others = (line.split() for line in lines[1 + 3 * index : 4 + 3 * index])
        assert first[0] == path.name
        for rank, (words, score) in enumerate(zip((first[1:], *others), scores, strict=True), 1):
            assert words == [str(rank), *score.label.split(), f"{score.probability:.1%}"]
        right += scores[0].label == names[stand_in.places()[int(path.stem[-2:])]]
    assert right >= len(pictures) - 1  # the stand-in does tell the drawn kinds apart


@pytest.mark.slow
def test_what_is_served_is_registered_logged_and_watched(told: tuple[Path, str, str]) -> None:
    out = told[0] / "out"
    served = edgeclf.load_artifact(out / "birds.int8.tflite")
    made = json.loads((out / "registered.json").read_text())
    assert made == {"name": "birds", "sha256": served.sha256, "version": "1"}
    entries = [json.loads(line) for line in (out / "requests.jsonl").read_text().splitlines()]
    asked = [entry for entry in entries if entry["route"] == "/classify"]
    assert len(asked) == 6 and {entry["status"] for entry in asked} == {200}
    assert {entry["answers"][0]["sha256"] for entry in asked} == {served.sha256}
    metrics = (out / "metrics.txt").read_text()
    assert 'edgeclf_pictures_total{model="birds",version="1"} 6.0' in metrics
    assert "birds 1" in (out / "monitoring.html").read_text()
    answers = [
        metric for metric in metrics.splitlines() if metric.startswith("edgeclf_registry_up")
    ]
    assert answers == ['edgeclf_registry_up{model="birds"} 1.0']


@pytest.mark.slow
def test_the_report_says_where_the_time_goes(told: tuple[Path, str, str], module: Any) -> None:
    out, pages = told[0] / "out", module("pages")
    record = json.loads((out / "report.json").read_text())
    assert record["stand_in"] and record["quick"] and record["classes"] == 965
    service = record["service"]
    for name, each in service["stages_ms"].items():
        assert each["n"] >= 1 and each["p50"] >= 0 and each["p99"] is None, name
    assert service["one_client"]["failed"] == service["at_rate"]["failed"] == 0
    assert {(row["precision"], row["format"]) for row in record["engines"]} == {
        ("int8", "tflite"), ("fp32", "tflite"),
    }  # fmt: skip
    assert "command" not in record["environment"]  # which may name a folder of this machine
    text = (out / "report.md").read_text()
    assert "answers mean nothing" in text and "take no figure from it" in text
    assert pages.bottleneck(record) in text
    assert str(told[0]) not in text + (out / "slides.html").read_text()


@pytest.mark.slow
def test_a_model_is_fetched_looked_at_and_only_then_put_in_place(
    told: tuple[Path, str, str], tmp_path: Path, module: Any
) -> None:
    model = told[0] / "out" / "model"
    labels, fetching = (model / "map.csv").read_bytes(), module("fetching")
    fewer = b"\n".join([*labels.splitlines()[:1], b"0,a", b"1,b"])
    files = {"/birds": packed(model / "birds"), "/map.csv": labels, "/two.csv": fewer}
    with hub(files) as url:
        made = fetching.fetch_model(f"{url}/birds", f"{url}/map.csv", tmp_path)
        assert made["classes"] == 965
        assert made["model"]["size_bytes"] == len(files["/birds"]) and made["model"]["ms"] > 0
        kept = sorted(path.name for path in tmp_path.iterdir())
        assert kept == ["birds", "fetched.json", "map.csv"]
        record = (tmp_path / "fetched.json").read_bytes()
        for asked, words, problem in (
            (("/birds", "/two.csv"), {}, "labels are 2,"),
            (("/birds", "/map.csv"), {"sha256": 64 * "0"}, "expected 0000"),
            (("/map.csv", "/map.csv"), {}, "no .tar.gz"),
            (("/gone", "/map.csv"), {}, "answers 404"),
        ):
            with pytest.raises(edgeclf.DataError, match=problem):
                fetching.fetch_model(*(url + each for each in asked), tmp_path, **words)
    assert (tmp_path / "fetched.json").read_bytes() == record
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    fetching.check_signature(tmp_path / "birds", 965)


# What it is made of.


def test_a_model_of_another_signature_is_refused(tmp_path: Path, module: Any) -> None:
    pytest.importorskip("tensorflow", reason="needs edgeclf[all]")
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    def described(name: str, sides: list[int], scores: int) -> Path:
        proto = SavedModel()
        signature = proto.meta_graphs.add().signature_def["default"]
        for tensors, key, shape in (
            (signature.inputs, name, sides), (signature.outputs, "default", [-1, scores]),
        ):  # fmt: skip
            tensors[key].dtype = 1
            for side in shape:
                tensors[key].tensor_shape.dim.add(size=side)
        (tmp_path / "saved_model.pb").write_bytes(proto.SerializeToString())
        return tmp_path

    check = module("fetching").check_signature
    check(described("images", [-1, 224, 224, 3], 965), 965)
    for name, sides, scores in (
        ("x", [-1, 224, 224, 3], 965), ("images", [-1, 96, 96, 3], 965),
        ("images", [-1, 224, 224, 3], 1001),
    ):  # fmt: skip
        with pytest.raises(edgeclf.DataError, match=r"expected one input 'images', float32 \[N, 2"):
            check(described(name, sides, scores), 965)
    with pytest.raises(edgeclf.DataError, match="964"):
        check(described("images", [-1, 224, 224, 3], 965), 964)
    (tmp_path / "saved_model.pb").write_text("<html>")
    with pytest.raises(edgeclf.DataError, match=r"no SavedModel|takes nothing"):
        check(tmp_path, 965)


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_what_the_scores_are_is_told_from_the_model(kind: str, tmp_path: Path, module: Any) -> None:
    tf = pytest.importorskip("tensorflow", reason="needs edgeclf[all]")
    weights = tf.random.stateless_normal((3, 965), (0, 1), stddev=9.0)

    class Scores(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 224, 224, 3], tf.float32)])
        def __call__(self, images: Any) -> Any:
            scores = tf.reduce_mean(images, [1, 2]) @ weights
            return {"default": scores if kind == "logits" else tf.nn.softmax(scores)}

    model = Scores()
    tf.saved_model.save(model, str(tmp_path), signatures={"default": model.__call__})
    assert module("birds").kind_of_scores(tmp_path) == kind


def test_what_is_fetched_is_whole_small_enough_and_what_it_should_be(
    tmp_path: Path, module: Any
) -> None:
    fetching, path = module("fetching"), tmp_path / "file"
    with hub({"/a": b"12345"}) as url:
        found = fetching.fetch(f"{url}/a", path, 5)
        assert path.read_bytes() == b"12345" and found.size_bytes == 5
        assert fetching.fetch(f"{url}/a", path, 5, found.sha256.upper()).sha256 == found.sha256
        with pytest.raises(edgeclf.DataError, match="larger than 4 bytes"):
            fetching.fetch(f"{url}/a", path, 4)
        with pytest.raises(edgeclf.DataError, match="Nothing was kept"):
            fetching.fetch(f"{url}/a", path, 5, "0" * 64)
    with hub({"/a": b"12345"}, cut=7) as url, pytest.raises(edgeclf.DataError, match="of 12"):
        fetching.fetch(f"{url}/a", path, 50)
    for address in ("file:///etc/hosts", "ftp://127.0.0.1/a", "a.jpg"):
        with pytest.raises(edgeclf.OptionError, match="expected http"):
            fetching.fetch(address, path, 5)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]  # the whole one


def test_pictures_become_the_batch_if_there_are_any(tmp_path: Path, module: Any) -> None:
    script = module("birds")
    plan = module("plan").Run(tmp_path, None, True)
    with hub({"/a%20b.jpg": shade(20), "/page": b"<html>Sign in</html>"}) as url:
        (tmp_path / "urls.txt").write_text(f"{url}/page\n{url}/gone.jpg\n")
        done = birds(tmp_path, "fetch", "--pictures", "urls.txt", "--out", ".")
        assert done.returncode == 2 and done.stdout == "pictures: 0 of 2\n"
        assert "/page gave is no picture" in done.stderr and "answers 404" in done.stderr
        assert plan.batch == tmp_path / "photos" / "batch"
        (tmp_path / "urls.txt").write_text(f"{url}/page\n{url}/a%20b.jpg\n")
        assert script.fetch_batch(tmp_path / "urls.txt", tmp_path) == 2
    assert [path.name for path in plan.batch.iterdir()] == ["001-a-20b.jpg"]
    times = module("measuring").fetch_times(tmp_path / "pictures.json")
    assert times["n"] == 1 and times["p50"] > 0


def test_photos_that_are_not_where_they_should_be_are_missed_at_once(tmp_path: Path) -> None:
    done = birds(tmp_path, "run", "--photos", "nosuch", "--out", "out")
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "There is no folder nosuch/calibration" in line
    done = birds(tmp_path, "report", "--out", "out")
    assert done.returncode == 2 and "Run: birds.py run" in done.stderr


@pytest.mark.parametrize("kind", ["outside", "nothing", "no archive"])
def test_an_archive_that_is_no_model_is_refused(kind: str, tmp_path: Path, module: Any) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("../../saved_model.pb" if kind == "outside" else "readme")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"text"))
    if kind == "no archive":
        archive.write_text("<html>Sign in</html>")
    problem = "0 files saved_model.pb" if kind == "nothing" else "can be unpacked"
    with pytest.raises(edgeclf.DataError, match=problem):
        module("fetching").unpack(archive, tmp_path / "deep" / "model")
    assert not (tmp_path / "saved_model.pb").exists()


def test_without_a_network_fetch_says_so_in_one_line(tmp_path: Path) -> None:
    done = birds(tmp_path, "fetch", "--savedmodel", f"{NOWHERE}/m.tar.gz", "--labels",
                 f"{NOWHERE}/map.csv", "--out", "out")  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert (
        line.startswith(f"birds.py: Cannot fetch {NOWHERE}/m.tar.gz: ") and "birds.py run" in line
    )
    assert [path.name for path in (tmp_path / "out" / "model").iterdir()] == []
    for words in (("fetch",), ("fetch", "--labels", NOWHERE)):
        done = birds(tmp_path, *words)
        assert done.returncode == 2 and "--savedmodel" in done.stderr


def test_a_batch_is_asked_for_and_what_has_no_answer_costs_no_other(tmp_path: Path) -> None:
    model = write(tmp_path, artifact("shades", "3"))
    (tmp_path / "20.jpg").write_bytes(shade(20))
    (tmp_path / "text.jpg").write_text("no picture")
    with serving(model, "--runtime", "fake") as running, hub({"/240.jpg": shade(240)}) as url:
        given = ("20.jpg", f"{url}/240.jpg", "nosuch.jpg", f"{url}/gone.jpg", "text.jpg")
        done = birds(tmp_path, "ask", *given, "--url", running.url)
        as_json = birds(tmp_path, "ask", "--json", "20.jpg", "--url", running.url)
    assert done.returncode == 2
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["PICTURE", "RANK", "LABEL", "PROBABILITY"],
        ["20.jpg", "1", "dark", "90.0%"], ["2", "middle", "5.0%"], ["3", "bright", "5.0%"],
        ["000-240.jpg", "1", "bright", "90.0%"], ["2", "dark", "5.0%"], ["3", "middle", "5.0%"],
    ]  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if line.startswith("birds.py: ")]
    assert [re.search("nosuch|text|gone", line)[0] for line in complaints] == [  # type: ignore[index]
        "nosuch", "text", "gone",
    ]  # fmt: skip
    assert "2 answered by shades 3 (" in done.stderr
    assert as_json.returncode == 0
    answer = json.loads(as_json.stdout)
    assert answer["top"][0] == {"label": "dark", "probability": pytest.approx(0.9)}
    assert {"queue_ms", "decode_ms", "inference_ms"} <= set(answer["stages_ms"])


def test_where_no_service_is_one_line_and_code_2(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(shade(20))
    done = birds(tmp_path, "ask", "a.jpg", "--url", NOWHERE)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("birds.py: Cannot ask") and NOWHERE in line
    done = birds(tmp_path, "ask", "a.jpg", "--url", "https://127.0.0.1")
    assert done.returncode == 2 and "expected http://HOST:PORT" in done.stderr


def test_a_service_that_is_busy_is_asked_again(tmp_path: Path, module: Any) -> None:
    answers = [(503, {"error": "busy"}), (200, {
        "model": "m", "version": "1", "sha256": "0" * 64, "top": [], "timing": {},
    })]  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = answers.pop(0)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    (tmp_path / "a.jpg").write_bytes(b"x")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=partial(server.serve_forever, 0.02))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        (answer,) = module("client").ask(url, [tmp_path / "a.jpg"])
        server.shutdown()
        thread.join()
    assert answer.error is None and answer.by == "m 1 (000000000000)" and answers == []


def test_the_labels_are_965_in_no_order_and_pictures_are_the_same_each_time(
    tmp_path: Path, module: Any
) -> None:
    stand_in, pictures = module("stand_in"), module("pictures")
    names = stand_in.labels()
    assert len(set(names)) == 965 and names[-1] == "background"
    stand_in.write_labels(tmp_path / "map.csv")
    with open(tmp_path / "map.csv", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["id", "name"] and [row[1] for row in rows] != names
    assert {int(key): name for key, name in rows} == dict(enumerate(names))
    twice = [pictures.draw_batch(tmp_path / each, 13, (160, 120)) for each in ("a", "b")]
    assert [path.name for path in twice[0]] == [path.name for path in twice[1]]
    assert len({path.read_bytes() for path in twice[0]}) == 13
    assert twice[0][-1].name == "012-landscape.jpg"


def test_the_committed_pages_are_those_of_the_committed_record(tmp_path: Path, module: Any) -> None:
    pytest.importorskip("edgeclf.reporting", reason="needs edgeclf[report]")
    measured = FOLDER / "measured"
    record = json.loads((measured / "report.json").read_text())
    assert not record["quick"]
    for path in module("pages").write(record, tmp_path):
        assert path.read_text() == (measured / path.name).read_text(), (
            f"{path.name}: run python examples/birds/pages.py examples/birds/measured/report.json"
        )
    slides = (measured / "slides.html").read_text()
    addresses = set(re.findall(r"https?://[^\"'\s<)]+", slides))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, which nothing loads
    assert "$" not in re.sub(r"<script.*?</script>", "", slides, flags=re.DOTALL)
    assert sum(path.stat().st_size for path in measured.iterdir()) < 150_000


@pytest.mark.skipif(browser.CHROMIUM is None, reason="needs Chromium")
def test_the_slides_turn_by_keys_fit_the_screen_and_print_one_a_sheet(tmp_path: Path) -> None:
    slides = (FOLDER / "measured" / "slides.html").read_text()
    probe = """<script>
      const seen = [], tall = [];
      for (const key of ["ArrowRight", " ", "PageUp", "End", "ArrowRight", "Home", "ArrowLeft"]) {
        dispatchEvent(new KeyboardEvent("keydown", {key}));
        seen.push(pages.findIndex(page => page.classList.contains("shown")));
      }
      pages.forEach((page, index) => {
        show(index);
        if (document.documentElement.scrollHeight > innerHeight) tall.push(index);
      });
      document.title = JSON.stringify([seen, tall, pages.length]);
      </script></body>"""
    page = tmp_path / "slides.html"
    page.write_text(slides.replace("</body>", probe))
    dom = browser.run(tmp_path, "--window-size=1280,800", "--dump-dom", page.as_uri())
    title = re.search("<title>(.*?)</title>", dom)
    assert title is not None and json.loads(title[1]) == [[1, 2, 1, 8, 8, 0, 0], [], 9]
    assert browser.print_pages(FOLDER / "measured" / "slides.html", tmp_path) == 9


def test_a_bottleneck_is_named_by_the_figures(module: Any) -> None:
    pytest.importorskip("edgeclf.reporting", reason="needs edgeclf[report]")
    pages = module("pages")
    stages = {"queue": 0.1, "decode": 2.0, "preprocess": 1.0, "inference": 6.0, "service": 0.9}
    service = {
        "stages_ms": {name: {"p50": ms} for name, ms in stages.items()},
        "one_client": {"latency_ms": {"p50": 10.0}},
    }
    assert pages.bottleneck({"service": service}) == (
        "The bottleneck is engine: 6.00 ms of 10.0 ms, 60.0 % of what one client waits."
    )
    service["stages_ms"]["decode"]["p50"] = 7.0
    assert pages.bottleneck({"service": service}).startswith("The bottleneck is decode: 7.00 ms")
