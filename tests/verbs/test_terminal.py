"""What reaches the terminal: the answers, and nothing of what engines print on their way."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from edgeclf.artifact import Metadata, save_artifact, seal_artifact
from edgeclf.cli import main
from edgeclf.image import ImageSpec
from support.benchmark_results import make_results

OWN = "  "  # edgeclf's progress and results are set in


def run(*words: object) -> subprocess.CompletedProcess[str]:
    # As a user's shell has it: the tests' own choice of a log level is not theirs.
    variables = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "edgeclf", *map(str, words)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "file", ["mugs.int8.tflite", "mugs.int8-full.tflite", "mugs.int8.onnx", "mugs.keras"]
)
def test_classify_prints_nothing_but_its_answer(file: str, model_folder: Path, photo: Path) -> None:
    done = run("classify", model_folder / file, photo)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_convert_prints_nothing_but_its_own_lines(
    model_folder: Path, mugs: Path, tmp_path: Path
) -> None:
    done = run(
        "convert", model_folder / "mugs.keras", "--calibration", mugs / "train", "--evaluation",
        mugs / "eval", "--tolerance", "0.5", "--out", tmp_path, "--to", "fp32.tflite",
        "int8.tflite", "fp32.onnx", "int8.onnx",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith(OWN)] == []
    elsewhere = tmp_path / "mugs.fp32.tflite"
    done = run("classify", elsewhere, *(mugs / "eval" / "blue").iterdir())
    assert (done.returncode, done.stderr) == (0, "")


def check_only_own_lines(source: Path, labels: Path, *to: str) -> None:
    done = run("convert", source, "--labels", labels, "--out", source.parent / "out", "--to", *to)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith(OWN)] == []


def test_a_tflite_from_elsewhere_prints_nothing_of_its_engine(tmp_path: Path) -> None:
    from support import tflite_models

    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    (tmp_path / "m.tflite").write_bytes(tflite_models.model())
    check_only_own_lines(tmp_path / "m.tflite", tmp_path / "labels.txt", "fp32.tflite")


def test_a_saved_model_prints_nothing_of_its_engine(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", reason="needs edgeclf[train]")
    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    keras.Model(image, layers.Dense(3, activation="softmax")(x)).export(tmp_path / "m")
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    targets = ("fp32.tflite", "fp32.onnx")
    check_only_own_lines(tmp_path / "m", tmp_path / "labels.txt", *targets)


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """An artifact whose labels are no ASCII."""
    metadata = Metadata("Tässchen", ("Müslischüssel", "茶碗"), ImageSpec(8, 8))
    path = save_artifact(seal_artifact(b"", metadata), tmp_path / "model.onnx").path
    assert path is not None
    return path


@pytest.mark.parametrize(
    ("variables", "label"),
    [
        ({"PYTHONIOENCODING": "ascii"}, b"M?slisch?ssel"),
        ({"PYTHONIOENCODING": "ascii:strict"}, b"M?slisch?ssel"),
        ({"PYTHONIOENCODING": "latin-1"}, "Müslischüssel".encode("latin-1")),
        ({"PYTHONIOENCODING": "utf-16-le"}, "Müslischüssel".encode("utf-16-le")),
        ({"LC_ALL": "C"}, "Müslischüssel".encode()),  # Python takes UTF-8 there
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, b"M?slisch?ssel"),
    ],
)
def test_every_locale_prints(variables: dict[str, str], label: bytes, named: Path) -> None:
    command = [sys.executable, "-m", "edgeclf", "inspect", str(named)]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert label in done.stdout


def test_a_name_that_is_no_text_is_printed_byte_by_byte(named: Path) -> None:
    odd = os.fsencode(named.parent) + b"/caf\xe9.onnx"
    try:
        named.rename(os.fsdecode(odd))
    except OSError:
        pytest.skip("this file system takes only text as names")
    command = [sys.executable, "-m", "edgeclf", "inspect", "--json", odd]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)["file"].encode("utf-8", "surrogateescape") == odd


def test_a_letter_that_utf8_has_not_is_replaced() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit):
            main(["--help"])
        print("\ud83d, \udce9")
        stream.flush()
    assert stream.buffer.getvalue().endswith(b"?, \xe9\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_output_is_one_line(named: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "edgeclf", "inspect", str(named)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "edgeclf: No space left on device. Make room, or choose another place."
    ]


def test_a_file_that_finds_no_room_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("edgeclf.report", reason="needs edgeclf[report]")
    resource = pytest.importorskip("resource", reason="needs POSIX limits")
    (tmp_path / "benchmark.json").write_text(json.dumps(make_results()))
    soft, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, most))  # of a file, in bytes
    try:
        code = main(["report", str(tmp_path / "benchmark.json"), "--out", str(tmp_path / "out")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, most))
    page = tmp_path / "out" / "report.html"
    assert (code, capsys.readouterr().err) == (
        2, f"edgeclf: {page}: File too large. Make room, or choose another place.\n"
    )  # fmt: skip
    assert [*page.parent.iterdir()] == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "photos"), "photos: Permission denied."),
        (OSError("Unable to open\n  file"), "OSError: Unable to open file"),
        (UnicodeEncodeError("ascii", "ä", 0, 1, "ordinal not in range"), "PYTHONUTF8=1"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*models: object) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("edgeclf.inspect"), "inspect", refuse)
    assert main(["inspect", "model.onnx"]) == 2
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1 and line in printed.err and printed.out == ""


def test_a_program_without_streams_works(named: Path) -> None:
    program = (
        "import sys, edgeclf.cli\n"
        "sys.stdout = sys.stderr = None\n"
        "codes = [edgeclf.cli.main(['inspect', path]) for path in sys.argv[1:]]\n"
        "sys.exit(codes != [0, 2])\n"
    )
    command = [sys.executable, "-c", program, str(named), "gone.onnx"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_that_finds_no_room_is_no_success(word: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "edgeclf", word], stdout=full, stderr=-1)
    assert done.returncode == 2 and b"No space left on device" in done.stderr


def test_json_loses_no_letter_on_any_stream(named: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "edgeclf", "classify", "--json", "--runtime", "fake",
               str(named), str(tmp_path / "a.png")]  # fmt: skip
    for encoding in ("ascii", "utf-8"):
        done = subprocess.run(
            command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        labels = {score["label"] for score in json.loads(done.stdout.decode(encoding))["scores"]}
        assert labels == {"Müslischüssel", "茶碗"}


def test_a_name_of_two_lines_is_printed_on_one(named: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a\nb.png")
    done = run("classify", "--runtime", "fake", named, tmp_path / "a\nb.png")
    assert len(done.stdout.splitlines()) == 1 and r"a\nb.png: " in done.stdout
