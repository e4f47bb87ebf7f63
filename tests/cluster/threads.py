# SPDX-License-Identifier: Apache-2.0
"""A process of a host's whose threads stand still, all but its first: what a deadlock or a hung disk does to it.

By ptrace(2), from this machine: a signal stops all threads at once. A thread is held by the thread that has asked for it, and goes
on when that one ends.
"""

import contextlib
import ctypes
import os
import pathlib
import threading

from .processes import PATIENCE

_SEIZE, _INTERRUPT = 0x4206, 0x4207
_WALL = 0x40000000  # a thread is not a child as os.waitpid() knows them

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request, thread):
    if _libc.ptrace(request, thread, None, None) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def outer_pid(host, pid: int) -> int:
    """This machine's number for a host's process."""
    namespace = os.readlink(f"/proc/{host.machine.leader}/ns/pid")
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if os.readlink(process / "ns/pid") != namespace:
                continue
            for line in (process / "status").read_text().splitlines():
                if line.startswith("NSpid:") and line.split()[-1] == str(pid):
                    return int(process.name)
    raise LookupError(f"{host.name} has no process {pid}")


class Frozen:
    """While it lasts, the threads stand still. Those that die are waited for at once: until then their process is not gone."""

    def __init__(self, host, pid: int):
        self._pid = outer_pid(host, pid)
        self._stands, self._let_go = threading.Event(), threading.Event()
        self._error = None
        self.threads = []
        self._holder = threading.Thread(target=self._hold, daemon=True)

    def __enter__(self):
        self._holder.start()
        if not self._stands.wait(PATIENCE) or self._error:
            raise RuntimeError(f"process {self._pid} could not be frozen: {self._error}")
        return self

    def __exit__(self, *_):
        self._let_go.set()
        self._holder.join(PATIENCE)

    def _hold(self):
        try:
            self.threads = [int(t.name) for t in pathlib.Path(f"/proc/{self._pid}/task").iterdir() if int(t.name) != self._pid]
            for thread in self.threads:
                _ptrace(_SEIZE, thread)
                _ptrace(_INTERRUPT, thread)
                os.waitpid(thread, _WALL)
        except OSError as error:
            self._error = error
        self._stands.set()
        alive = set(self.threads)
        while alive and not self._error and not self._let_go.wait(0.1):
            for thread in list(alive):
                try:
                    done, status = os.waitpid(thread, _WALL | os.WNOHANG)
                except ChildProcessError:
                    alive.discard(thread)
                    continue
                if done and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
                    alive.discard(thread)
