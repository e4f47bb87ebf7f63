# SPDX-License-Identifier: Apache-2.0
"""The file system that all hosts start from: a Debian 12 in the cache, never written to again."""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from . import paths
from .processes import run

# A host as somebody would have it ...
SYSTEM = ["systemd", "systemd-sysv", "dbus", "ca-certificates", "iproute2", "procps", "kmod", "openssl",
          "curl"]
# ... and what our package depends on: hosts have no way to the package sources.
RUNTIME = ["libstdc++6", "libsdbus-c++1", "libsystemd0", "libcurl4", "libssl3", "libyaml-cpp0.7", "libarchive13",
           "libspdlog1.10", "libfmt9", "libdate-tz3", "tzdata"]
# Units that would do something at a time of their own, or wait for somebody at the console.
MASKED = ["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
          "systemd-tmpfiles-clean.timer", "console-getty.service", "getty@.service", "systemd-resolved.service"]
JOURNALD = "[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\n"
RECIPE = 1  # raise it when the code below changes what comes out


def base() -> pathlib.Path:
    """The folder with the image; built (half a minute) when the cache does not have it."""
    key = hashlib.sha256(repr((SYSTEM, RUNTIME, MASKED, JOURNALD, RECIPE)).encode()).hexdigest()[:12]
    target = paths.cache() / f"host-{key}"
    with paths.locked(paths.cache() / "host.lock"):
        if not target.exists():
            for stale in paths.cache().glob("host-build.*"):
                shutil.rmtree(stale)
            work = pathlib.Path(tempfile.mkdtemp(prefix="host-build.", dir=paths.cache()))
            print("cluster: building the hosts' base image, once: half a minute", file=sys.stderr, flush=True)
            try:
                _build(work / "root", work)
                run("sync", "-f", work)
                (work / "root").rename(target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            _remove_old(target)
    return target


def _remove_old(target: pathlib.Path):
    """Images of earlier recipes go when nobody made them lately (another checkout may) or stands on them."""
    in_use = pathlib.Path("/proc/mounts").read_text()
    for image in paths.cache().glob("host-" + "?" * 12):
        if image != target and time.time() - image.stat().st_ctime > 7 * 24 * 3600 and str(image) not in in_use:
            shutil.rmtree(image)


def _build(root: pathlib.Path, work: pathlib.Path):
    sources = run(pathlib.Path(__file__).with_name("debian-sources.sh")).stdout
    sources = "".join(line + "\n" for line in sources.splitlines() if line.startswith("deb "))
    # This machine's way of downloading (a proxy, say) is the way here too.
    options = work / "apt.conf"
    options.write_text(run("apt-config", "dump", "--format", '%f "%v";%n', "Acquire").stdout)
    # `env -i`: what the caller's shell exports must not decide what an image looks like.
    run("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", f"TMPDIR={work}",
        "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", f"--include={','.join(SYSTEM + RUNTIME)}",
        f"--aptopt={options}", "bookworm", root, input=sources, timeout=1200)
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    (root / "etc/apt/sources.list").write_text("")
    root.chmod(0o755)
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    paths.write(root / "etc/systemd/journald.conf.d/test.conf", JOURNALD)
    (root / "var/log/journal").mkdir(exist_ok=True)
    subprocess.run(["chroot", root, "passwd", "-d", "root"], check=True, capture_output=True)
