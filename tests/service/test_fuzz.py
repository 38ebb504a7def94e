from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from support import REPOSITORY

pytest.importorskip("uvicorn", reason="needs edgeclf[serve]")

BENCHMARKS = REPOSITORY / "benchmarks"

if not Path("/proc/self/status").exists():
    pytest.skip("the fuzzer measures memory as Linux tells it", allow_module_level=True)


@pytest.fixture
def fuzz_service(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("fuzz_service", BENCHMARKS / "fuzz_service.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fuzz_service", module)  # for its dataclasses
    spec.loader.exec_module(module)
    return module


def test_odd_requests_get_one_clear_answer_and_the_service_lives_on() -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "fuzz_service.py", "--count", "500", "--seed", "1"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "500 requests: 0 failures" in done.stdout
    rows = re.findall(r"^(\w+) +(\d+): (.*)$", done.stdout, re.MULTILINE)
    assert sum(int(count) for _, count, _ in rows) == 500
    assert {kind for kind, _, _ in rows} == {
        "raw", "form", "json", "infer", "binary", "none", "noise",
    }  # fmt: skip
    answered = sum(int(n) for _, _, counts in rows for n in re.findall(r"200 (\d+)", counts))
    refused = sum(int(n) for _, _, counts in rows for n in re.findall(r"4\d\d (\d+)", counts))
    assert answered > 25 and refused > 100, "the requests are too odd, or not enough"


@pytest.mark.parametrize(
    ("status", "document", "wrong"),
    [
        (400, b'{"error": "No.", "code": "bad"}', None),
        (200, b"anything", None),
        (503, b'{"ready": false}', None),
        (400, b"No.", "is no JSON"),
        (400, b'{"detail": "No."}', "no error of ours"),
        (400, b'{"error": "No.\\nNo."}', "is no sentence"),
        (400, b'{"error": ""}', "is no sentence"),
        (500, b'{"error": "No.", "code": "failed"}', "is no sentence"),
        (500, b'{"error": "Traceback (most recent call last)"}', "shows Traceback"),
        (200, f"{REPOSITORY}/edgeclf".encode(), "shows /"),
    ],
)
def test_the_fuzzer_notices(
    fuzz_service: ModuleType, status: int, document: bytes, wrong: str | None
) -> None:
    said = fuzz_service.judge(status, document, False)
    assert said is None if wrong is None else wrong in said


def test_a_request_is_made_again_by_its_number(fuzz_service: ModuleType) -> None:
    from odd_requests import OddRequests  # type: ignore[import-not-found]

    first, again = OddRequests(7, "key"), OddRequests(7, "key")
    contents = [first.make(number).content for number in range(50)]
    assert contents == [again.make(number).content for number in range(50)]
    assert len(set(contents)) > 40
