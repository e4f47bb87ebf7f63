# SPDX-License-Identifier: Apache-2.0
"""The test cluster by hand: `python3 -m tests.cluster --help`, or `./dev cluster`."""

import argparse
import json
import os
import subprocess
import sys
import time

from . import kubernetes
from .cluster import Cluster
from .releases import binary


def prepare(options):
    """Fills the cache: what takes minutes the first time, and nothing afterwards."""
    if options.every_kubernetes:
        kubernetes.of_a_run()
    cluster = Cluster(1)
    assert cluster.control_plane.bin and cluster.image
    binary(cluster.version)


def up(options):
    begun = time.monotonic()
    cluster = Cluster(options.hosts, options.servers, options.name, options.version).up()
    for version in options.release:
        cluster.releases.add(version)
    print(f"cluster {cluster.name} is up in {time.monotonic() - begun:.0f} s: "
          f"{', '.join(h.name for h in cluster.hosts) or cluster.control_plane.server}")


def down(options):
    Cluster(0, 0, options.name).down()


def kubectl(options):
    command = Cluster.load(options.name).control_plane.kubectl_command()
    os.execvp(command[0], [*command, *options.arguments])


def shell(options):
    host = Cluster.load(options.name).host(options.host)
    command = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    argv = host.command(*(command or ["bash", "--login"]))
    os.execvp(argv[0], argv)


def status(options):
    cluster = Cluster.load(options.name)
    processes = cluster.control_plane
    for process in (processes.etcd, processes.api_server, processes.controllers, processes.scheduler,
                    cluster.releases.process):
        if process.record.exists():
            print(f"{process.name:<26}{f'pid {process.pid}' if process.pid else 'DEAD'}")
    for host in cluster.hosts:
        state = host.unit_state()["ActiveState"] if host.is_on else "-"
        print(f"{host.name:<26}{'on' if host.is_on else 'off'}, {host.ip}, {host.unit} {state}")


def logs(options):
    cluster = Cluster.load(options.name)
    if options.what in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        path = cluster.control_plane.directory / "processes" / f"{options.what}.log"
        os.execvp("tail", ["tail", "-n", "+1", *(["-f"] if options.follow else []), str(path)])
    if options.what == "releases":
        path = cluster.releases.directory / "access.log"
        os.execvp("tail", ["tail", "-n", "+1", *(["-f"] if options.follow else []), str(path)])
    host = cluster.host(options.what)
    os.execvp("journalctl", ["journalctl", "--no-pager", f"--directory={host.path('/var/log/journal')}",
                             *(["-f"] if options.follow else []), *(["-u", options.unit] if options.unit else [])])


def release(options):
    releases = Cluster.load(options.name).releases
    if options.action == "add":
        misbehaviour = json.loads(options.misbehaviour) if options.misbehaviour else None
        releases.add(options.version, misbehaviour, architectures=options.arch.split(","))
    elif options.action == "channel":
        releases.channel("stable", options.version)
    elif options.action == "list":
        for folder in sorted((releases.directory / "releases").glob("*")):
            print(folder.name)


def control_plane(options):
    """A control plane for the run of one program."""
    name = f"cp-{os.getpid()}"
    with Cluster(0, 0, name) as cluster:
        environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "KUA_TEST_NODE": "node-1",
                       "KUA_TEST_KUBELET_KUBECONFIG": str(cluster.kubelet_kubeconfig("node-1")),
                       "KUA_TEST_AUDIT_LOG": str(cluster.control_plane.audit.path),
                       "KUA_TEST_CLUSTER": name, "KUA_TEST_KUBECTL": str(cluster.control_plane.bin / "kubectl")}
        return subprocess.run(options.run, env=environment, check=False).returncode


def arguments():
    parser = argparse.ArgumentParser(prog="./dev cluster", description="A cluster for tests and for trying things out.")
    parser.add_argument("--name", default="demo", help="several clusters can be up at once (default: demo)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function, help):  # pylint: disable=redefined-builtin
        sub = commands.add_parser(function.__name__.replace("_", "-"), help=help)
        sub.add_argument("--name", default=argparse.SUPPRESS)
        sub.set_defaults(function=function)
        return sub

    sub = command(prepare, "build the control plane and the hosts' image, unless the cache has them")
    sub.add_argument("--every-kubernetes", action="store_true", help="the oldest and the newest, as the tests need them")
    sub = command(up, "bring up a cluster with N hosts")
    sub.add_argument("hosts", type=int, nargs="?", default=3, metavar="N")
    sub.add_argument("--servers", type=int, default=1)
    sub.add_argument("--version", help="k3s on the hosts (default: one minor version below the API server)")
    sub.add_argument("--release", action="append", default=[], metavar="VERSION", help="publish this release, too")
    command(down, "take it down, with all that a killed run may have left")
    command(status, "what of it runs")
    command(kubectl, "kubectl as administrator: kubectl ARGUMENTS…")
    sub = command(shell, "a root shell on a host, or one command there: shell HOST [COMMAND…]")
    sub.add_argument("host", help="server-1, agent-1, … or host-1, host-2, …")
    sub = command(logs, "a host's journal, a control plane program's log, or the release server's access log")
    sub.add_argument("what", help="a host; etcd, kube-apiserver, kube-controller-manager, kube-scheduler; releases")
    sub.add_argument("--unit", "-u")
    sub.add_argument("--follow", "-f", action="store_true")
    sub = command(release, "publish a release, or point the channel `stable` at one")
    sub.add_argument("action", choices=["add", "channel", "list"])
    sub.add_argument("version", nargs="?")
    sub.add_argument("misbehaviour", nargs="?", help='JSON, as in tests/fakes/k3s/config.go: \'{"failStart": true}\'')
    sub.add_argument("--arch", default="amd64", help="amd64,arm64,arm (default: amd64)")
    sub = command(control_plane, "run a program with a control plane of its own: KUBECONFIG, KUA_TEST_KUBELET_KUBECONFIG")
    sub.add_argument("--run", nargs=argparse.REMAINDER, required=True, metavar="CMD")
    # kubectl's arguments, and a host's command, are theirs from the first one on, also where they look like ours.
    argv, theirs = sys.argv[1:], []
    for word, own in (("kubectl", 0), ("shell", 1)):
        if word in argv:
            end = argv.index(word) + 1
            if argv[end:end + 1] == ["--name"]:
                end += 2
            argv, theirs = argv[:end + own], argv[end + own:]
            break
    options = parser.parse_args(argv)
    options.arguments = theirs
    return options


if __name__ == "__main__":
    chosen = arguments()
    try:
        sys.exit(chosen.function(chosen))
    except (LookupError, ValueError) as error:
        sys.exit(f"cluster: {error}")
