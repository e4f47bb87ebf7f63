# SPDX-License-Identifier: Apache-2.0
"""Clocks that are wrong: libfaketime, preloaded into one program. A host's own clock is this machine's."""

import pathlib

UNIT_DROP_IN = "/etc/systemd/system/{unit}.d/clock.conf"
ON_HOST = "/usr/local/lib/libfaketime.so.1"


def library() -> pathlib.Path:
    for path in pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"):
        return path
    raise LookupError("there is no libfaketime: ./dev setup installs it")


def variables(offset: str, preload) -> dict:
    """The environment of a program whose wall clock is off by `offset` (`-1d`, `+3h`); the monotonic one is right."""
    return {"LD_PRELOAD": str(preload), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1"}


def set_wrong(host, unit: str, offset: str):
    """Starts the unit again with a clock that is off."""
    host.push(ON_HOST, library().read_bytes(), 0o755)
    settings = "".join(f'Environment="{k}={v}"\n' for k, v in variables(offset, ON_HOST).items())
    host.push(UNIT_DROP_IN.format(unit=unit), f"[Service]\n{settings}")
    _restart(host, unit)


def set_right(host, unit: str):
    host.path(UNIT_DROP_IN.format(unit=unit)).unlink(missing_ok=True)
    _restart(host, unit)


def _restart(host, unit):
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", unit)
