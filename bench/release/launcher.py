# SPDX-License-Identifier: Apache-2.0
"""Runs the command that its arguments are and writes what it took, in JSON, to the descriptor named first.

A program of its own: what the kernel says of a process's peak memory begins with that of whoever started it. With --watch the
memory is looked at meanwhile, which costs time.
"""

import json
import os
import sys
import time


def look(pid: int, most: dict):
    """Raises `most` to what /proc says now, in kB."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in ("RssAnon", "RssFile", "VmHWM"):
                    most[name] = max(most.get(name, 0), int(value.split()[0]))
    except (OSError, ValueError):
        pass  # It has ended.


def main(words):
    target, watch, command = int(words[0]), words[1] == "--watch", words[2 if words[1] == "--watch" else 1:]
    os.set_inheritable(target, False)
    most, status = {}, None
    begun = time.monotonic()
    pid = os.posix_spawn(command[0], command, os.environ)
    while watch and status is None:
        look(pid, most)
        time.sleep(0.002)
        ended, code, usage = os.wait4(pid, os.WNOHANG)
        status = code if ended else None
    if status is None:
        _, status, usage = os.wait4(pid, 0)
    took = time.monotonic() - begun
    result = {"wall": took, "user": usage.ru_utime, "system": usage.ru_stime, "peak": usage.ru_maxrss, "most": most,
              "status": os.waitstatus_to_exitcode(status)}
    os.write(target, json.dumps(result).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
