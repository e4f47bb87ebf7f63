# SPDX-License-Identifier: Apache-2.0
"""Takes down what a cluster's folder tells of, whoever brought it up and however that ended."""

import json
import os
import pathlib
import shutil

from . import paths
from .disk import Disk
from .machine import Machine
from .network import Network
from .processes import Process, end, marked, start_time


def own(directory: pathlib.Path):
    """Ties the folder's cluster to this process: when it is dead, the next run of anything here removes it."""
    paths.write(directory / "owner.json", json.dumps({"pid": os.getpid(), "start": start_time(os.getpid())}))


def remove_abandoned():
    for record in paths.state().glob("*/owner.json"):
        try:
            owner = json.loads(record.read_text())
        except (FileNotFoundError, ValueError):
            continue
        if start_time(owner["pid"]) != owner["start"]:
            remove(record.parent)


def remove(directory: pathlib.Path, keep_logs=False):
    """Ends what the cluster in this folder started, and nothing else; removes its mounts, namespaces and files."""
    name = directory.name
    for host in sorted((directory / "hosts").glob("*")):
        Machine(host, f"kua-{name}.{host.name}", host.name, host / "root", "").kill()
    for record in directory.glob("**/processes/*.json"):
        Process(record.parent, record.stem).stop(9)
    # One that was started in the instant before its starter was killed has no record, but still its mark.
    for pid in marked(directory):
        end(pid, 9)
    for host in sorted((directory / "hosts").glob("*")):
        Disk(host, pathlib.Path("/")).unmount()
        if keep_logs:
            (host / "disk.img").unlink(missing_ok=True)
    Network(name).down()
    if keep_logs:
        (directory / "owner.json").unlink(missing_ok=True)
    else:
        shutil.rmtree(directory, ignore_errors=True)
