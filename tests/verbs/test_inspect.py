from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import edgeclf
from edgeclf.artifact import Metadata, Normalization, save_artifact, seal_artifact
from edgeclf.cli import main
from edgeclf.image import ImageSpec

SHA256 = "5c" * 32
CERTIFICATE = {
    "images": [{"png": "aGk=", "source": [0.9, 0.1], "artifact": [0.8, 0.2]}] * 3,
    "photo": {"jpeg": "aGk=", "source": [0.9, 0.1], "artifact": [0.8, 0.2]},
}
METADATA = Metadata(
    name="mugs",
    labels=("white", "crème brûlée"),
    image=ImageSpec(96, 128, resize="letterbox", kernel="bicubic", scaled_decode=False),
    precision="int8",
    version="2.1",
    normalization=Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    parameters=108_516,
    quantization={
        "scheme": "static int8",
        "recipe": "int8, min-max calibration",
        "kept_in_float": ["softmax", "conv_3"],
        "calibration": "min-max",
        "bias_correction": True,
        "reduce_range": None,
        "tool": "quantizer 1.2",
        "arena_bytes": 300_480,
    },
    calibration={"images": 128, "seed": 7, "sha256": SHA256, "files": ["a.jpg"]},
    training={
        "data_sha256": SHA256,
        "images": 1640,
        "settings": {"backbone": "student", "epochs": 30},
        "libraries": {"keras": "3.15.1"},
    },
    accuracy={
        "evaluation": "labelled",
        "images": 240,
        "data_sha256": SHA256,
        "top1_agreement": 0.9958,
        "max_change": 0.048409,
        "mean_change": 0.003,
        "source": {"top1": 0.9916, "top1_interval_95": [0.97, 0.998], "images": 240},
        "artifact": {"top1": 0.9875, "top1_interval_95": [0.964, 0.996], "images": 240},
    },
    certificate=CERTIFICATE,
    features={
        "tensor": "relu\x1b[2J",
        "layout": "nchw",
        "shape": [6, 5, 192],
        "pooling": "mean",
        "head": {"kind": "dense", "weights": "", "scale": ""},
    },
    description="Tells mugs from bowls.",
    license="Apache-2.0",
    origin_url="https://example.org/mugs",
    paper="https://arxiv.org/abs/1801.04381",
)
BARE = Metadata("bare", ("a", "b"), ImageSpec(8, 8))


def keras_model() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", "{}")
    return buffer.getvalue()


MODELS = {
    "tflite": b"\x1c\x00\x00\x00TFL3" + bytes(1000),
    "onnx": b"\x08\x08\x12\x04test",
    "keras": keras_model(),
}


def write(folder: Path, metadata: Metadata, format_: str = "tflite") -> str:
    path = folder / f"{metadata.name}.{format_}"
    save_artifact(seal_artifact(MODELS[format_], metadata), path)
    return str(path)


def printed(metadata: Metadata, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The text for one artifact, with every run of blanks as one."""
    assert main(["inspect", write(folder, metadata)]) == 0
    return "\n".join(" ".join(line.split()) for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("format_", MODELS)
def test_every_field_is_told_in_plain_types(format_: str, tmp_path: Path) -> None:
    path = write(tmp_path, METADATA, format_)
    found = edgeclf.inspect(path)
    artifact = edgeclf.load_artifact(path)
    assert found["file"] == path and found["format"] == format_
    assert found["size_bytes"] == Path(path).stat().st_size and found["sha256"] == artifact.sha256
    assert found["format_version"] == 1
    assert {field.name for field in dataclasses.fields(Metadata)} <= found.keys()
    assert found["labels"] == ["white", "crème brûlée"]
    assert found["normalization"]["mean"] == [123.675, 116.28, 103.53]
    assert found["image"] == dataclasses.asdict(METADATA.image)
    assert found["certificate"] == CERTIFICATE
    assert json.loads(json.dumps(found)) == found
    assert Metadata.from_json(json.dumps(found)) == METADATA


def test_the_text_tells_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(METADATA, tmp_path, capsys)
    found = edgeclf.inspect(tmp_path / "mugs.tflite")
    size = len(json.dumps(CERTIFICATE).encode()) / 1e3
    assert (
        text
        == f"""\
{tmp_path}/mugs.tflite
format tflite, format version 1
size {found["size_bytes"]:,} bytes
SHA-256 {found["sha256"]}

name mugs
version 2.1
description Tells mugs from bowls.
license Apache-2.0
origin https://example.org/mugs
paper https://arxiv.org/abs/1801.04381
parameters 108,516
labels 2
0 white
1 crème brûlée

input uint8 RGB [N, 96, 128, 3]
resize letterbox, bicubic kernel, full-size JPEG decoding
normalisation (x - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375) inside the graph
output float32 probabilities [N, 2]
features float32 [N, 6, 5, 192], their mean read by a dense layer
relu\\x1b[2J

precision int8
scheme static int8
recipe int8, min-max calibration
kept in float softmax, conv_3
ranges min-max
bias correction yes
tool quantizer 1.2
arena bytes 300,480
calibration 128 images, seed 7, SHA-256 {SHA256}

trained on 1,640 images, SHA-256 {SHA256}
settings backbone student, epochs 30
libraries keras 3.15.1

evaluation 240 labelled images, SHA-256 {SHA256}
source top-1 99.2%, 95% interval 97.0% to 99.8%, n = 240
artifact top-1 98.8%, 95% interval 96.4% to 99.6%, n = 240
agreement same top-1 on 99.6% of the images
largest change 0.048409 of a probability

certificate 3 golden images, one JPEG, {size:.1f} kB"""
    )


def test_the_text_is_aligned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", write(tmp_path, METADATA)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines()[1:] if line]
    column = rows[0].index("tflite")
    assert all(row[:2] == "  " and row[column - 2 : column] == "  " for row in rows)
    assert all(row[column] != " " for row in rows if row[2] != " ")


def test_what_is_absent_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(BARE, tmp_path, capsys).splitlines()[1:]
    titles = [line.split()[0] for line in lines if line]
    assert titles == ["format", "size", "SHA-256", "name", "version", "labels", "0", "1",
                      "input", "resize", "normalisation", "output", "precision"]  # fmt: skip
    assert "normalisation (x - 127) / 128 inside the graph" in lines


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"training": {"origin": {"file": "hub", "sha256": "ab"}}},
         "made from file hub, SHA-256 ab"),
        ({"accuracy": {"source": {"top1": 0.5}}}, "source top-1 50.0%"),
        ({"accuracy": {"evaluation": "generated", "images": 64}}, "evaluation 64 generated images"),
        ({"quantization": {"sparsity": 0.5}}, "sparsity 0.5"),
        ({"certificate": {"images": CERTIFICATE["images"]}}, "certificate 3 golden images, 0.2 kB"),
    ],
)  # fmt: skip
def test_a_part_may_be_sparse(
    given: dict[str, Any], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(dataclasses.replace(BARE, **given), tmp_path, capsys)
    assert text.splitlines()[-1] == expected


def test_features_that_more_than_a_dense_layer_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = {"tensor": "relu", "layout": "nhwc", "shape": [6, 5, 9], "pooling": "mean",
                "head": None}  # fmt: skip
    text = printed(dataclasses.replace(BARE, features=features), tmp_path, capsys)
    words = "features float32 [N, 6, 5, 9], their mean read by what is not in the metadata\nrelu\n"
    assert words in text


def test_int8_full_takes_and_gives_integers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(dataclasses.replace(BARE, precision="int8-full"), tmp_path, capsys)
    assert "input int8 RGB [N, 8, 8, 3], bytes minus 128\n" in text
    assert "output int8 [N, 2], probability = (score + 128) / 256\n" in text


@pytest.mark.parametrize(("count", "last"), [(12, "11 class 11"), (13, "and 3 more")])
def test_a_long_list_of_labels_is_cut(
    count: int, last: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tuple(f"class {number}" for number in range(count))
    text = printed(dataclasses.replace(BARE, labels=labels), tmp_path, capsys)
    listed = text[text.index("\nlabels ") : text.index("\n\ninput ")].splitlines()[1:]
    assert listed[0] == f"labels {count}" and listed[-1] == last
    assert listed[1:11] == [f"{number} class {number}" for number in range(10)]


def test_a_name_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(dataclasses.replace(BARE, version="\x1b[2J"), tmp_path, capsys)
    assert "version \\x1b[2J" in text


def test_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [write(tmp_path, METADATA, format_) for format_ in MODELS]
    assert main(["inspect", "--json", paths[0]]) == 0
    assert json.loads(capsys.readouterr().out) == edgeclf.inspect(paths[0])
    assert main(["inspect", *paths, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [edgeclf.inspect(path) for path in paths]


def test_several_files_follow_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write(tmp_path, BARE, format_) for format_ in MODELS]
    assert main(["inspect", *paths]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line and line[0] != " "] == paths


@pytest.mark.parametrize("words", [[], ["--json"]])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "its bytes have changed"),
        (lambda content: content.replace(b"letterbox", b"stretched"), "its bytes have changed"),
        (lambda content: MODELS["tflite"], "is not an edgeclf artifact"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_none_is_one_clear_line(
    words: list[str],
    change: Any,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good, bad = write(tmp_path, BARE), tmp_path / "bad.tflite"
    if change is not None:
        bad.write_bytes(change(seal_artifact(MODELS["tflite"], METADATA).content))
    assert main(["inspect", good, str(bad), *words]) == 2
    output = capsys.readouterr()
    assert output.out == "" and len(output.err.splitlines()) == 1
    assert output.err.startswith("edgeclf: ") and message in output.err and str(bad) in output.err


def test_the_module_does_not_hide_the_standard_one(tmp_path: Path) -> None:
    program = (
        "import sys, types, edgeclf, edgeclf.inspect, inspect\n"
        f"edgeclf.inspect({write(tmp_path, METADATA)!r})\n"
        "assert isinstance(edgeclf.inspect, types.FunctionType)\n"
        "assert list(inspect.signature(edgeclf.inspect).parameters) == ['model']\n"
        "print(*{'tensorflow', 'keras', 'onnx', 'onnxruntime', 'ai_edge_litert'} & "
        "sys.modules.keys())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.strip() == ""
    as_module = subprocess.run(
        [sys.executable, "-m", "edgeclf.inspect", "mugs.tflite"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert as_module.stdout.startswith("mugs.tflite\n") and as_module.stderr == ""
