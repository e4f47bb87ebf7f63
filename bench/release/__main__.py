# SPDX-License-Identifier: Apache-2.0
"""`./dev bench release`: fetching a release from each source, against what a shell would do; the figures go to docs/release.md."""

import argparse
import datetime
import os
import pathlib
import platform
import re
import shutil
import signal
import sys
import tempfile

from .contests import AGENT, DURABLE_RIVAL, RIVAL, Stage
from .forms import Release
from .runs import Broken, in_turn, median

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST_MEMORY = 16  # MB
HOW = """
- The agent: `k3s-upgrade-agent fetch VERSION --config … --to …`. That is more than its rival does: it also gets and reads the sums
  (http), checks free space, syncs the file and its folders to the disk, runs the binary once for its version (in its sandbox: the machine
  has {init} init), and leaves nothing but k3s.
- The rival of http: `curl -o k3s URL && sha256sum k3s`; of the registry: `skopeo copy docker://… dir:… && tar -xz opt/k3s` (or
  `--zstd`) `&& sha256sum`; of the bundle: `zstd -dc bundle.tar.zst | tar x && sha256sum`. With sync: the same, then `sync` of the
  file and its folder, which is what the agent does.
- The binary: the stand-in k3s of the tests, filled up to {size} MB with random bytes and hexadecimal ones in turn, which a compressor
  makes three quarters of. It still runs. A real k3s can hardly be compressed.
- The servers: Debian's nginx (HTTP/1.1 over TLS, from its cache in memory), Debian's docker-registry with TLS and htpasswd, filled by
  skopeo. They run on the same cores as the agent and its rivals, and so count in wall time.
- Each once to warm up, then {runs} times in turn (agent, rival, rival with sync, agent, …); medians. Processor time is user and system
  time of the process and its children; peak is the kernel's ru_maxrss of the agent. How it is split is looked at every 2 ms in a
  run of its own: `of files` is what shared libraries and the program take, which other processes share, `its own` is the rest.
"""


class Report:
    """Says each figure as soon as it is there, and keeps them for the file."""

    def __init__(self):
        self.sections = []

    def section(self, title, lines):
        self.sections.append((title, lines))
        print(f"== {title}", *lines, sep="\n", flush=True)

    def text(self, options) -> str:
        init = "systemd as its" if pathlib.Path("/run/systemd/system").is_dir() else "another"
        model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
        lines = ["# Fetching a release", "",
                 f"By `./dev bench release` on {datetime.date.today()}: {os.cpu_count()} cores ({model[1] if model else platform.machine()}), Linux "
                 f"{platform.release()}; load at the end {os.getloadavg()[0]:.1f}.", "",
                 HOW.format(init=init, size=options.size, runs=options.runs).strip(), ""]
        for title, figures in self.sections:
            lines += [f"## {title}", "", *(f"- {f}" for f in figures), ""]
        return "\n".join(lines)


def line(name, value, aim=None) -> str:
    return f"{name}: {value}" + (f" (aim: {aim})" if aim else "")


def compare(contest, runs: int, aim: float) -> list:
    """The figures of one contest."""
    results = in_turn(contest.contestants(), runs)
    wall = {name: median(of, "wall") for name, of in results.items()}
    cpu = {name: median(of, "cpu") for name, of in results.items()}
    ratio = lambda values, other: f"{values[AGENT] / values[other]:.2f}"
    spread = lambda of: f"{min(r.wall for r in of):.2f} to {max(r.wall for r in of):.2f}"
    return [
        line("wall time over the rival's", ratio(wall, RIVAL), f"at most {aim}"),
        line("wall time over the rival's with sync", ratio(wall, DURABLE_RIVAL)),
        line("processor time over the rival's", ratio(cpu, RIVAL)),
        *(line(f"wall time of {name}", f"{wall[name]:.2f} s, {spread(of)} s") for name, of in results.items()),
        *(line(f"processor time of {name}", f"{cpu[name]:.2f} s, {median(of, 'user'):.2f} s of it user") for name, of in results.items()),
        *memory(contest, max(r.peak for r in results[AGENT]))]


def memory(contest, peak: float) -> list:
    most = contest.fetch(watch=True).most
    return [line("peak RSS of the agent", f"{peak:.1f} MB", f"below {MOST_MEMORY} MB"),
            line("of that", f"{most.get('RssAnon', 0):.1f} MB its own, {most.get('RssFile', 0):.1f} MB of files, at most")]


def run(options, folder: pathlib.Path) -> Report:
    report = Report()
    agent = options.build / "agent" / "k3s-upgrade-agent"
    release = Release(folder / "release", options.size)
    with Stage(folder, agent) as stage:
        if "http" in options.only:
            report.section("http", compare(stage.http(release), options.runs, 0.8))
        if "registry" in options.only:
            for compression in ("gzip", "zstd"):
                report.section(f"registry, {compression} layer", compare(stage.image(release, compression), options.runs, 0.5))
        if "bundle" in options.only:
            report.section("bundle .tar.zst", compare(stage.bundle(release), options.runs, 0.8))
        if options.large:
            large = Release(folder / "large", options.large)
            makers = {"http": stage.http, "registry": lambda r: stage.image(r, "gzip"), "bundle": stage.bundle}
            for name in options.only:
                contest = makers[name](large)
                report.section(f"{name}, {options.large} MB", memory(contest, contest.fetch().peak))
    return report


def end(number, _frame):
    if number == signal.SIGALRM:
        raise TimeoutError("the bench has reached its --limit")
    sys.exit(128 + number)


def arguments(words=None):
    parser = argparse.ArgumentParser(prog="./dev bench release", description=__doc__)
    parser.add_argument("--size", type=int, default=70, metavar="MB", help="of the binary (default: 70)")
    parser.add_argument("--large", type=int, default=300, metavar="MB", help="of another, for the memory only; 0: none (default: 300)")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="of each, after one to warm up (default: 5)")
    parser.add_argument("--only", action="append", choices=["http", "registry", "bundle"], help="may be given again (default: all)")
    parser.add_argument("--limit", type=int, default=1200, metavar="SECONDS", help="for all of it (default: 1200)")
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path(os.environ.get("KUA_BUILD_DIR", ROOT / "build")))
    parser.add_argument("--report", type=pathlib.Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(words)
    options.only = options.only or ["http", "registry", "bundle"]
    options.build = options.build.resolve()
    return options


def main():
    options = arguments()
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    signal.alarm(options.limit)
    # Where the binary can be run by nobody, who must be able to pass.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kua-bench-release-"))
    folder.chmod(0o755)
    try:
        report = run(options, folder)
    except Broken as broken:
        print(f"not as it must be: {broken}", file=sys.stderr)
        sys.exit(1)
    finally:
        shutil.rmtree(folder)
    if options.report:
        options.report.write_text(report.text(options))


if __name__ == "__main__":
    main()
