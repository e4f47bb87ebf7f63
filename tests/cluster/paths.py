# SPDX-License-Identifier: Apache-2.0
"""Where things lie: the repository, the cache that outlives clusters, the state of each cluster."""

import contextlib
import fcntl
import os
import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def cache() -> pathlib.Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = pathlib.Path(base) / "k3s-upgrade-agent"
    path.mkdir(parents=True, exist_ok=True)
    return path


def state() -> pathlib.Path:
    path = pathlib.Path(os.environ.get("KUA_STATE_DIR") or "/var/tmp/k3s-upgrade-agent-test")
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(path: pathlib.Path):
    """Holds the lock file; the kernel lets go of it when the holder dies, however it dies."""
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: pathlib.Path, content, mode: int = 0o644, durable=False) -> None:
    """Writes the file in one step, so that a reader at any moment finds the old or the new one.

    With durable it is there even after a power cut in the next moment.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    data = content if isinstance(content, bytes) else content.encode()
    temporary.write_bytes(data)
    temporary.chmod(mode)
    if durable:
        _sync(temporary)
    temporary.rename(path)
    if durable:
        _sync(path.parent)


def _sync(path: pathlib.Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
