# SPDX-License-Identifier: Apache-2.0
"""The demo, which is also the first test: a server and two agents are upgraded by two Plans while one looks on.

`./dev demo`, or `python3 -m tests.cluster.demo --package DEB`. What is shown comes from watches (kubectl's for nodes, Plans
and the lock, journalctl's for the agents); nothing is polled. The exit status is 0 when everything is as a user would want it.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time

from . import paths
from .cluster import Cluster
from .demo_view import Plain, Terminal, View
from .processes import until

NAMESPACE = "system-upgrade"
LOCK = "k3s-upgrade-agent"
PLANS = ("server-plan", "agent-plan")
PATIENCE = 480  # seconds, from the Plans to their end

# For --drain: something to move away from the nodes.
PODS = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 6, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 2, "containers": [{"name": "web", "image": "web"}]}}}}


class Failed(Exception):
    """The demo did not end as it should; the text is for the user."""


def expect(condition, otherwise):
    if not condition:
        raise Failed(otherwise)


class Follower:
    """A program that prints one JSON object per event; each goes into the queue as (source, object)."""

    def __init__(self, events, source, argv):
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, start_new_session=True)  # Ctrl-C is for us alone
        self.stopped = False
        self.thread = threading.Thread(target=self._run, args=(events, source), daemon=True)
        self.thread.start()

    def _run(self, events, source):
        text = ""
        for line in self.process.stdout:
            text += line
            # Some versions of kubectl print an object on one line, some indented.
            if line.rstrip() == "}" or (text == line and line.rstrip().endswith("}")):
                events.put((source, json.loads(text)))
                text = ""
        if not self.stopped:
            events.put(("ended", f"the watch for {source} ended: {self.process.stderr.read().strip()[-500:]}"))

    def stop(self):
        self.stopped = True
        # The group: what nsenter started in a host is a child of its own, and would keep the pipe open.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.thread.join()
        self.process.stdout.close()
        self.process.stderr.close()


def plan(name, version, drain):
    """The example Plan, as a user would edit it."""
    text = (paths.REPOSITORY / "examples" / f"{name}.yaml").read_text()
    text = re.sub(r"^  version: .*$", f"  version: {version}", text, count=1, flags=re.MULTILINE)
    if drain:
        text = re.sub(r"^  cordon: true$", "  drain: {force: true}", text, count=1, flags=re.MULTILINE)
    return text


class Demo:
    def __init__(self, cluster, options, display):
        self.cluster, self.display = cluster, display
        self.package, self.version = pathlib.Path(options.package), options.version or cluster.k3s(minors=1)
        self.drain, self.keep = options.drain, options.keep
        self.is_up = False
        self.view = View([h.name for h in cluster.hosts])
        self.events = queue.SimpleQueue()
        self.applied = None

    def run(self):
        say = self.display.say
        kubernetes = self.cluster.control_plane.kubernetes.version
        say(f"bringing up {', '.join(self.view.nodes)} on {self.cluster.version}, and a control plane of Kubernetes {kubernetes}")
        self.cluster.up(owned=not self.keep)
        self.is_up = True
        say(f"publishing {self.version} on the release server")
        self.cluster.releases.add(self.version)
        say(f"apt install ./{self.package.name} on each host")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda h: h.install_package(self.package), self.cluster.hosts))
        say("kubectl apply -f deploy/")
        self.cluster.kubectl("apply", "-f", paths.REPOSITORY / "deploy")
        self.cluster.kubectl("wait", "--for=condition=Established", "crd/plans.upgrade.cattle.io", "--timeout=120s")
        if self.drain:
            self.cluster.apply(json.dumps(PODS))
            self.cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
        with contextlib.ExitStack() as followers:
            for source, argv in self._sources():
                followers.callback(Follower(self.events, source, argv).stop)
            say("kubectl apply -f examples/server-plan.yaml -f …/agent-plan.yaml")
            for name in PLANS:
                self.cluster.apply(plan(name, self.version, self.drain))
            self.applied = time.monotonic()
            try:
                self._look_on()
            finally:
                self.display.end()
        self._check()
        self._report(time.monotonic())

    def _sources(self):
        watch = ["--watch", "--output-watch-events", "-o", "json"]
        kubectl = self.cluster.control_plane.kubectl_command()
        yield "nodes", [*kubectl, "get", "nodes", *watch]
        yield "plans", [*kubectl, "-n", NAMESPACE, "get", "plans.upgrade.cattle.io", *watch]
        yield "lock", [*kubectl, "-n", NAMESPACE, "get", "configmaps", f"--field-selector=metadata.name={LOCK}", *watch]
        for host in self.cluster.hosts:
            yield f"journal {host.name}", host.command("journalctl", "--unit=k3s-upgrade-agent", "--follow", "--lines=1",
                                                       "--output=json")

    def _look_on(self):
        """Until the end, or until there is no hope of it."""
        deadline = time.monotonic() + PATIENCE
        while not self.view.complete:
            self.display.show(self.view)
            with contextlib.suppress(queue.Empty):
                source, event = self.events.get(timeout=1)  # no event: only the clock goes on
                expect(source != "ended", event)
                self.view.see(source, event)
            hopeless = self.view.hopeless()
            expect(not hopeless, hopeless)
            expect(time.monotonic() < deadline, f"not complete after {PATIENCE} s:\n" +
                   "\n".join(f"  {text}" for _, text in self.view.lines()))
        self.display.show(self.view)

    def _check(self):
        """What a user would look at, asked anew."""
        hashes = {p["metadata"]["name"]: p["status"]["latestHash"] for p in self.cluster.kubectl_json(
            "-n", NAMESPACE, "get", "plans.upgrade.cattle.io")["items"]}
        for host in self.cluster.hosts:
            node = host.node()
            name = "server-plan" if host.role == "server" else "agent-plan"
            label = node["metadata"]["labels"].get(f"plan.upgrade.cattle.io/{name}")
            runs = node["status"]["nodeInfo"]["kubeletVersion"]
            expect(label == hashes[name], f"{host.name} is labelled {label}, and {name}'s latestHash is {hashes[name]}")
            expect(runs == self.version, f"{host.name} runs {runs}, not {self.version}")
            expect(host.k3s_version() == self.version, f"{host.name} has k3s {host.k3s_version()} on its disk")
            expect(not node["spec"].get("unschedulable"), f"{host.name} was left cordoned")
            # The node lifecycle controller takes `not-ready` off in its own time; every other taint would be the agent's.
            taints = [t for t in node["spec"].get("taints", []) if t["key"] != "node.kubernetes.io/not-ready"]
            expect(not taints, f"{host.name} was left tainted: {taints}")
            expect(host.is_ready(), f"{host.name} is not Ready")
        lock = self.cluster.kubectl_json("-n", NAMESPACE, "get", "configmap", LOCK).get("data", {})
        expect(set(lock) <= {"coordinator"}, f"the lock still holds {', '.join(sorted(lock))}")
        first, *others = [node for what, node in self.view.order if what == "taken"]
        expect(first == "server-1" and sorted(others) == ["agent-1", "agent-2"] and
               self.view.order == [(what, node) for node in (first, *others) for what in ("taken", "released")],
               "the nodes did not go one after the other, the server first: " +
               ", ".join(f"{node} {what}" for what, node in self.view.order))

    def _report(self, ended):
        order = [node for what, node in self.view.order if what == "taken"]
        print(f"\nBoth Plans are Complete: {', then '.join(order)}.\n")
        steps = ("drain", "restart", "verify")
        print(f"  {'node':<10}{'slot to release':>16}" + "".join(f"{s:>10}" for s in (*steps, "the rest")))
        for name in order:
            last = until(lambda name=name: self._result(name), f"{name}'s own report")
            expect(last["result"] == "Succeeded", f"{name} says of its upgrade: {last['result']} {last['message']}")
            took = [last["timings"].get(s) for s in steps]
            cells = [*took, last["seconds"] - sum(t or 0 for t in took)]
            print(f"  {name:<10}{last['seconds']:>14.1f} s" +
                  "".join(f"{'-':>10}" if c is None else f"{c:>8.1f} s" for c in cells))
        print(f"\n  {ended - self.applied:.0f} s from the Plans to Complete, {ended - self.display.begun:.0f} s in all.")

    def _result(self, name):
        """What the agent says of its upgrade, which is a moment after it has given its slot back."""
        # The exit status is about the agent's health, not about its output.
        last = json.loads(self.cluster.host(name).run("k3s-upgrade-agent", "status", "--json", check=False).stdout)["last"]
        return last if last and last["version"] == self.version else None

    def last_words(self):
        """What the agents said last, for whoever has to find out what went wrong."""
        for host in self.cluster.hosts:
            with contextlib.suppress(OSError, RuntimeError):
                for line in host.journal_text("k3s-upgrade-agent").splitlines()[-5:]:
                    print(f"  {host.name}: {line}", file=sys.stderr)


def look_around(name):
    dev = "./dev cluster" + ("" if name == "demo" else f" --name {name}")
    print(f"""
The cluster is still there. Look around:
  {dev} kubectl get nodes -o wide
  {dev} kubectl -n {NAMESPACE} get plans -o wide
  {dev} shell server-1                  # then: k3s-upgrade-agent status
  {dev} logs agent-1 -u k3s-upgrade-agent
  {dev} down""")


def arguments():
    parser = argparse.ArgumentParser(prog="./dev demo", description="A server and two agents, upgraded before your eyes.")
    parser.add_argument("--package", type=pathlib.Path, default=os.environ.get("KUA_TEST_PACKAGE"), metavar="DEB",
                        help="the agent's Debian package (default: $KUA_TEST_PACKAGE; ./dev demo builds one)")
    parser.add_argument("--version", metavar="VERSION",
                        help="upgrade to this (default: over a minor version, to the control plane's)")
    parser.add_argument("--drain", action="store_true", help="drain the nodes, of a Deployment's pods, instead of a cordon alone")
    parser.add_argument("--keep", action="store_true", help="leave the cluster up at the end")
    parser.add_argument("--plain", action="store_true", help="lines instead of bars, as when the output is no terminal")
    parser.add_argument("--name", default="demo", help="the cluster's name (default: demo)")
    options = parser.parse_args()
    if not options.package or not pathlib.Path(options.package).is_file():
        parser.error(f"there is no package {options.package or ''}: `./dev deb` builds one, `./dev demo` does all")
    if options.version and not re.fullmatch(r"v\d+\.\d+\.\d+\+k3s\d+", options.version):
        parser.error(f"{options.version} is no version of k3s, such as v1.31.4+k3s1")
    return options


def main():
    options = arguments()
    begun = time.monotonic()
    sys.stdout.reconfigure(errors="replace")
    bars = sys.stdout.isatty() and not options.plain and os.environ.get("TERM", "dumb") != "dumb"
    display = (Terminal if bars else Plain)(sys.stdout, begun)
    cluster = Cluster(3, name=options.name)
    demo = Demo(cluster, options, display)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    keep = options.keep
    try:
        demo.run()
        return 0
    except Failed as failure:
        print(f"\ndemo: FAILED: {failure}", file=sys.stderr)
        demo.last_words()
        return 1
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"\ndemo: FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        keep = False
        print("\ndemo: interrupted; taking the cluster down", file=sys.stderr)
        return 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is half taken down is of no use to anybody
        if demo.is_up and keep:
            look_around(options.name)
        elif demo.is_up:
            cluster.down()  # otherwise up() has done that, and kept the logs


if __name__ == "__main__":
    sys.exit(main())
