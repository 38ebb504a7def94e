"""Ends a piece of Python at each system call that writes, or has that call find a full disk.

The kernel stops a child before each such call (seccomp and ptrace), so no write can be forgotten:
neither one of a library nor one that somebody adds later. A child is a fork of this process, which
must have one thread and all modules that the piece imports.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_TRACEME, _CONT, _GETREGS, _SETREGS, _SETOPTIONS = 0, 7, 12, 13, 0x4200
_TRACESECCOMP, _EXITKILL = 1 << 7, 1 << 20
_BEFORE_CALL = signal.SIGTRAP | 7 << 8  # the event: a filtered call is about to run
_RAX, _RSI, _RDX, _RDI, _ORIG_RAX = 10, 13, 12, 14, 15  # of user_regs_struct
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # of prctl
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # of the filter's machine
_TRACE, _ALLOW = 0x7FF00000, 0x7FFF0000
_WRITERS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# By number on x86-64. Whether it writes depends on its file, or on how it opens one.
_TO_FILE = {1: "write", 18: "pwrite64", 20: "writev", 40: "sendfile", 74: "fsync",
            75: "fdatasync", 77: "ftruncate", 285: "fallocate", 326: "copy_file_range"}  # fmt: skip
_OPENS = {2: "open", 257: "openat", 85: "creat"}
_TO_NAMES = {
    76: "truncate", 82: "rename", 83: "mkdir", 84: "rmdir", 86: "link", 87: "unlink",
    88: "symlink", 90: "chmod", 91: "fchmod", 132: "utime", 258: "mkdirat", 263: "unlinkat",
    264: "renameat", 265: "linkat", 266: "symlinkat", 268: "fchmodat", 280: "utimensat",
    316: "renameat2",
}  # fmt: skip
_NEEDS_ROOM = {"write", "pwrite64", "writev", "sendfile", "ftruncate", "fallocate", "mkdir",
               "mkdirat", "symlink", "symlinkat", "link", "linkat", "rename", "renameat",
               "renameat2", "open", "openat", "creat", "fsync", "fdatasync",
               "copy_file_range"}  # fmt: skip
_NO_FILES = ("pipe:", "socket:", "anon_inode:", "/dev/null", "/dev/pts", "/dev/tty")


@dataclass(frozen=True)
class Ended:
    """How a child went.

    Attributes:
        calls: The names of its calls that write, as far as it came.
        code: Its exit code; negative for a signal.
    """

    calls: tuple[str, ...]
    code: int


def can_trace() -> str | None:
    """Why this cannot be done here; None where it can."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return "needs seccomp and ptrace on Linux and x86-64"
    try:
        ended = run_until(lambda: None)
    except OSError as exc:
        return f"ptrace is not allowed here: {exc.strerror}"
    return None if ended.code == 0 else "a filter of system calls is not allowed here"


def run_until(action: Callable[[], object], at: int | None = None, *, full: bool = False) -> Ended:
    """Runs a piece of Python in a fork.

    Args:
        action: What; the fork exits with 1 if it raises.
        at: At which call that writes, from 0 on, something happens; None for never.
        full: Whether the disk is full from there on; else the child is killed before the call.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _run_traced(action)
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        raise OSError(errno.EPERM, "Operation not permitted")
    _ptrace(_SETOPTIONS, child, _TRACESECCOMP | _EXITKILL)
    calls: list[str] = []
    passed = 0
    while True:
        _ptrace(_CONT, child, passed)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return Ended(tuple(calls), os.waitstatus_to_exitcode(status))
        passed = 0 if status >> 8 == _BEFORE_CALL else os.WSTOPSIG(status)
        if passed:
            continue
        registers = _registers(child)
        name = _name_of(child, registers)
        if name is None:
            continue
        if at is not None and len(calls) >= at:
            if not full:
                os.kill(child, signal.SIGKILL)
                continue
            if name in _NEEDS_ROOM:  # number -1 is no call; what it returns is what stands here
                registers[_ORIG_RAX] = ctypes.c_ulonglong(-1).value
                registers[_RAX] = ctypes.c_ulonglong(-errno.ENOSPC).value
                _ptrace(_SETREGS, child, ctypes.addressof(registers))
        calls.append(name)


def run_apart(action: Callable[[], object]) -> int:
    """Runs a piece of Python in a fork, with no faults; its exit code."""
    child = os.fork()
    if child == 0:
        _run(action)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_after(action: Callable[[], object], seconds: float) -> int:
    """Runs a piece of Python in a fork, and kills it after a while; its exit code."""
    child = os.fork()
    if child == 0:
        _run(action)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run_traced(action: Callable[[], object]) -> None:
    def traced() -> None:
        assert _LIBC.ptrace(_TRACEME, 0, None, None) == 0
        os.kill(os.getpid(), signal.SIGSTOP)
        _filter_calls()
        action()

    _run(traced)


def _run(action: Callable[[], object]) -> None:
    code = 1
    try:
        action()
        code = 0
    except BaseException:
        if "FAULTS_SHOWN" in os.environ:
            traceback.print_exc()
    finally:
        os._exit(code)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def _filter_calls() -> None:
    """Has the kernel stop this process before each call that may write."""
    numbers = sorted({**_TO_FILE, **_OPENS, **_TO_NAMES})
    steps = [(_LOAD, 0, 0, 0)]
    steps += [(_EQUAL, len(numbers) - place, 0, each) for place, each in enumerate(numbers)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _TRACE)]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    program = _Program(len(steps), code)
    assert _LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert _LIBC.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0


def _name_of(child: int, registers: ctypes.Array[ctypes.c_ulonglong]) -> str | None:
    """The call's name if it writes to a file or a folder."""
    number = registers[_ORIG_RAX]
    if number in _TO_NAMES:
        return _TO_NAMES[number]
    if number in _OPENS:
        flags = {2: registers[_RSI], 257: registers[_RDX], 85: os.O_CREAT}[number]
        return _OPENS[number] if flags & _WRITERS else None
    if number in _TO_FILE:
        try:
            place = str(Path(f"/proc/{child}/fd/{registers[_RDI]}").readlink())
        except OSError:
            return None
        return None if place.startswith(_NO_FILES) else _TO_FILE[number]
    return None


_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.restype = ctypes.c_long
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request: int, child: int, value: int) -> None:
    if _LIBC.ptrace(request, child, None, value) < 0:
        number = ctypes.get_errno()
        if number != errno.ESRCH:  # it was killed in between
            raise OSError(number, os.strerror(number))


def _registers(child: int) -> ctypes.Array[ctypes.c_ulonglong]:
    registers = (ctypes.c_ulonglong * 27)()
    _ptrace(_GETREGS, child, ctypes.addressof(registers))
    return registers
