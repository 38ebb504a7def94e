"""A job for a child and its result, whatever the child prints, dies of or leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeclf import errors
from edgeclf.errors import EdgeclfError, IntegrityError, RuntimeLoadError
from edgeclf.system.child import Message, pack, unpack
from edgeclf.system.child_process import ChildError, function_command, run_child
from edgeclf.system.limits import Limits

if not Path("/proc/self/task").is_dir():
    pytest.skip("what is left behind is told by /proc", allow_module_level=True)

Write = Callable[[str], list[str]]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes what a child does with `job` and `payload`: its command for the code."""

    def write(code: str) -> list[str]:
        indented = "".join(f"    {line}\n" for line in code.splitlines())
        (tmp_path / "misbehaving.py").write_text(
            f"import os, signal, subprocess, sys, time\ndef work(job, payload):\n{indented}"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        return function_command("misbehaving:work")

    return write


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No pipe stays open, and no child unreaped, whatever became of it."""
    folders = [Path("/proc/self/fd"), Path(f"/proc/self/task/{os.getpid()}/children")]
    before = set(folders[0].iterdir()), folders[1].read_text().split()
    yield
    assert set(folders[0].iterdir()) <= before[0]
    assert set(folders[1].read_text().split()) <= set(before[1])


# --- a job and its result ----------------------------------------------------------------------


def test_a_job_goes_in_and_its_result_comes_out(child: Write) -> None:
    command = child("return {'twice': 2 * job['n'], 'text': job['text']}, payload[::-1]")
    answer = run_child(command, {"n": 3, "text": "größer\n"}, b"\0abc")
    assert answer.document == {"twice": 6, "text": "größer\n"}
    assert (answer.payload, answer.output) == (b"cba\0", "")


def test_neither_waits_for_the_other_when_pipes_are_full(child: Write) -> None:
    command = child(
        "print('x' * 300_000, file=sys.stderr)\n"
        "return {'rows': list(range(300_000)), 'n': len(job['paths'])}, payload + payload"
    )
    paths = [f"/photos/{number:09}.jpg" for number in range(100_000)]
    block = os.urandom(3_000_000)
    answer = run_child(command, {"paths": paths}, block, timeout_s=60)
    assert answer.document["n"] == 100_000 and answer.document["rows"][-1] == 299_999
    assert answer.payload == block + block


def test_a_child_that_prints_before_it_reads_a_large_job() -> None:
    code = (
        "import sys; sys.stdout.write('y' * 500_000); sys.stdout.flush()\n"
        "from edgeclf.system.child import serve\n"
        "sys.exit(serve(lambda job, payload: ({'n': len(payload)}, b'')))"
    )
    answer = run_child([sys.executable, "-c", code], {}, bytes(2_000_000), timeout_s=60)
    assert answer.document == {"n": 2_000_000} and answer.output.endswith("yyy")


@pytest.mark.parametrize(
    "code",
    [
        "print('{}'); return {'ok': 1}, b''",
        "os.write(1, b'INFO: hello\\n'); os.write(2, b'{\"result\": 0}\\n'); return {'ok': 1}, b''",
        "os.close(0); os.close(1); os.close(2); return {'ok': 1}, b''",
        "print('in the buffer'); os.close(1); return {'ok': 1}, b''",
        "sys.stdout.close(); sys.stderr.close(); return {'ok': 1}, b''",
        "import atexit; atexit.register(print, 'bye', flush=True); return {'ok': 1}, b''",
        "import threading\n"
        "threading.Thread(target=lambda: (time.sleep(.3), print('late', flush=True))).start()\n"
        "return {'ok': 1}, b''",
    ],
)
def test_what_an_engine_prints_or_closes_disturbs_nothing(child: Write, code: str) -> None:
    assert run_child(child(code), {}, timeout_s=30).document == {"ok": 1}


def test_what_was_printed_last_is_kept(child: Write) -> None:
    code = "for n in range(100_000): print('line', n)\nreturn {}, b''"
    output = run_child(child(code), {}).output
    assert output.endswith("line 99999\n") and len(output) <= 2**16


def test_messages() -> None:
    message = Message({"a": [1, None, "ü"]}, b"\r\n\0")
    assert unpack(pack(message)) == message
    whole = pack(message)
    for spoiled in (b"", whole[:5], whole[:-1], whole + b"\n", b"x" + whole, b"{}" * 20):
        with pytest.raises(ValueError, match=r"message"):
            unpack(spoiled)


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "^it was ended by SIGSEGV$"),
        ("os.abort()", "^it was ended by SIGABRT$"),
        ("os.kill(os.getpid(), 40)", "^it was ended by signal 40$"),
        ("os._exit(0)", "^it ended with code 0 without a result$"),
        ("os._exit(7)", "^it ended with code 7 without a result$"),
        ("print('woe'); sys.stdout.flush(); os._exit(1)", "code 1 .*the last it printed: woe$"),
        ("raise KeyError('k')", "^it ended with code 1 .*the last it printed: KeyError: 'k'$"),
        ("return {'it': object()}, b''", "code 1 without a result.*object is not JSON serial"),
        ("import atexit; atexit.register(os._exit, 3); return {}, b''", "code 3 after its result"),
        ("import atexit; atexit.register(os.abort); return {}, b''", "ended by SIGABRT"),
    ],
)
def test_a_child_that_dies_or_forgets(child: Write, code: str, words: str) -> None:
    with pytest.raises(ChildError, match=words):
        run_child(child(code), {}, timeout_s=60)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("b'garbage that is long enough to be a header'", "is not the start of a message"),
        ("b'{}'", "is not the start of a message"),
        ("pack(Message({'result': {}}))[:-1]", "24|bytes came of a message"),
        ("pack(Message({'result': {}})) + b'INFO: more'", "bytes came of a message"),
        ("pack(Message({'answer': {}}))", "it has answer"),
        ("pack(Message({'result': 3}))", "it has result"),
        ("pack(Message({}))", "it has nothing"),
        ("pack(Message({})).replace(b'{}', b'[]')", "its document is a list"),
        ("pack(Message({})).replace(b'{}', b'{x')", "Expecting property name"),
        ("b'edgeclf1' + b'\\xff' * 16", "bytes came of a message"),
    ],
)
def test_what_is_not_the_protocol(sent: str, words: str) -> None:
    code = (
        "import os; from edgeclf.system.child import Message, pack\n"
        f"os.write(int(os.environ['EDGECLF_CHILD'].split(',')[1]), {sent})"
    )
    with pytest.raises(ChildError, match=f"^what it sent is not a result: .*({words})"):
        run_child([sys.executable, "-c", code], {})


def test_a_result_without_end(child: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeclf.system.child_process._MOST_BYTES", 1_000_000)
    with pytest.raises(ChildError, match="its result is larger than 1,000,000 bytes"):
        run_child(child("return {}, bytes(3_000_000)"), {})


def test_a_child_that_cannot_be_started() -> None:
    with pytest.raises(ChildError, match="gone cannot be started: No such file"):
        run_child(["/gone"], {})


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("errors.IntegrityError('changed')", IntegrityError),
        ("errors.MissingDependencyError('a', 'b', 'This')", RuntimeLoadError),
        ("type('FromAPlugin', (errors.RuntimeLoadError,), {})('own')", EdgeclfError),
        ("errors.EdgeclfError('any')", EdgeclfError),
    ],
)
def test_errors_of_the_child_are_errors_of_the_caller(
    child: Write, code: str, expected: type[EdgeclfError]
) -> None:
    with pytest.raises(EdgeclfError) as caught:
        run_child(child(f"from edgeclf import errors\nraise {code}"), {})
    assert type(caught.value) is expected
    assert str(caught.value) == str(eval(code, {"errors": errors}))


# --- ends --------------------------------------------------------------------------------------


def wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not found():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, though nobody may have asked how yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_a_child_that_hangs(child: Write) -> None:
    command = child("print('still here', flush=True); time.sleep(60)")
    with pytest.raises(ChildError, match=r"^it had not ended after 1\.5 s; .*: still here$"):
        run_child(command, {}, timeout_s=1.5)


def test_a_child_that_closes_all_and_hangs(child: Write) -> None:
    with pytest.raises(ChildError, match=r"^it had not ended after 1 s"):
        run_child(child("os.closerange(0, 100); time.sleep(60)"), {}, timeout_s=1)


@pytest.mark.parametrize(
    "after", ["time.sleep(60)", "return {'pid': 0}, b''", "os.kill(os.getpid(), signal.SIGKILL)"]
)
def test_what_a_child_started_ends_with_it(child: Write, tmp_path: Path, after: str) -> None:
    """It holds stdout and stderr open, which must not be waited for."""
    note = tmp_path / "pid"
    command = child(
        "other = subprocess.Popen([sys.executable, '-c', 'while True: print(1)'])\n"
        f"open({str(note)!r}, 'w').write(str(other.pid))\n{after}"
    )
    start = time.monotonic()
    with contextlib.suppress(ChildError):
        run_child(command, {}, timeout_s=3)
    assert time.monotonic() - start < 20
    wait_for(lambda: is_gone(int(note.read_text())))


_PARENT = """
import sys
from edgeclf.system.child_process import function_command, run_child
run_child(function_command("misbehaving:work"), {}, timeout_s=60)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_child_ends_with_its_parent(child: Write, tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C is seen by the parent; of its other ends, the kernel tells the child."""
    note = tmp_path / "pid"
    child(f"open({str(note)!r}, 'w').write(str(os.getpid()))\nwhile True: pass")
    # A shell lets what it starts in the background ignore Ctrl-C, and children inherit that.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen([sys.executable, "-c", _PARENT], stderr=subprocess.DEVNULL) as parent:
        signal.signal(signal.SIGINT, ours)
        wait_for(lambda: note.exists() and note.read_text())
        parent.send_signal(how)
        assert parent.wait(20) == -how
    wait_for(lambda: is_gone(int(note.read_text())))


# --- limits and environment --------------------------------------------------------------------


def test_a_child_that_eats_memory(child: Write) -> None:
    with pytest.raises(ChildError, match=r"code 1 without a result; .*: MemoryError"):
        run_child(child("block = bytearray(2**29)"), {}, limits=Limits(2**28, 60))


def test_a_child_that_eats_cpu_time(child: Write) -> None:
    with pytest.raises(ChildError, match=r"^it was ended by SIG(XCPU|KILL)"):
        run_child(child("while True: pass"), {}, timeout_s=60, limits=Limits(2**30, 1))


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="as Linux has it")
def test_a_child_with_limits_leaves_no_core_and_goes_first(child: Write) -> None:
    code = (
        "import resource\n"
        "return {'core': resource.getrlimit(resource.RLIMIT_CORE)[0],\n"
        "        'data': resource.getrlimit(resource.RLIMIT_DATA)[0],\n"
        "        'oom': open('/proc/self/oom_score_adj').read().strip()}, b''"
    )
    found = run_child(child(code), {}, limits=Limits(2**30, 60)).document
    assert found == {"core": 0, "data": 2**30, "oom": "1000"}
    assert run_child(child(code), {}).document["oom"] != "1000"


def test_limits_for_a_stranger_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeclf.system.limits.available_cpus", lambda: 3)
    limits = Limits.for_stranger(2.0)
    assert limits.cpu_s == 6 and 2**26 < limits.memory_bytes <= 8 * 2**30
    assert Limits.for_stranger(0.01).cpu_s == 1


def test_a_child_runs_on_the_cpus_it_is_told(child: Write) -> None:
    cpu = max(os.sched_getaffinity(0))
    command = child("return {'cpus': sorted(os.sched_getaffinity(0))}, b''")
    assert run_child(command, {}, cpus=[cpu]).document == {"cpus": [cpu]}
    with pytest.raises(ChildError, match="Invalid argument"):
        run_child(command, {}, cpus=[100_000])


def test_a_child_gets_the_environment_it_is_given(
    child: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = child("return {'given': dict(os.environ)}, b''")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    variables: dict[str, Any] = run_child(command, {}).document["given"]
    assert variables["OMP_NUM_THREADS"] == "1", "a child stands for its parent"
    own = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    given = run_child(command, {}, variables=own).document["given"]
    assert "OMP_NUM_THREADS" not in given
