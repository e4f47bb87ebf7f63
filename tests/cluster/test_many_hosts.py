# SPDX-License-Identifier: Apache-2.0
"""Three servers, which have etcd, and five agents: rollouts, the lock and the coordinator when hosts come and go."""

import concurrent.futures

import pytest

from . import clocks, moment, now
from .agent import BINARY, LOCK, NAMESPACE, UNIT
from .processes import PATIENCE
from .watched import conditions, coordinator, is_cordoned, plan_label, slots, version_of
from .workload import documented, end_guard, guard

# Leases that a test can wait for: restart and health together, and three times restart, are the least.
SHORT_LEASE = "restart: {timeout: 10s}\nhealth: {timeout: 19s, settle: 1s}\nlock: {ttl: 30s}\n"


@pytest.fixture
def fleet(fleets):
    yield from fleets.lend(3, 5)


def upgraded(fleet, hosts, version):
    """Every one of the hosts runs the version, and its node takes pods."""
    for host in hosts:
        node = host.node()
        assert host.is_ready(version) and host.k3s_version() == version
        assert not is_cordoned(node) and "k3s-upgrade-agent/cordoned-by" not in node["metadata"]["annotations"]
        assert not [f.name for f in host.path(BINARY).parent.glob(".k3s*.next")]


def plans_at_work(held) -> set:
    """The Plans that have a slot at a moment of Fleet.held()."""
    return {slot["plan"] for slot in held.values()}


def snapshots(host) -> set:
    folder = host.path("/var/lib/rancher/k3s/server/db/snapshots")
    return {f.name for f in folder.iterdir()} if folder.exists() else set()


# Rollouts


def test_servers_are_labelled_as_members_of_etcd(fleet):
    for host in fleet.cluster.hosts:
        labels = host.node()["metadata"]["labels"]
        roles = {role: labels.get(f"node-role.kubernetes.io/{role}") for role in ("control-plane", "etcd", "master")}
        assert set(roles.values()) == ({"true"} if host.role == "server" else {None})


@pytest.mark.parametrize("source", ["version", "channel"])
def test_a_rollout_takes_the_servers_one_by_one_and_then_two_agents_at_a_time(fleet, source):
    hosts = fleet.cluster.hosts
    new = fleet.next_version(*hosts)
    before = {host: snapshots(host) for host in fleet.servers}
    fleet.cluster.releases.channel("stable", new)
    fleet.cluster.apply(documented(new if source == "version" else None, agents_at_once=2))
    plans = {name: fleet.wait_complete(name, timeout=600) for name in ("server-plan", "agent-plan")}
    upgraded(fleet, hosts, new)
    for host in hosts:
        plan = "server-plan" if host in fleet.servers else "agent-plan"
        assert plan_label(host.node(), plan) == plans[plan]["status"]["latestHash"]
        assert fleet.was_cordoned(host)
    for plan in plans.values():
        assert {k: (c["status"], c["reason"]) for k, c in conditions(plan).items()} == {
            "LatestResolved": ("True", source.capitalize()), "Validated": ("True", "PlanIsValid"),
            "Complete": ("True", "Complete")}

    assert len([h for h in fleet.servers if snapshots(h) - before[h]]) == 1, "etcd is saved before the first server, and once"

    assert (fleet.most_slots("server-plan"), fleet.most_slots("agent-plan")) == (1, 2)
    assert fleet.most_down(fleet.servers) == 1
    assert fleet.most_down(fleet.workers) <= 2
    order = [plans_at_work(held) for held in fleet.held() if held]
    first_agent = order.index({"agent-plan"})
    assert order == [{"server-plan"}] * first_agent + [{"agent-plan"}] * (len(order) - first_agent)


def test_exclusive_plans_never_have_nodes_at_work_at_the_same_time(fleet):
    new = fleet.next_version(*fleet.cluster.hosts)
    fleet.plan("agents", fleet.workers, version=new, concurrency=2, exclusive=True)
    fleet.plan("servers", fleet.servers, version=new, concurrency=1, exclusive=True)
    for plan in ("agents", "servers"):
        fleet.wait_complete(plan, timeout=600)
    upgraded(fleet, fleet.cluster.hosts, new)
    at_work = [plans_at_work(held) for held in fleet.held()]
    assert all(len(plans) <= 1 for plans in at_work) and set().union(*at_work) == {"agents", "servers"}
    assert (fleet.most_slots("agents"), fleet.most_slots("servers")) == (2, 1)
    said = [conditions(p)["Complete"] for p in fleet.seen(fleet.plans) if "Complete" in conditions(p)]
    assert any(c["reason"] == "Waiting" and "waiting for exclusive Plan" in c["message"] for c in said)


# Hosts that go away


def test_another_server_coordinates_when_the_lease_of_a_coordinator_whose_host_is_off_has_run_out(fleet):
    worker = fleet.workers[0]
    version = fleet.next_version(worker)
    holder = fleet.lock.until(lambda maps: coordinator(maps[LOCK])["holder"], "a coordinator")
    fleet.cluster.host(holder).power_off()
    last = coordinator(fleet.cluster.kubectl_json("-n", NAMESPACE, "get", "configmap", LOCK))
    fleet.plan("meanwhile", [worker], version=version)
    lease = fleet.lock.until(lambda maps: coordinator(maps[LOCK])["holder"] != holder and coordinator(maps[LOCK]),
                             "another coordinator", 2 * PATIENCE)
    assert lease["holder"] in [h.name for h in fleet.servers] and last["holder"] == holder
    # By one clock: all hosts have this machine's. How soon after that, is a matter of the machine.
    silence = (moment(lease["acquired"]) - moment(last["renewed"])).total_seconds()
    assert last["ttlSeconds"] <= 60 and last["ttlSeconds"] <= silence
    fleet.wait_complete("meanwhile")
    upgraded(fleet, [worker], version)


def test_a_host_that_is_off_blocks_nobody_and_one_that_goes_off_with_a_slot_only_until_its_lease_ends(fleet):
    absent, holder, third = fleet.workers[:3]
    version = fleet.next_version(*fleet.workers)
    fleet.agent(holder).configure(SHORT_LEASE)
    guard(fleet, holder)
    absent.power_off()
    fleet.plan("outage", [absent, holder], version=version, drain={})
    fleet.until_slot("Draining", "outage", holder, "1 pod left")
    fleet.plan("outage", [absent, holder, third], version=version, drain={})
    fleet.agent(third).until_status(f"for a slot: 1 of 1 slots held: {holder.name} (Draining")
    holder.power_off()
    fleet.until_node(third, lambda n: version_of(n) == version, "upgraded", 2 * PATIENCE)
    taken, last = None, None
    for each in map(slots, fleet.seen(fleet.lock)):
        last = each[f"outage.{holder.name}"] if f"outage.{holder.name}" in each else last
        taken = taken or each.get(f"outage.{third.name}")
    assert (moment(taken["acquired"]) - moment(last["renewed"])).total_seconds() >= 30

    fleet.until_condition("outage", "Complete", "False", f"{holder.name} fell silent while Draining; its slot is free again")
    fleet.until_condition("outage", "Complete", "False", f"not Ready: {absent.name}")
    end_guard(fleet)
    back = now()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: host.power_on(), (absent, holder)))
    fleet.agent(holder).heard('interrupted at "drain"', back)
    fleet.agent(holder).heard("undone, the node is as it was", back)
    fleet.wait_complete("outage")
    upgraded(fleet, [absent, holder, third], version)


# Failures


def test_a_bad_version_stops_after_as_many_nodes_as_the_plan_takes_at_once_until_a_slot_is_released(fleet):
    old = {h.name: h.k3s_version() for h in fleet.workers}
    newest = max(fleet.workers, key=lambda h: int(old[h.name].split(".")[2].split("+")[0]))
    fleet.plan("breaks", fleet.workers, version=fleet.broken_version(newest, failStart=True), concurrency=2)

    def failed(maps):
        names = [s["node"] for s in slots(maps[LOCK]).values() if s["phase"] == "Failed"]
        return sorted(names) if len(names) == 2 else None
    first, second = (fleet.cluster.host(name) for name in fleet.lock.until(failed, "two that failed"))
    for host in (first, second):
        said = fleet.until_condition("breaks", "Complete", "False", f"{host.name}: ")
        assert said["reason"] == "JobFailed"
    assert fleet.most_slots("breaks") == 2
    for host in fleet.workers:
        assert host.is_ready(old[host.name]) and not is_cordoned(host.node())
        if host not in (first, second):
            fleet.agent(host).until_status("for a slot: 2 of 2 slots held: ")
    assert fleet.cordoned() == {first.name, second.name}

    def release(on, *arguments, check=True):
        return on.run("k3s-upgrade-agent", "release", "--plan", "breaks", *arguments, check=check)
    mark = fleet.lock.mark()
    assert f"freed breaks on {first.name}: Failed" in release(first).stdout
    refused = release(first, "--node", second.name, check=False)
    assert refused.returncode != 0 and "kubeconfig" in refused.stderr
    assert f"freed breaks on {second.name}: Failed" in release(fleet.server, "--node", second.name).stdout
    for host in (first, second):
        assert any(f"breaks.{host.name}" not in slots(c) for c in fleet.lock.since(mark))

    good = fleet.next_version(*fleet.workers)
    fleet.patch_plan("breaks", version=good)
    fleet.wait_complete("breaks", good, 600)
    upgraded(fleet, fleet.workers, good)
    assert fleet.most_down(fleet.workers) <= 2  # not slots: a failure of the version before counts no longer


def test_the_failure_of_a_node_that_was_deleted_is_dropped(fleet):
    host = fleet.workers[0]
    fleet.plan("breaks", [host], version=fleet.broken_version(host, failStart=True))
    fleet.until_slot("Failed", "breaks", host)
    fleet.cluster.kubectl("delete", "node", host.name)
    fleet.until_no_slots()
    fleet.wait_complete("breaks")


def test_no_server_is_taken_down_while_etcd_could_lose_its_majority(fleet):
    server, weak = fleet.servers[:2]
    version = fleet.next_version(*fleet.servers)
    weak.misbehave(neverReady=True)
    weak.run("systemctl", "restart", weak.unit)
    fleet.cluster.kubectl("wait", "--for=condition=Ready=false", f"node/{weak.name}", "--timeout=120s")
    fleet.plan("servers", [server], version=version)
    said = fleet.until_condition("servers", "Complete", "False", "etcd would lose its majority")
    assert weak.name in said["message"]
    fleet.agent(server).until_status(f"of 3 members 2 must stay up, and {weak.name} is not")
    assert not fleet.was_cordoned(server) and fleet.most_slots() == 0
    weak.misbehave()
    weak.restart_k3s()
    fleet.wait_complete("servers")
    upgraded(fleet, [server], version)


# Clocks


def test_clocks_that_are_hours_apart_change_nothing(fleet):
    hosts = ahead, behind, _ = fleet.workers[:3]
    version = fleet.next_version(*hosts)
    offsets = {ahead: "+3h", behind: "-3h"}
    for host, offset in offsets.items():
        clocks.set_wrong(host, UNIT, offset)
        fleet.agent(host).until_status("Idle: no Plans")
    try:
        fleet.plan("clocks", hosts, version=version)
        fleet.wait_complete("clocks")
    finally:
        for host in offsets:
            clocks.set_right(host, UNIT)
    upgraded(fleet, hosts, version)
    assert fleet.most_slots("clocks") == 1 and fleet.most_down(hosts) == 1
    apart = {s["node"]: round((moment(s["renewed"]) - now()).total_seconds() / 3600)
             for held in fleet.held() for s in held.values()}
    assert [apart[h.name] for h in hosts] == [3, -3, 0], "or the clocks were not wrong"
