"""What an engine prints past `sys.stderr`: advice, complaints, and what others write meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from edgeclf.errors import RuntimeLoadError
from edgeclf.system import quiet
from edgeclf.system.quiet import first_words_of

ADVICE = (
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    "I0000 00:00:1795904620.532452   15594 cudart_stub.cc:31] Could not find cuda drivers\n"
    "I1128 22:22:48.123456 15594 cpu_feature_guard.cc:227] This binary is optimized\n"
)
ENGINE = "the engine of this test"


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "_heard", set())


def say(text: str) -> None:
    """As C++ does."""
    os.write(2, text.encode())


def test_advice_is_dropped_and_all_else_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with first_words_of(ENGINE):
        say(f"before\n{ADVICE}ERROR: a node could not be prepared\n")
        say(ADVICE)
    assert capfd.readouterr().err == ("before\nERROR: a node could not be prepared\n")


def test_what_it_printed_belongs_in_its_error(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(RuntimeError, match=r"^cannot: ERROR: node 3 \| failed to prepare$"),
        first_words_of(ENGINE),
    ):
        say(f"{ADVICE}ERROR: node 3\nfailed to prepare\n")
        raise ValueError("cannot:")
    with pytest.raises(ValueError, match=r"^silent$"), first_words_of(ENGINE):
        say(ADVICE)
        raise ValueError("silent")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("error", [ModuleNotFoundError("gone"), RuntimeLoadError("ours")])
def test_an_error_that_means_something_stays(
    error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)) as caught, first_words_of(ENGINE):
        say(f"{ADVICE}ERROR: node 4\n")
        raise error
    assert caught.value is error and capfd.readouterr().err == "ERROR: node 4\n"


def test_a_block_without_advice_leaves_the_next_to_bring_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with first_words_of(ENGINE):
        say("ERROR: of a file\n")
    with first_words_of(ENGINE):
        say(ADVICE)
    assert capfd.readouterr().err == "ERROR: of a file\n"


def test_only_the_first_words_are_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with first_words_of(ENGINE):
            say("INFO: hello\n")
            print("through", file=sys.stderr)
    assert capfd.readouterr().err == "through\nINFO: hello\nthrough\n"


def test_one_at_a_time_has_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    before = os.fstat(2).st_ino
    inside, go_on = threading.Event(), threading.Event()

    def load() -> None:
        with first_words_of(ENGINE):
            inside.set()
            go_on.wait(10)

    thread = threading.Thread(target=load)
    thread.start()
    assert inside.wait(10)
    say("from another thread\n")
    other = threading.Thread(target=lambda: _speak("another engine"))
    other.start()
    go_on.set()
    thread.join()
    other.join()
    assert os.fstat(2).st_ino == before
    assert capfd.readouterr().err == "from another thread\nanother engine\n"


def _speak(engine: str) -> None:
    with first_words_of(engine):
        say(f"{ADVICE}{engine}\n")


def test_in_a_child_nothing_is_held_back(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGECLF_CHILD", "3,4")  # its parent keeps what it prints
    with first_words_of(ENGINE):
        say("INFO: hello\n")
    assert capfd.readouterr().err == "INFO: hello\n"


def test_a_closed_standard_error_is_left_closed() -> None:
    code = (
        "import os; os.close(2)\n"
        "from edgeclf.system.quiet import first_words_of\n"
        "with first_words_of('any'): pass\n"
        "try: os.fstat(2)\n"
        "except OSError: print('closed')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "closed\n"
