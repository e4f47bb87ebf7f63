# SPDX-License-Identifier: Apache-2.0
"""`./dev bench fleet`: a rollout over many agents, their idleness, and with --storm a second rollout under adversity."""

import argparse
import datetime
import os
import pathlib
import platform
import secrets
import signal
import sys
import time

from tests.cluster import now

from . import figures, hosts, observer, requests
from .fleet import LOGS, Fleet
from .storm import CLOCK_OFF, Storm

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "fleet.md"


class Report:
    """Says each figure as soon as it is there, and keeps them for the file."""

    def __init__(self):
        self.sections = []

    def section(self, title, lines):
        self.sections.append((title, lines))
        print(f"== {title}", *lines, sep="\n", flush=True)

    def text(self, options, build, kubernetes) -> str:
        lines = ["# Many agents", "",
                 f"By `./dev bench fleet {' '.join(sys.argv[1:])}` on {datetime.date.today()}: {os.cpu_count()} cores, Linux "
                 f"{platform.release()}, {build}.", "",
                 f"{options.agents} agents on workers and {options.servers} on servers, one process each, concurrency "
                 f"{options.concurrency}, a restart of {options.restart:g} s, against one",
                 f"etcd and one kube-apiserver {kubernetes} on the same cores. What is real and what stands in: `bench/fleet/hosts.py`,",
                 "`bench/fleet/kubelets.py`, `bench/fleet/observer.py`, `bench/fleet/storm.py`.", ""]
        for title, figures_of in self.sections:
            lines += [f"## {title}", "", *(f"- {f}" if not f.startswith(" ") else f"  - {f.strip()}" for f in figures_of), ""]
        return "\n".join(lines)


def processors(fleet):
    """Seconds of processor time so far: the API server's, etcd's, all agents' together."""
    control_plane = fleet.control_plane
    return {"the API server": hosts.processor_seconds(control_plane.api_server.pid),
            "etcd": hosts.processor_seconds(control_plane.etcd.pid),
            "all agents": sum(hosts.processor_seconds(h.process.pid) for h in fleet.hosts)}


def calm(fleet, options, report):
    report.section("Started", figures.memory(fleet, "after its start"))
    before, begun = processors(fleet), now()
    took = fleet.upgrade(fleet.targets[0])
    used = {name: seconds - before[name] for name, seconds in processors(fleet).items()}
    asked = requests.read(fleet.control_plane.audit, begun, now())
    report.section("Rollout", [
        *figures.rollout(fleet, begun, took, asked),
        figures.line("processor time", ", ".join(f"{s:.1f} s {name}" for name, s in used.items())),
        *figures.invariant(fleet, observer.judge(observer.read_states(fleet.states), options.concurrency),
                           fleet.unfinished())])
    if options.idle:
        begun = now()
        time.sleep(options.idle)
        asked = requests.read(fleet.control_plane.audit, begun, now())
        report.section(f"Idle for {options.idle} s", figures.idle(fleet, options.idle, asked))
    report.section("After the rollout", figures.memory(fleet, "after an upgrade"))


def stormy(fleet, options, report):
    begun = now()
    with Storm(fleet, options.seed, options.outage) as storm:
        took = fleet.upgrade(fleet.targets[1], storm.upgraded)
    asked = requests.read(fleet.control_plane.audit, begun, now())
    report.section("Storm", [
        figures.line("seed", options.seed),
        figures.line("agents killed", f"{storm.kills}, {storm.kills_of_holders} of them with a slot"),
        figures.line("API server gone", f"{storm.outages} times for {options.outage:g} s and its start"),
        figures.line("one agent's clock off by", CLOCK_OFF),
        *figures.rollout(fleet, begun, took, asked),
        *figures.invariant(fleet, observer.judge(observer.read_states(fleet.states), options.concurrency),
                           fleet.unfinished())])


def run(options) -> bool:
    """True when no invariant was broken."""
    report = Report()
    with Fleet(options.build, options.agents, options.servers, options.concurrency, options.restart) as fleet:
        try:
            calm(fleet, options, report)
            if options.storm:
                stormy(fleet, options, report)
            fleet.check_observer()
        except BaseException:
            fleet.keep_logs(pathlib.Path(options.keep or LOGS))
            print("not as it should be:", *fleet.unfinished(), sep="\n  ", file=sys.stderr)
            raise
        if options.keep:
            fleet.keep_logs(pathlib.Path(options.keep))
        verdict = observer.judge(observer.read_states(fleet.states), options.concurrency)
        unfinished = fleet.unfinished()
    if options.report:
        options.report.write_text(report.text(options, options.build.name, fleet.control_plane.kubernetes.version))
    return not verdict["violations"] and not unfinished


def end(number, _frame):
    if number == signal.SIGALRM:
        raise TimeoutError("the bench has reached its --limit")
    sys.exit(128 + number)


def arguments(words=None):
    parser = argparse.ArgumentParser(prog="./dev bench fleet", description=__doc__)
    parser.add_argument("--agents", type=int, default=200, metavar="N", help="on workers (default: 200)")
    parser.add_argument("--servers", type=int, default=3, metavar="N", help="more agents, on control-plane nodes: one of "
                        "them coordinates (default: 3)")
    parser.add_argument("--concurrency", type=int, default=10, metavar="N")
    parser.add_argument("--restart", type=float, default=2, metavar="SECONDS", help="how long a restart takes (default: 2)")
    parser.add_argument("--idle", type=int, default=600, metavar="SECONDS", help="0: not at all (default: 600)")
    parser.add_argument("--storm", action="store_true", help="a second rollout, with all that can go wrong")
    parser.add_argument("--outage", type=float, default=30, metavar="SECONDS", help="of the API server, in the storm (default: 30)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the storm (default: another each time)")
    parser.add_argument("--limit", type=int, default=1800, metavar="SECONDS", help="for all but the idle time (default: 1800)")
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path(os.environ.get("KUA_BUILD_DIR", ROOT / "build")))
    parser.add_argument("--keep", metavar="DIR", help="keep the agents' logs, the audit log and the observations there")
    parser.add_argument("--report", type=pathlib.Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args(words)


def main():
    options = arguments()
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    signal.alarm(options.limit + options.idle)
    sys.exit(0 if run(options) else 1)


if __name__ == "__main__":
    main()
