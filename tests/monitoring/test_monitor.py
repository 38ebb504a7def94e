from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import edgeclf
from edgeclf.cli import main
from edgeclf.errors import DataError, OptionError, ServiceError
from edgeclf.monitoring.page import to_page
from edgeclf.monitoring.table import to_text
from edgeclf.trust.reference import RANGES, histograms
from support import browser
from support.services import artifact, listening, shade, write

TRUST = {
    "temperature": {"value": 1.0, "floor": 1e-6},
    "novelty": {"score": "confidence", "threshold": 0.5},
    "sets": {"score": "plain", "penalty": 0.0, "levels": []},
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    """What a service said after 60 dark pictures, its log, and what the verb printed."""
    folder = tmp_path_factory.mktemp("monitor")
    random = np.random.default_rng(0)
    values = {name: random.uniform(*limits, 400) for name, limits in RANGES.items()}
    reference = histograms(values, random.integers(0, 3, 400), 3)
    log = folder / "log.jsonl"
    paths = [write(folder, artifact(trust={**TRUST, "reference": reference})),
             write(folder, artifact("plain", "2"))]  # fmt: skip
    with listening(*paths, log=str(log)) as service, httpx.Client(base_url=service.url) as http:
        for _ in range(120):
            http.post("/v1/models/shades/classify", content=shade(20))
        http.post("/v1/models/shades/classify", content=b"nothing")
        document = edgeclf.monitor(service.url, out=folder / "page.html")
    return document, log, (folder / "page.html").read_text()


def of(document: dict[str, Any], model: str) -> dict[str, Any]:
    (found,) = (v for v in document["versions"] if v["model"] == model)
    return dict(found)


def test_a_service_is_asked(asked: tuple[dict[str, Any], Path, str]) -> None:
    document, _, page = asked
    assert document["schema"] == "edgeclf.monitor/1"
    shades, plain = of(document, "shades"), of(document, "plain")
    assert shades["pictures"] == 120 and any(entry["alarm"] for entry in shades["drift"].values())
    assert plain["pictures"] == 0 and len(plain["cannot"]) == 2
    text = to_text(document)
    assert "ALARM at picture" in text and "cannot tell" in text and "expected [" in text
    assert page == to_page(document) and "http" not in page.replace(document["source"], "")


@pytest.mark.skipif(browser.CHROMIUM is None, reason="needs Chromium")
def test_the_page_can_be_read(asked: tuple[dict[str, Any], Path, str], tmp_path: Path) -> None:
    look = browser.check(asked[2], tmp_path)
    assert look.pictures == 7 and look.tables == 2


def test_a_log_is_read(asked: tuple[dict[str, Any], Path, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(asked[1].read_bytes() + b'{"half\n[]\n{"answers": [{}], "status": 200}\n')
    document = edgeclf.monitor(log, out=tmp_path / "page.html")
    (version,) = document["versions"]
    assert document["requests"] == {"200": 121, "422": 1}
    assert document["damaged_lines"] == 3
    assert version["labels"] == {"dark": 120} and version["errors"] == {"ImageError": 1}
    assert version["pictures"] == 120 and 0 <= version["unknown_share"] <= 1
    assert version["times"]["decode_ms"]["p50"] <= version["times"]["decode_ms"]["p99"]
    assert version["drift"] is None and "ask the service" in version["cannot"][0].lower()
    assert "dark: 100.0%" in to_text(document)


def test_the_verb_prints_text_or_json(
    asked: tuple[dict[str, Any], Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["monitor", str(asked[1])]) == 0
    assert "shades 1 (" in capsys.readouterr().out
    assert main(["monitor", str(asked[1]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "edgeclf.monitor/1"


@pytest.mark.parametrize("source, error", [
    ("https://127.0.0.1", OptionError), ("http://", OptionError), ("http://a:b", OptionError),
    ("http://127.0.0.1:1", ServiceError), ("nothing.jsonl", DataError),
])  # fmt: skip
def test_what_cannot_be_asked_is_named(source: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        edgeclf.monitor(source)


def test_a_file_that_is_no_log_and_keys(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\0\xff\nno log\n")
    with pytest.raises(DataError, match="holds no line of a log"):
        edgeclf.monitor(path)
    with pytest.raises(OptionError, match="key-file"):
        edgeclf.monitor(path, key_file=path)
    for key in (path, tmp_path / "none"):
        with pytest.raises(OptionError):
            edgeclf.monitor("http://127.0.0.1:1", key_file=key)


def test_names_are_escaped() -> None:
    version = {"model": "<script>", "version": "1", "sha256": "0" * 64, "pictures": 1,
               "cannot": ["<i>"], "drift": None, "label_shift": None, "expected_accuracy": None,
               "labels": {"<b>": 1}}  # fmt: skip
    page = to_page({"source": "<u>", "versions": [version]})
    assert not any(tag in page for tag in ("<script>", "<i>", "<b>", "<u>"))
