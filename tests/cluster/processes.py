# SPDX-License-Identifier: Apache-2.0
"""Processes that outlive the program that started them, found again by pid and start time."""

import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import tempfile
import time


# Seconds. What is waited for comes in a few, on a slow and busy machine in some more: only a failure takes this long.
PATIENCE = 180

# In the environment of every process that we start: the folder that its record is in.
_MARK = "KUA_TEST_PROCESS_OF"


def marked(directory: pathlib.Path) -> list:
    """The pids of all processes whose record is, or should be, below the folder."""
    found = []
    for environ in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = environ.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(v.startswith(f"{_MARK}={directory}/".encode()) for v in variables):
            found.append(int(environ.parent.name))
    return found


def environment(more=None) -> dict:
    """This process's own and more. In threads {**os.environ} fails now and then: between tests pytest takes a variable away."""
    own = ((name, os.environ.get(name)) for name in list(os.environ))
    return {**{name: value for name, value in own if value is not None}, **(more or {})}


class Process:
    """A named process of a cluster, recorded in `<directory>/<name>.json`."""

    def __init__(self, directory: pathlib.Path, name: str):
        self.name = name
        self.record = directory / f"{name}.json"
        self.log = directory / f"{name}.log"

    @property
    def pid(self):
        """The pid, if that very process still lives. A pid alone may be somebody else's by now."""
        try:
            record = json.loads(self.record.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return record["pid"] if start_time(record["pid"]) == record["start"] else None

    def spawn(self, argv, netns=None, env=None, timeout=PATIENCE, ready=True):
        """Starts the process; with `ready`, returns when it has sent READY=1 (or raises)."""
        if self.pid:
            raise RuntimeError(f"{self.name} runs already")
        if netns:  # nsenter executes the program in its own place: the pid stays
            argv = ["nsenter", f"--net=/run/netns/{netns}", "--", *argv]
        self.record.parent.mkdir(parents=True, exist_ok=True)
        variables = environment(env)
        variables.pop("NOTIFY_SOCKET", None)
        variables[_MARK] = str(self.record.parent)
        with tempfile.TemporaryDirectory(prefix="kua-") as directory:
            path = os.path.join(directory, "notify")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.bind(path)
                if ready:
                    variables["NOTIFY_SOCKET"] = path
                with open(self.log, "ab") as log:
                    child = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log,
                                             stderr=log, env=variables, start_new_session=True)
                self.record.write_text(json.dumps({"pid": child.pid, "start": start_time(child.pid)}))
                child.returncode = 0  # it is meant to outlive us: no warning when the object goes
                if ready:
                    self._await_ready(notify, child.pid, time.monotonic() + timeout)

    def _await_ready(self, notify, pid, deadline):
        exited = os.pidfd_open(pid)
        try:
            while True:
                left = deadline - time.monotonic()
                found, _, _ = select.select([notify, exited], [], [], max(left, 0))
                if notify in found:
                    if b"READY=1" in notify.recv(65536).split(b"\n"):
                        return
                elif exited in found:
                    raise RuntimeError(f"{self.name} ended before it was ready:\n{self.tail()}")
                elif not found:
                    raise TimeoutError(f"{self.name} was not ready in time:\n{self.tail()}")
        finally:
            os.close(exited)

    def stop(self, number=signal.SIGTERM, timeout=20):
        """Ends the process and waits for its end; after the timeout it is killed."""
        pid = self.pid
        if pid:
            end(pid, number, timeout)
        self.record.unlink(missing_ok=True)

    def tail(self, lines=20) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""


def end(pid, number=signal.SIGTERM, timeout=20):
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number, patience in ((number, timeout), (signal.SIGKILL, 20)):
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                break
            if select.select([handle], [], [], patience)[0]:
                break
        else:
            raise TimeoutError(f"process {pid} does not die")
    finally:
        os.close(handle)
    try:
        os.waitpid(pid, os.WNOHANG)  # if it is our child, it must not stay a zombie
    except ChildProcessError:
        pass


def start_time(pid):
    """Clock ticks from boot to the process's start, or None if there is none (or a zombie)."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def run(*argv, check=True, input=None, capture=True, timeout=300, env=None, progress=False):
    """subprocess.run with text, whose error says what the program said; `progress` lets its stderr through, `env` is added to ours."""
    result = subprocess.run([str(a) for a in argv], input=input, text=True, timeout=timeout, env=env and environment(env),
                            stdin=subprocess.DEVNULL if input is None else None,
                            stdout=subprocess.PIPE if capture else None,
                            stderr=subprocess.PIPE if capture and not progress else None, check=False)
    if check and result.returncode:
        raise RuntimeError(f"{' '.join(str(a) for a in argv)}: exit status {result.returncode}\n"
                           f"{result.stdout or ''}{result.stderr or ''}")
    return result


def until(condition, what, timeout=PATIENCE, interval=0.1):
    """Asks until the answer is true and returns it. Only for what no event can be had of."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(interval)
