# SPDX-License-Identifier: Apache-2.0
"""Runs of commands, each told what it took, and of several in turn, so that a busy machine is busy for all of them."""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys

PATIENCE = 300
LAUNCHER = pathlib.Path(__file__).with_name("launcher.py")


class Broken(Exception):
    """Something is not as it must be: another digest, a leftover."""


@dataclasses.dataclass
class Took:
    wall: float
    user: float
    system: float
    peak: float  # MB
    most: dict   # MB, by /proc's names

    @property
    def cpu(self) -> float:
        return self.user + self.system


def environment() -> dict:
    """Nobody's proxy."""
    return {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}


def measured(command, folder: pathlib.Path, watch=False):
    """What it took and what it said; it must succeed. Processes that it waited for are in it."""
    receiver, sender = os.pipe()
    words = [sys.executable, "-I", "-S", LAUNCHER, sender, *(["--watch"] if watch else []), *command]
    try:
        done = subprocess.run([str(w) for w in words], cwd=folder, env=environment(), pass_fds=[sender], capture_output=True,
                              text=True, timeout=PATIENCE, check=False)
    finally:
        os.close(sender)
        with os.fdopen(receiver, "rb") as file:
            said = file.read()
    if done.returncode != 0 or not said:
        raise Broken(f"{command}: was not run: {done.stderr[-500:]}")
    result = json.loads(said)
    if result["status"] != 0:
        raise Broken(f"{command[:3]}…: ends with {result['status']}: {done.stderr[-500:]}")
    most = {name: kilobytes / 1024 for name, kilobytes in result["most"].items()}
    return Took(result["wall"], result["user"], result["system"], result["peak"] / 1024, most), done.stdout


def in_turn(contestants: dict, rounds: int) -> dict:
    """Calls each once to warm up, then all in turn; their results by name. Each returns a Took."""
    for call in contestants.values():
        call()
    results = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            results[name].append(call())
    return results


def median(results: list, name: str) -> float:
    return statistics.median(getattr(r, name) for r in results)
