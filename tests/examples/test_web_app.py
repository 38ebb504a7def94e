"""examples/web_app, run as its readers run it: on stand-ins, as networks take minutes to make."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeclf.errors import OptionError
from support.example_scripts import EXAMPLES
from support.services import artifact, write

FOLDER = EXAMPLES / "web_app"
START_S = 60
pytest.importorskip("starlette", reason="needs edgeclf[serve]")


def command(*words: object) -> list[str]:
    return [sys.executable, "-W", "error", str(FOLDER / "web_app.py"), *map(str, words)]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module("web_app")
    sys.modules.pop("web_app", None)


@contextmanager
def running(*words: object) -> Iterator[str]:
    """The address of the page, from when it is ready."""
    with subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(START_S, process.kill)
        watchdog.start()
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if found := re.search(r"the page is at (http://\S+?)/(?: |$)", line):
                    break
            else:
                raise AssertionError(lines)
            yield found[1]
        finally:
            watchdog.cancel()
            process.kill()


def ask(url: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        content: bytes = answer.read()
        return content


def test_three_models_of_ones_choice_are_served_with_pictures_to_try(
    model_folder: Path, tmp_path: Path
) -> None:
    files = [f"{name}={model_folder / f'mugs.{name}.tflite'}" for name in ("int8", "fp32", "fp16")]
    with running(*files, "--out", tmp_path / "out", "--port", 0) as url:
        assert ask(f"{url}/", Accept="text/html").startswith(b"<!doctype html>")
        models = json.loads(ask(f"{url}/v1/models"))["models"]
        assert sorted(each["model"] for each in models) == ["fp16", "fp32", "int8"]
        assert all(each["state"] == "ready" and each["certificate"] for each in models), models
        listed = json.loads(ask(f"{url}/v1/gallery"))["pictures"]
        assert "mug blue.jpg" in listed
        mug = ask(f"{url}/v1/gallery/mug%20blue.jpg")
        answer = json.load(urllib.request.urlopen(f"{url}/v1/models/int8/classify", mug))
        assert len(answer["top"]) >= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]  # nothing beside it


def test_what_cannot_be_served_is_one_line_before_anything_is_made(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "make", lambda *words, **options: pytest.fail("it was made"))
    good, bad = str(write(tmp_path, artifact())), str(tmp_path / "bad.onnx")
    Path(bad).write_text("no model")
    out = ["--out", str(tmp_path / "out"), "--port", "0"]
    for words, said in (
        (["lite0", bad], "bad.onnx"),
        ([good, "efficientnet-lite9"], "There is no 'efficientnet-lite9' in the zoo"),
        ([good, "--samples", str(tmp_path / "none")], "No such file"),
    ):
        monkeypatch.setattr(sys, "argv", ["web_app.py", *words, *out])
        assert module.main() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("web_app.py: ") and said in line


def test_networks_are_made_once_in_processes_of_their_own(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was stopped goes on where it was; here `edgeclf zoo` writes an empty file."""
    made, served = list[str](), dict[str, Any]()
    fails = {"efficientnet-lite2.int8.tflite"}

    def zoo(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert words[1:4] == ["-m", "edgeclf", "zoo"] and "--download" not in words
        values = dict(zip(words[5::2], words[6::2], strict=True))
        name = f"{words[4]}.{values['--precisions']}.{values['--formats']}"
        made.append(name)
        if name in fails:
            return subprocess.CompletedProcess(words, 2)
        (Path(values["--out"]) / name).touch()
        return subprocess.CompletedProcess(words, 0)

    def ui(sources: list[str], config: Any) -> None:
        served.update(sources=sources, gallery=config.gallery)

    monkeypatch.setattr(module.subprocess, "run", zoo)
    monkeypatch.setattr(module.edgeclf, "ui", ui)
    monkeypatch.setattr(module, "locate", lambda *words, **options: Path())  # no package needed
    monkeypatch.setattr(sys, "argv", ["web_app.py", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2 and not served
    assert made == [f"efficientnet-lite{n}.int8.tflite" for n in (0, 1, 2)]
    assert "2 of 3, efficientnet-lite1.int8.tflite" in capsys.readouterr().err
    fails.clear()
    assert module.main() == 0
    assert made[3:] == ["efficientnet-lite2.int8.tflite"]  # the others were there
    names = [source.partition("=")[0] for source in served["sources"]]
    assert names == [f"efficientnet-lite{n}.int8" for n in (0, 1, 2)]
    assert len(list(Path(served["gallery"]).iterdir())) >= 4


def test_weights_that_are_not_here_are_told(module: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="edgeclf fetches nothing by itself"):
        module.choose(["resnet152"], ["int8"], tmp_path, download=False)
    (choice,) = module.choose(["resnet152"], ["fp32"], tmp_path, download=True)
    assert choice.path == tmp_path / "resnet152.fp32.tflite" and choice.network == "resnet152"
