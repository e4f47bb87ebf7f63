# SPDX-License-Identifier: Apache-2.0
"""Measures what the README and the design promise and writes docs/measurements.md: `./dev bench [--idle SECONDS]`.

A server and two agents on real hosts. First the two documented Plans are carried out; then nothing happens for ten minutes, and the
API server's audit log tells what the agents asked for meanwhile. Nothing here is asserted: the report is read by people.
"""

import argparse
import collections
import datetime
import json
import os
import pathlib
import platform
import re
import time

from tests.cluster import Cluster, moment, now

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "measurements.md"
STEPS = ("prepare", "cordon", "drain", "swap", "restart", "verify", "uncordon", "label", "release")
DRAIN = "  drain: {force: true}\n"


def plans(version) -> str:
    """The examples, with that version, and with a drain that the agents' pods make worth measuring."""
    texts = [(ROOT / "examples" / f"{name}.yaml").read_text() for name in ("server-plan", "agent-plan")]
    text = "\n---\n".join(re.sub(r"^(\s*version:).*$", rf"\1 {version}", t, flags=re.MULTILINE) for t in texts)
    return re.sub(r"^spec:\n", "spec:\n" + DRAIN, text, flags=re.MULTILINE)


def workload(cluster):
    """Ten pods to be evicted, two seconds each to end."""
    cluster.apply(json.dumps({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 10, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}, "annotations": {"stand-in/stops-after": "2s"}},
            "spec": {"containers": [{"name": "web", "image": "web"}]}}}}))
    cluster.kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=60s")


def upgrade(cluster, package, version):
    """Carries both Plans out; returns the seconds it took, and each host's timings."""
    cluster.kubectl("apply", "-f", str(ROOT / "deploy"))
    for host in cluster.hosts:
        host.install_package(package)
    workload(cluster)
    begun = time.monotonic()
    cluster.apply(plans(version))
    cluster.kubectl("-n", "system-upgrade", "wait", "plan", "--all", "--for=condition=Complete", "--timeout=300s", timeout=310)
    took = time.monotonic() - begun
    last = {h.name: json.loads(h.run("k3s-upgrade-agent", "status", "--json").stdout)["last"] for h in cluster.hosts}
    return took, last


def memory(host) -> dict:
    """VmHWM, VmRSS and the private part of it, in MB, of the agent's process."""
    pid = host.run("systemctl", "show", "-P", "MainPID", "k3s-upgrade-agent").stdout.strip()
    status = host.run("cat", f"/proc/{pid}/status", f"/proc/{pid}/smaps_rollup").stdout
    number = lambda name: int(re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE).group(1)) / 1024
    return {"rss": number("VmRSS"), "peak": number("VmHWM"), "private": number("Private_Dirty") + number("Private_Clean"),
            "threads": int(re.search(r"^Threads:\s+(\d+)", status, re.MULTILINE).group(1))}


def idle(cluster, seconds):
    """What each agent asked the API server for while nothing happened."""
    begun = now()
    time.sleep(seconds)
    requests = {}
    for host in cluster.hosts:
        count = collections.Counter()
        # By when a request ended: the API server writes a watch down when it is over.
        for event in cluster.audit_log(user=f"system:node:{host.name}", agent="k3s-upgrade-agent"):
            if moment(event["stageTimestamp"]) >= begun:
                count[f"{event['verb']} {event.get('objectRef', {}).get('resource', event['requestURI'])}"] += 1
        requests[host.name] = count
    return requests


def report(kubernetes, package, took, last, requests, memories, seconds) -> str:
    lines = [
        "# Measurements", "",
        f"By `./dev bench` on {datetime.date.today()}: {os.cpu_count()} cores, Linux {platform.release()}, {package.name}, Kubernetes {kubernetes},",
        "a server and two agents as systemd-nspawn hosts, ten pods. k3s is the stand-in of `tests/fakes/k3s`: it is ready some 5 s after its start, where a real k3s",
        "takes 13 to 22 s on two cores; its binary is 8 MB, a real one some 70 MB. These numbers say what the agent adds, not how long a real",
        "upgrade takes.", "",
        f"Both documented Plans, with a drain, from `kubectl apply` to Complete on all three nodes: {took:.1f} s.", "",
        "## Per node, from slot to release (seconds)", "",
        "| node | all | " + " | ".join(STEPS) + " |", "|---|---|" + "---|" * len(STEPS)]
    for name, result in last.items():
        timings = result["timings"]
        lines.append(f"| {name} | {result['seconds']:.1f} | " + " | ".join(f"{timings[s]:.2f}" if s in timings else "–" for s in STEPS) + " |")
    lines += ["", "`restart` is RestartUnit until the unit is active; `verify` is from there to Ready at the new version.", "",
              f"## Idle for {seconds} s", "", "| node | requests to the API server | RSS | peak | private | threads |", "|---|---|---|---|---|---|"]
    for name, count in requests.items():
        m = memories[name]
        what = ", ".join(f"{n} {verb}" for verb, n in sorted(count.items())) or "none"
        lines.append(f"| {name} | {what} | {m['rss']:.1f} MB | {m['peak']:.1f} MB | {m['private']:.1f} MB | {m['threads']} |")
    lines += ["", "A watch ends after five to ten minutes and is begun again; counted is its end. The server's agent is the coordinator: its patches are",
              "the renewals of that lease, every 15 s; each is decided on what a watch has brought.", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="./dev bench")
    parser.add_argument("--idle", type=int, default=600, metavar="SECONDS")
    options = parser.parse_args()
    package = pathlib.Path(os.environ["KUA_TEST_PACKAGE"])
    with Cluster(3, name=f"bench-{os.getpid()}") as cluster:
        version = cluster.k3s(minors=1)
        cluster.releases.add(version)
        took, last = upgrade(cluster, package, version)
        print(f"Complete after {took:.1f} s; now idle for {options.idle} s", flush=True)
        requests = idle(cluster, options.idle)
        text = report(cluster.control_plane.kubernetes.version, package, took, last, requests, {h.name: memory(h) for h in cluster.hosts}, options.idle)
    REPORT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
