# SPDX-License-Identifier: Apache-2.0
"""What agents ask the API server for, and how: nothing that is deprecated, over HTTP/2, and when idle nothing but watches."""

import collections

import pytest

from .bad_way import BadWay
from .processes import until
from .workload import deploy_on, documented

DEPRECATED = "k8s.io/deprecated"  # the audit log's annotation, since 1.19


@pytest.fixture
def way(fleet):
    with BadWay(fleet.workers[0]) as way:
        fleet.agent(way.host).until_status("Idle: no Plans")
        yield way


def test_an_upgrade_asks_for_nothing_that_is_deprecated_and_is_warned_of_nothing(fleet):
    hosts = fleet.cluster.hosts
    deploy_on(fleet, fleet.workers[0], "web")
    fleet.cluster.apply(documented(fleet.next_version(*hosts)).replace("cordon: true", "drain: {force: true}"))
    for name in ("server-plan", "agent-plan"):
        fleet.wait_complete(name)
    for host in hosts:
        fleet.agent(host).upgraded(fleet.begun)
        asked = list(fleet.cluster.audit_log(user=f"system:node:{host.name}", agent="k3s-upgrade-agent", since=fleet.begun))
        verbs = {(e["verb"], e["objectRef"]["resource"], e["objectRef"].get("subresource")) for e in asked if "objectRef" in e}
        assert verbs >= {("patch", "nodes", None), ("list", "pods", None), ("patch", "configmaps", None)}
        assert ("create", "pods", "eviction") in verbs or host is not fleet.workers[0]
        assert [e["requestURI"] for e in asked if DEPRECATED in e.get("annotations", {})] == []
        # Every warning of an API server is told in the journal (lib/kube).
        assert fleet.agent(host).records(fleet.begun, "the API server warns") == []


def test_every_request_of_an_upgrade_is_http_2(fleet, way):
    version = fleet.next_version(way.host)
    deploy_on(fleet, way.host, "web")
    fleet.plan("upgrades", [way.host], version=version, drain={})
    fleet.wait_complete("upgrades")
    assert way.host.is_ready(version)
    methods = {request.split(" ")[0] for request in way.requests()}
    assert methods >= {"GET", "PATCH", "POST"} and way.protocols() == {"HTTP/2.0"}


def test_an_idle_agent_renews_its_watches_and_asks_for_nothing_else(fleet, way):
    def renewed(since):
        return collections.Counter(request.split("?")[0] for request in way.requests()[since:] if "watch=" in request)

    def times(since, count):
        return lambda: len(renewed(since)) == 3 and min(renewed(since).values()) >= count
    with way.bad("brief"):
        # Connections ended when that began: what an agent asks then is another test's.
        until(times(len(way.requests()), 2), "watches that were renewed")
        since = len(way.requests())
        until(times(since, 5), "watches that were renewed five times")
        asked = way.requests()[since:]
    assert [request for request in asked if "watch=" not in request] == []
    assert {path.rsplit("/", 1)[1] for path in renewed(since)} == {"nodes", "plans", "configmaps"}
