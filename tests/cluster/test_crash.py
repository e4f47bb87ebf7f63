# SPDX-License-Identifier: Apache-2.0
"""Every step of an upgrade, before and after its effect, meets every fault, on real hosts.

After each: k3s runs a whole, verified binary, the node is as schedulable as it was, the slot is right, the upgrade has gone on or was
undone, and the next Plan works. The steps are the program's own (`k3s-upgrade-agent steps`). `./dev test --all` runs all cells and
writes the table to docs/reliability.md; otherwise each step meets one kill or power cut. KUA_CRASH_ONLY names the steps to be looked
into, separated by commas.
"""

import concurrent.futures
import contextlib
import json
import os
import queue
import re
import threading
import time
import traceback

import pytest

from . import now, until
from .agent import BINARY, CONFIGURATION, LOCK, STATE
from .crash_report import TABLE, Report, all_wanted
from .faults import (FAULTS, REACH, SHORT_LEASE, go_on, is_stopped, nudge, pause_at, pause_no_more, until_paused)
from .processes import PATIENCE
from .releases import payload_hash
from .watched import is_cordoned, plan_label, slots

_releases = threading.Lock()  # the release server's settings are one file

# A cordon of the administrator's own, in some upgrades that reach the step.
FOREIGN = {"label", "report-failure"}


@pytest.fixture
def many(fleets):
    """More hosts for more cells at once: a case mostly waits."""
    yield from fleets.lend(1, 5 if all_wanted() else 2)


def steps_of(host) -> list:
    return [step["name"] for step in json.loads(host.run("k3s-upgrade-agent", "steps", "--json").stdout)]


def cells(steps):
    """(step, moment, fault): each step once, killed or cut off in turn; with --all all there are, in rounds of all steps, so that
    a run that is cut short has met something of everything."""
    moments = ("before", "after")
    only = os.environ.get("KUA_CRASH_ONLY")
    steps = [step for step in steps if not only or step in only.split(",")]
    if not all_wanted():
        return [(step, moments[i // 2 % 2], ("SIGKILL", "power cut")[i % 2]) for i, step in enumerate(steps)]
    kinds = [(moment, fault) for moment in moments for fault in FAULTS]
    return [(step, *kinds[(i + turn) % len(kinds)]) for turn in range(len(kinds)) for i, step in enumerate(steps)]


class Case:
    """One cell, on one host with a Plan of its own."""

    def __init__(self, fleet, host, step, moment, fault):
        self.fleet, self.host, self.agent = fleet, host, fleet.agent(host)
        self.step, self.moment, self.fault = step, moment, fault
        self.reach = REACH[step]
        self.plan = f"crash-{host.name}"
        self.foreign = step in FOREIGN

    def run(self) -> str:
        """What became of the host, in words; raises when that is not what it may be."""
        kubectl = self.fleet.cluster.kubectl
        if self.foreign:
            kubectl("cordon", self.host.name)
            self.fleet.until_node(self.host, is_cordoned, "cordoned")
        self.old = {"version": self.host.k3s_version(), "sha256": self.sha256(BINARY)}
        with _releases:
            self.version = (self.fleet.broken_version(self.host, failStart=True) if self.reach.broken
                            else self.fleet.next_version(self.host))
        with self.host.data_in(self.reach.datastore) if self.reach.datastore else contextlib.nullcontext():
            return self.meet()

    def meet(self) -> str:
        self.begun = now()
        if self.reach.hook:
            self.host.push(self.hook(), "#!/bin/sh\n", 0o755)
        if self.fault == "API away":
            self.host.push("/etc/k3s-upgrade-agent/config.yaml", SHORT_LEASE)
        try:
            self.bring_to_the_moment()
            befell = now()
            FAULTS[self.fault](self.agent)
            result = self.judge(befell)
            self.next_plan_works()
            return result
        finally:
            self.clean_up()

    def bring_to_the_moment(self):
        point = f"{self.step}:{self.moment}"
        pause_at(self.agent, point, *([self.reach.through] if self.reach.through else []))
        self.fleet.plan(self.plan, [self.host], version=self.version, **self.reach.spec)
        if self.reach.through:
            deadline = self.reach.spec["jobActiveDeadlineSecs"]
            until_paused(self.agent, self.reach.through, self.begun)
            time.sleep(deadline)  # of the upgrade: it is what passes
            self.fleet.patch_plan(self.plan, jobActiveDeadlineSecs=900)  # of the next attempt
            go_on(self.agent)
        until_paused(self.agent, point, self.begun)

    def hook(self):
        return f"/etc/k3s-upgrade-agent/hooks.d/{self.reach.hook}/10-crash"

    def slot(self):
        return slots(self.fleet.cluster.kubectl_json("-n", "system-upgrade", "get", "configmap", LOCK)).get(
            f"{self.plan}.{self.host.name}")

    def settled(self) -> str:
        """How it has ended, once nothing goes on any more."""
        nudge(self.agent)
        if self.host.path(f"{STATE}/journal.json").exists():
            return ""
        slot = self.slot()
        if slot and slot["phase"] == "Failed":
            return "rolled back"
        # The label of the upgrade before this one stays, and between two attempts there is neither journal nor slot. A Plan has
        # no status while the server's agent, which coordinates, is away.
        plan = self.fleet.cluster.kubectl_json("-n", "system-upgrade", "get", "plan", self.plan)
        wanted = plan.get("status", {}).get("latestHash")
        return "upgraded" if not slot and wanted and plan_label(self.host.node(), self.plan) == wanted else ""

    def judge(self, befell) -> str:
        result = until(self.settled, f"an end of {self}", 2 * PATIENCE, 0.5)
        target = {"version": self.version, "sha256": self.fleet.release_sha256(self.version)}
        right = target if result == "upgraded" else self.old
        assert result == "rolled back" or not self.reach.broken, "a release that does not start counts as installed"
        self.host.wait_ready(right["version"])
        assert self.sha256(BINARY) == right["sha256"], "neither the old nor the new binary"
        pid = self.host.unit_state()["MainPID"]
        unpacked = payload_hash(self.host.path(BINARY).read_bytes())
        runs = self.host.run("readlink", f"/proc/{pid}/exe").stdout
        assert f"/data/{unpacked}/" in runs, "what runs is not what is installed"
        self.at_rest()
        told = self.agent.records(befell)
        undone = any(str(r["MESSAGE"]).startswith("undone, the node is as it was") for r in told)
        return "undone, then upgraded" if undone and result == "upgraded" else result

    def at_rest(self):
        node = self.host.node()
        assert is_cordoned(node) == self.foreign, f"unschedulable: {is_cordoned(node)}"
        assert "k3s-upgrade-agent/cordoned-by" not in node["metadata"].get("annotations", {})
        assert [f.name for f in self.host.path("/usr/local/bin").glob(".k3s*.next")] == []
        assert not self.host.path(f"{STATE}/journal.json").exists()
        assert list(self.host.path(STATE).glob("datastore/*.partial")) == []

    def next_plan_works(self):
        pause_no_more(self.agent)
        if self.foreign:
            self.fleet.cluster.kubectl("uncordon", self.host.name)
            self.foreign = False
        if is_stopped(self.agent) or self.fault in ("API away", "dbus restart"):
            go_on(self.agent)
            self.agent.configure(CONFIGURATION)  # without the pause points
        # Above what was tried, not only above what runs: after a rollback the same again is refused.
        version = re.sub(r"\.(\d+)\+k3s\d+$", lambda found: f".{int(found[1]) + 1}+k3s1", self.version)
        with _releases:
            self.fleet.cluster.releases.add(version)
        self.fleet.patch_plan(self.plan, version=version)
        self.fleet.wait_complete(self.plan, version)
        assert self.host.is_ready(version) and self.sha256(BINARY) == self.fleet.release_sha256(version)
        until(lambda: not self.host.path(f"{STATE}/journal.json").exists(), "the end of the next upgrade")
        self.at_rest()
        assert self.slot() is None

    def clean_up(self):
        with contextlib.suppress(RuntimeError):
            self.host.plug()
            self.host.run("rm", "-f", self.hook())
            pause_no_more(self.agent)
            nudge(self.agent)
            if self.host.read("/etc/k3s-upgrade-agent/config.yaml") != CONFIGURATION:
                self.agent.configure(CONFIGURATION)
        self.fleet.cluster.kubectl("-n", "system-upgrade", "delete", "plan", self.plan, "--ignore-not-found", "--timeout=60s", check=False)

    def sha256(self, path):
        return self.host.run("sha256sum", path).stdout.split()[0]

    def __str__(self):
        return f"{self.step}:{self.moment}, {self.fault} on {self.host.name}"


def test_every_step_can_be_reached(fleet):
    steps = steps_of(fleet.server)
    assert [step for step in steps if step not in REACH] == [], "tests/cluster/faults.py does not say how to come by these steps"
    assert [step for step in REACH if step not in steps] == [], "there are no such steps any more"


def test_a_pause_point_that_is_none_is_named(fleet):
    agent = fleet.agent(fleet.workers[0])
    begun = now()
    pause_at(agent, "swapp:before")
    try:
        said = agent.heard("K3S_UPGRADE_AGENT_PAUSE", begun)["MESSAGE"]
        assert '"swapp:before" is no pause point' in said and "prepare, snapshot, cordon, hooks-pre-drain, drain" in said
    finally:
        pause_no_more(agent)
        agent.restart()


def test_whatever_befalls_a_host_at_any_step_it_comes_back(many):
    fleet = many
    steps = steps_of(fleet.server)
    report, wrong = Report(), []
    TABLE.update(report=report, steps=steps, faults=list(FAULTS))
    waiting = {"worker": queue.Queue(), "server": queue.Queue()}
    for cell in cells(steps):
        waiting[REACH[cell[0]].on].put(cell)

    # For a whole run that has to end: what is not begun by then is reported as not run.
    end = time.monotonic() + float(os.environ.get("KUA_CRASH_SECONDS") or "inf")

    def work(host, todo):
        while time.monotonic() < end:
            try:
                cell = todo.get_nowait()
            except queue.Empty:
                return
            begun = time.monotonic()
            try:
                result = Case(fleet, host, *cell).run()
            except Exception:  # whatever it is, it is this cell's result
                result = "FAILED"
                wrong.append(f"{cell} on {host.name}:\n{traceback.format_exc()}")
            report.add(*cell, result)
            print(f"{host.name}: {', '.join(cell)}: {result}, {time.monotonic() - begun:.0f} s", flush=True)
            if result == "FAILED":
                print(wrong[-1], flush=True)
                return  # The host may be in any state: what is left is for the others.

    lanes = [(host, waiting["worker"]) for host in fleet.workers] + [(fleet.server, waiting["server"])]
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(len(lanes)) as pool:
        for host in fleet.workers:
            stack.enter_context(host.behind_a_balancer())  # what befalls the server is not what befalls them
        for lane in [pool.submit(work, *lane) for lane in lanes]:
            lane.result()
    assert not wrong, "\n".join(wrong)
