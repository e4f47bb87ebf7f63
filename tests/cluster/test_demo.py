# SPDX-License-Identifier: Apache-2.0
"""The demo as a test, and what it shows at which width."""

import io
import json
import os
import re
import subprocess
import sys

import pytest

from . import kubernetes, paths
from .demo_view import PHASES, Plain, Terminal, View

NODES = ["server-1", "agent-1", "agent-2"]


def demo(*arguments):
    return subprocess.run([sys.executable, "-m", "tests.cluster.demo", "--plain", "--name", f"demo-{os.getpid()}", *arguments],
                          cwd=paths.REPOSITORY, capture_output=True, text=True, timeout=900, check=False)


def test_the_demo_upgrades_the_server_and_then_one_agent_after_the_other():
    result = demo()
    assert result.returncode == 0, result.stdout + result.stderr
    version = re.escape(kubernetes.chosen().k3s(minors=1))
    order = re.findall(rf"^\[.* s\] (\S+) +{version} +Ready +Done$", result.stdout, re.MULTILINE)
    assert order[0] == "server-1" and sorted(order[1:]) == ["agent-1", "agent-2"]
    assert f"Both Plans are Complete: {', then '.join(order)}." in result.stdout
    ends = re.findall(r"^\[.* s\] (\S+-plan) .*Complete, hash [0-9a-f]{12}…$", result.stdout, re.MULTILINE)
    assert ends == ["server-plan", "agent-plan"]


@pytest.mark.parametrize("arguments, reason", [(["--package", "/nonexistent.deb"], "there is no package /nonexistent.deb"),
                                               (["--version", "1.31"], "1.31 is no version of k3s")])
def test_the_demo_says_what_is_wrong_with_its_arguments(arguments, reason):
    result = demo("--package", __file__, *arguments)
    assert result.returncode == 2 and reason in result.stderr


def node(name, version="v1.30.4+k3s1", ready="True", cordoned=False):
    return {"type": "MODIFIED", "object": {
        "metadata": {"name": name}, "spec": {"unschedulable": True} if cordoned else {},
        "status": {"conditions": [{"type": "Ready", "status": ready}], "nodeInfo": {"kubeletVersion": version}}}}


def lock(**slots):
    data = {f"agent-plan.{n}": json.dumps({"node": n, **s}) for n, s in
            ((key.replace("_", "-"), value) for key, value in slots.items())}
    return {"type": "MODIFIED", "object": {"metadata": {}, "data": {"coordinator": "{}", **data}}}


def view_of_everything():
    view = View(NODES)
    for name in NODES:
        view.see("nodes", node(name, cordoned=name == "agent-1"))
    view.see("plans", {"type": "ADDED", "object": {
        "metadata": {"name": "agent-plan"}, "spec": {"version": "v1.31.4+k3s1"}, "status": {"applying": ["agent-1"], "conditions": [
            {"type": "Complete", "status": "False", "reason": "Blocked", "message": "agent-2: " + "of many words " * 30}]}}})
    view.see("lock", lock(agent_1={"phase": "Draining", "detail": "2 pods left, " + "evicting default/web-0 " * 10}))
    view.see("journal agent-2", {"MESSAGE": "Waiting: for a slot\nand more"})
    return view


@pytest.mark.parametrize("width", [20, 80, 120])
def test_the_bars_fit_the_terminal(width):
    out = io.StringIO()
    display = Terminal(out, 0, lambda: os.terminal_size((width, 24)))
    view = view_of_everything()
    display.show(view)
    display.show(view)
    display.end()
    first, second = out.getvalue().split("\x1b[J")[:2]
    assert second.startswith(f"\x1b[{first.count(chr(10))}F")
    for line in re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "", first + second).splitlines():
        assert len(line) < width
    assert out.getvalue().endswith("\x1b[?25h")


def test_lines_are_written_for_changes_only():
    out = io.StringIO()
    view, display = view_of_everything(), Plain(out, 0)
    display.show(view)
    before = out.getvalue()
    view.see("nodes", node("agent-2"))
    display.show(view)
    assert out.getvalue() == before
    view.see("nodes", node("agent-2", ready="Unknown"))
    display.show(view)
    assert out.getvalue()[len(before):].count("\n") == 1


def test_phases_told_twice_do_not_go_back():
    view = view_of_everything()
    agent = view.nodes["agent-1"]
    view.see("journal agent-1", {"MESSAGE": "Restarting for v1.31.4+k3s1 (restart)"})
    view.see("lock", lock(agent_1={"phase": "Swapping"}))
    view.see("journal agent-1", {"MESSAGE": "Waiting: for a slot: said before"})
    assert (agent.phase, PHASES[agent.reached]) == ("Restarting", "Restarting")
    view.see("lock", lock())
    view.see("journal agent-1", {"MESSAGE": "upgraded from v1.30.4+k3s1 to v1.31.4+k3s1 in 3 s"})
    assert agent.phase == "Done" and view.order == [("taken", "agent-1"), ("released", "agent-1")]


def test_there_is_no_hope_when_a_node_failed_or_stays_blocked():
    view = view_of_everything()
    assert not view.hopeless()
    view.see("lock", lock(agent_1={"phase": "Failed", "detail": "verify: never Ready"}))
    assert view.hopeless() == "agent-1 is at Failed: verify: never Ready"
    view = view_of_everything()
    view.see("lock", lock(agent_2={"phase": "Blocked", "detail": "skips a minor"}))
    assert not view.hopeless() and not view.nodes["agent-2"].slot
    assert view.hopeless(patience=-1) == "agent-2 is at Blocked: skips a minor"
    view.see("journal agent-2", {"MESSAGE": "fetching v1.31.4+k3s1"})
    assert not view.hopeless(patience=-1)
