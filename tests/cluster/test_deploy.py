# SPDX-License-Identifier: Apache-2.0
"""deploy/ on a real API server: what the manifests take, and what a node's certificate may and may not do with them.

The requests are made by hand, because the answer's status is what matters here: 403 and nothing softer.
"""

import http.client
import json
import shutil
import ssl

import pytest

from . import control_plane, paths
from .processes import PATIENCE, until
from .workload import documented

pytestmark = pytest.mark.every_kubernetes

DEPLOY = paths.REPOSITORY / "deploy"
PLANS = "/apis/upgrade.cattle.io/v1/namespaces/system-upgrade/plans"
CONFIG_MAPS = "/api/v1/namespaces/system-upgrade/configmaps"
LOCK = f"{CONFIG_MAPS}/k3s-upgrade-agent"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/system-upgrade/leases"
PODS = "/api/v1/namespaces/default/pods"
DAEMON_SETS = "/apis/apps/v1/namespaces/default/daemonsets"
NODES = "/api/v1/nodes"

FORBIDDEN = 403


class Api:
    """The API server, as one certificate's owner meets it."""

    def __init__(self, plane, certificate):
        self._host = plane.server.removeprefix("https://")
        self._tls = ssl.create_default_context(cafile=plane.pki / "server-ca.crt")
        self._tls.load_cert_chain(plane.pki / f"{certificate}.crt", plane.pki / f"{certificate}.key")

    def __call__(self, method, path, body=None, kind="application/json"):
        """Returns the answer's status and object."""
        connection = http.client.HTTPSConnection(self._host, context=self._tls, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": kind})
            answer = connection.getresponse()
            # Of a watch the first line is enough.
            text = answer.readline() if "watch=1" in path else answer.read()
            return answer.status, json.loads(text)
        finally:
            connection.close()

    def status(self, *request, **more):
        return self(*request, **more)[0]

    def patch(self, path, body):
        return self("PATCH", path, body, kind="application/merge-patch+json")


@pytest.fixture(scope="module")
def plane():
    plane = control_plane.temporary()
    try:
        plane.up()
        plane.kubectl("apply", "-f", DEPLOY)
        plane.kubectl("wait", "--for=condition=Established", "crd/plans.upgrade.cattle.io", f"--timeout={PATIENCE}s")
        # What was applied is heard of by the API server's own watches.
        until(lambda: plane.kubectl("get", "plans", "-A", check=False).returncode == 0, "Plans")
        until(lambda: plane.kubectl("-n", "system-upgrade", "auth", "can-i", "list", "plans", "--as=system:node:node-1",
                                    "--as-group=system:nodes", check=False).stdout.split()[-1:] == ["yes"], "the rights of nodes")
        yield plane
    finally:
        plane.down()
        shutil.rmtree(plane.directory)


@pytest.fixture(scope="module")
def admin(plane):
    return Api(plane, "admin")


@pytest.fixture(scope="module")
def node(plane, admin):
    """Node-1, with node-2 beside it; each runs a pod."""
    for name in ("node-1", "node-2"):
        plane.kubelet_kubeconfig(name)
        make_pod(admin, f"on-{name}", name)
    return Api(plane, "kubelet-node-1")


@pytest.fixture
def plan(admin):
    """The path of a Plan, there for one test."""
    path = create(admin, PLANS, make_plan("server-plan", version="v1.31.4+k3s1", concurrency=1))
    yield path
    admin("DELETE", path)


@pytest.fixture
def other_config_map(admin):
    path = create(admin, CONFIG_MAPS, {"metadata": {"name": "somebody-elses"}, "data": {"key": "value"}})
    yield path
    admin("DELETE", path)


def create(api, collection, thing):
    status, answer = api("POST", collection, thing)
    assert status == 201, answer
    return f"{collection}/{thing['metadata']['name']}"


def make_plan(name, **spec):
    return {"apiVersion": "upgrade.cattle.io/v1", "kind": "Plan", "metadata": {"name": name, "namespace": "system-upgrade"},
            "spec": {"upgrade": {"image": "rancher/k3s-upgrade"}, **spec}}


def make_pod(api, name, node):
    return create(api, PODS, {"metadata": {"name": name},
                              "spec": {"nodeName": node, "containers": [{"name": "web", "image": "web"}]}})


def evict(api, admin, pod):
    version = admin("GET", "/apis/policy")[1]["preferredVersion"]["groupVersion"]
    return api.status("POST", f"{PODS}/{pod}/eviction", {"apiVersion": version, "kind": "Eviction",
                                                         "metadata": {"name": pod, "namespace": "default"}})


# The manifests ---------------------------------------------------------------------------------------------------------


def test_applying_the_folder_makes_the_namespace_the_crd_the_rights_and_the_lock(plane):
    plane.kubectl("get", "-f", DEPLOY)


def test_applying_the_folder_again_changes_nothing(plane):
    lines = plane.kubectl("apply", "-f", DEPLOY).stdout.splitlines()
    assert lines and all(line.endswith(" unchanged") for line in lines), lines


def test_applying_the_folder_again_keeps_the_slots_in_the_lock(plane, admin):
    slots = {"coordinator": '{"holder":"server-1"}', "server-plan.server-1": '{"phase":"Draining"}'}
    admin.patch(LOCK, {"data": slots})
    try:
        plane.kubectl("apply", "-f", DEPLOY)
        assert admin("GET", LOCK)[1]["data"] == slots
    finally:
        admin.patch(LOCK, {"data": None})


def test_applying_the_folder_leaves_the_label_without_which_sucs_jobs_are_refused(plane, admin):
    # As SUC's manifest makes it; kubectl apply would take away what it has set and ours does not name.
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "system-upgrade", "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
    plane.kubectl("apply", "-f", "-", input=json.dumps(namespace))
    plane.kubectl("apply", "-f", DEPLOY)
    labels = admin("GET", "/api/v1/namespaces/system-upgrade")[1]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"


def test_the_crd_fits_into_the_annotation_that_kubectl_apply_leaves(admin):
    _, crd = admin("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/plans.upgrade.cattle.io")
    annotation = crd["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert len(annotation) < 256 * 1024


def test_the_crd_has_a_structural_schema(admin):
    _, crd = admin("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/plans.upgrade.cattle.io")
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


def test_kubectl_explain_knows_the_fields_of_a_plan(plane):
    explained = until(lambda: plane.kubectl("explain", "plan.spec.drain", check=False).stdout, "OpenAPI of the CRD")
    assert "skipWaitForDeleteTimeout" in explained


# Plans -----------------------------------------------------------------------------------------------------------------

SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]},
                                                            {"key": "e", "operator": "Exists"}]}

CONTAINER = {
    "image": "rancher/k3s-upgrade:v1",
    "command": ["upgrade"],
    "args": ["-x"],
    "envs": [
        {"name": "A", "value": "b"},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "n", "key": "k", "optional": True}}},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k", "optional": False}}},
        {"name": "D", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
        {"name": "E", "valueFrom": {"resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "F", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": 1}}},
        {"name": "G", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k", "optional": True}}},
    ],
    "envFrom": [
        {"prefix": "P_", "configMapRef": {"name": "n", "optional": True}},
        {"secretRef": {"name": "n", "optional": True}},
    ],
    "volumes": [{"name": "etc", "source": "/etc", "destination": "/host/etc"}],
    "securityContext": {
        "allowPrivilegeEscalation": True,
        "appArmorProfile": {"type": "Localhost", "localhostProfile": "p"},
        "capabilities": {"add": ["SYS_BOOT"], "drop": ["ALL"]},
        "privileged": True,
        "procMount": "Default",
        "readOnlyRootFilesystem": True,
        "runAsGroup": 0,
        "runAsNonRoot": False,
        "runAsUser": 0,
        "seLinuxOptions": {"level": "s0", "role": "r", "type": "spc_t", "user": "u"},
        "seccompProfile": {"type": "Unconfined"},
        "windowsOptions": {"gmsaCredentialSpec": "s", "gmsaCredentialSpecName": "n", "hostProcess": False, "runAsUserName": "u"},
    },
}

EVERY_FIELD = {
    "concurrency": 2,
    "jobActiveDeadlineSecs": 900,
    "nodeSelector": SELECTOR,
    "serviceAccountName": "system-upgrade",
    "channel": "https://update.k3s.io/v1-release/channels/stable",
    "version": "v1.31.4+k3s1",
    "secrets": [{"name": "s", "path": "/host/s", "ignoreUpdates": True, "defaultMode": 0o400}],
    "tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute", "tolerationSeconds": 5}],
    "exclusive": True,
    "window": {"days": ["monday", "2", "we"], "startTime": "22:00", "endTime": "04:00", "timeZone": "Europe/Berlin"},
    "prepare": CONTAINER,
    "upgrade": CONTAINER,
    "cordon": True,
    "drain": {
        "timeout": "5m", "gracePeriod": -1, "deleteLocalData": True, "deleteEmptydirData": True, "ignoreDaemonSets": True,
        "force": True, "disableEviction": True, "skipWaitForDeleteTimeout": 60, "podSelector": SELECTOR,
    },
    "imagePullSecrets": [{"name": "s"}],
    "postCompleteDelay": "30s",
    "priorityClassName": "system-node-critical",
    "postCompleteLabels": {"upgraded-to": "$(LATEST_VERSION)"},
}

EVERY_STATUS = {
    "conditions": [
        {"type": "LatestResolved", "status": "True", "reason": "Version",
         "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "Complete", "status": "False", "message": "waiting for server-1"},
    ],
    "latestVersion": "v1.31.4-k3s1",
    "latestHash": "9a8b",
    "applying": ["server-1"],
}


def test_the_plans_of_k3s_own_documentation_are_accepted(plane):
    plans = documented("v1.24.6+k3s1")
    plane.kubectl("apply", "-f", "-", input=plans)
    plane.kubectl("delete", "-f", "-", input=plans)


def test_a_plan_with_every_field_is_accepted_and_nothing_of_it_is_dropped(admin):
    path = create(admin, PLANS, make_plan("every-field", **EVERY_FIELD))
    try:
        status, _ = admin.patch(f"{path}/status", {"status": EVERY_STATUS})
        assert status == 200
        stored = admin("GET", path)[1]
        assert stored["spec"] == EVERY_FIELD
        assert stored["status"] == EVERY_STATUS
    finally:
        admin("DELETE", path)


@pytest.mark.parametrize("timeout", [300000000000, "5m"])
def test_a_drain_timeout_is_a_number_or_a_string(admin, timeout):
    admin("DELETE", create(admin, PLANS, make_plan("timeouts", drain={"timeout": timeout})))


@pytest.mark.parametrize("spec", [
    {"upgrade": None},
    {"upgrade": {"command": ["x"]}},
    {"window": {"days": ["funday"]}},
    {"window": {"days": []}},
    {"secrets": [{"name": "without-a-path"}]},
    {"concurrency": "1"},
    {"drain": {"timeout": True}},
], ids=str)
def test_a_plan_that_suc_would_refuse_is_refused(admin, spec):
    status, answer = admin("POST", PLANS, make_plan("wrong", **spec))
    assert status == 422, answer


def test_a_plans_status_changes_only_through_the_subresource(admin, plan):
    admin.patch(plan, {"status": {"latestHash": "forged"}})
    assert "status" not in admin("GET", plan)[1]


def test_kubectl_get_plans_shows_the_columns_of_suc(plane, admin, plan):
    admin.patch(f"{plan}/status", {"status": EVERY_STATUS})
    plain = plane.kubectl("-n", "system-upgrade", "get", "plans").stdout.splitlines()
    assert plain[0].split() == ["NAME", "IMAGE", "CHANNEL", "VERSION", "COMPLETE", "MESSAGE"]
    assert "rancher/k3s-upgrade" in plain[1] and "waiting for server-1" in plain[1]
    wide = plane.kubectl("-n", "system-upgrade", "get", "plans", "-o", "wide").stdout.splitlines()
    assert wide[0].split()[-1] == "APPLYING"
    assert wide[1].endswith('["server-1"]')


# What a node may do ----------------------------------------------------------------------------------------------------


def test_a_node_cordons_and_uncordons_itself(node):
    for unschedulable in (True, None):
        status, answer = node.patch(f"{NODES}/node-1", {"spec": {"unschedulable": unschedulable}})
        assert status == 200, answer
        assert answer["spec"].get("unschedulable") == unschedulable


def test_a_node_labels_itself_with_a_plans_hash(node):
    status, answer = node.patch(f"{NODES}/node-1", {"metadata": {"labels": {"plan.upgrade.cattle.io/server-plan": "9a8b"}}})
    assert status == 200, answer


def test_a_node_annotates_itself(node):
    assert node.patch(f"{NODES}/node-1", {"metadata": {"annotations": {"example.com/note": "x"}}})[0] == 200


def test_a_node_watches_itself(node):
    assert node.status("GET", f"{NODES}?fieldSelector=metadata.name%3Dnode-1&watch=1") == 200


def test_a_node_lists_all_nodes(node):
    status, answer = node("GET", NODES)
    assert status == 200
    assert {item["metadata"]["name"] for item in answer["items"]} == {"node-1", "node-2"}


def test_a_node_lists_all_nodes_only_by_our_cluster_role(plane, node):
    """Since 1.32 the node authorizer shows a node no Node but its own; before, it showed them all."""
    plane.kubectl("delete", "clusterrolebinding", "k3s-upgrade-agent")
    try:
        if plane.kubernetes.minor >= 32:
            until(lambda: node.status("GET", NODES) == FORBIDDEN, "a right less")
        assert node.status("GET", f"{NODES}/node-1") == 200
        assert (node.status("GET", NODES) == FORBIDDEN) == (node.status("GET", f"{NODES}/node-2") == FORBIDDEN) == (plane.kubernetes.minor >= 32)
    finally:
        plane.kubectl("apply", "-f", DEPLOY)
        until(lambda: node.status("GET", NODES) == 200, "the right again")


def test_a_node_lists_its_own_pods(node):
    assert node.status("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1") == 200


def test_a_node_evicts_its_own_pod(node, admin):
    make_pod(admin, "to-be-evicted", "node-1")
    # NodeRestriction looks the pod up in a cache that may be a moment behind.
    until(lambda: evict(node, admin, "to-be-evicted") == 201, "an eviction that passes")


def test_a_node_deletes_its_own_pod(node, admin):
    path = make_pod(admin, "to-be-deleted", "node-1")
    until(lambda: node.status("DELETE", path) == 200, "a deletion that passes")


def test_a_node_reads_and_watches_plans(node, plan):
    assert node.status("GET", plan) == 200
    status, plans = node("GET", PLANS)
    assert status == 200
    assert [item["metadata"]["name"] for item in plans["items"]] == ["server-plan"]
    status, event = node("GET", f"{PLANS}?watch=1")
    assert (status, event["type"]) == (200, "ADDED")


def test_a_node_writes_a_plans_status(node, plan):
    status, answer = node.patch(f"{plan}/status", {"status": EVERY_STATUS})
    assert status == 200, answer
    assert answer["status"] == EVERY_STATUS


def test_a_node_reads_lists_and_watches_the_lock(node):
    assert node.status("GET", LOCK) == 200
    selected = f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Dk3s-upgrade-agent"
    status, found = node("GET", selected)
    assert status == 200
    assert [item["metadata"]["name"] for item in found["items"]] == ["k3s-upgrade-agent"]
    assert node.status("GET", f"{selected}&watch=1") == 200


def test_a_node_takes_and_gives_back_a_slot_in_the_lock(node):
    status, lock = node.patch(LOCK, {"data": {"server-plan.node-1": "{}"}})
    assert (status, lock["data"]) == (200, {"server-plan.node-1": "{}"})
    status, lock = node.patch(LOCK, {"data": {"server-plan.node-1": None}})
    assert status == 200
    assert not lock.get("data")


def test_a_slot_is_refused_when_the_lock_changed_since_it_was_read(node):
    read = node("GET", LOCK)[1]["metadata"]["resourceVersion"]
    slot = {"metadata": {"resourceVersion": read}, "data": {"server-plan.node-1": "first"}}
    assert node.patch(LOCK, slot)[0] == 200
    slot["data"]["server-plan.node-1"] = "second"
    assert node.patch(LOCK, slot)[0] == 409
    assert node("GET", LOCK)[1]["data"]["server-plan.node-1"] == "first"
    node.patch(LOCK, {"data": {"server-plan.node-1": None}})


@pytest.mark.parametrize("namespace", ["system-upgrade", "default"])
def test_a_node_emits_and_counts_events(node, namespace):
    events = f"/api/v1/namespaces/{namespace}/events"
    event = create(node, events, {
        "metadata": {"name": "server-plan.1"}, "type": "Normal", "reason": "Resolved", "message": "v1.31.4+k3s1", "count": 1,
        "involvedObject": {"apiVersion": "upgrade.cattle.io/v1", "kind": "Plan", "name": "server-plan", "namespace": namespace},
        "source": {"component": "k3s-upgrade-agent", "host": "node-1"},
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z"})
    assert node.patch(event, {"count": 2})[0] == 200


def test_a_node_reads_the_lease_of_system_upgrade_controller(node, admin):
    assert node.status("GET", f"{LEASES}/system-upgrade-controller") == 404
    lease = create(admin, LEASES, {"metadata": {"name": "system-upgrade-controller"}, "spec": {"holderIdentity": "suc"}})
    assert node.status("GET", lease) == 200
    admin("DELETE", lease)


def test_a_node_reads_the_lease_of_ranchers_system_upgrade_controller(node, admin):
    leases = "/apis/coordination.k8s.io/v1/namespaces/cattle-system/leases"
    # Not forbidden where there is no such namespace: most clusters have none.
    assert node.status("GET", f"{leases}/system-upgrade-controller") == 404
    assert node.status("GET", f"{leases}/rancher") == FORBIDDEN


def test_a_node_reads_the_uid_by_which_a_channel_knows_the_cluster(node):
    status, answer = node("GET", "/api/v1/namespaces/kube-system")
    assert status == 200 and answer["metadata"]["uid"]


def test_a_node_asks_whether_a_daemon_set_exists(node):
    assert node.status("GET", f"{DAEMON_SETS}/web") == 404


# What a node may not do --------------------------------------------------------------------------------------------------


def test_a_node_cannot_cordon_another_node(node):
    assert node.patch(f"{NODES}/node-2", {"spec": {"unschedulable": True}})[0] == FORBIDDEN


def test_a_node_cannot_label_another_node(node):
    assert node.patch(f"{NODES}/node-2", {"metadata": {"labels": {"plan.upgrade.cattle.io/x": "y"}}})[0] == FORBIDDEN


def test_a_node_cannot_delete_another_node(node):
    assert node.status("DELETE", f"{NODES}/node-2") == FORBIDDEN


def test_a_node_cannot_taint_itself(node):
    taint = {"key": "a", "value": "b", "effect": "NoSchedule"}
    assert node.patch(f"{NODES}/node-1", {"spec": {"taints": [taint]}})[0] == FORBIDDEN


def test_a_node_cannot_give_itself_a_restricted_label(node):
    assert node.patch(f"{NODES}/node-1", {"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}}})[0] == FORBIDDEN


def test_a_node_cannot_evict_another_nodes_pod(node, admin):
    assert evict(node, admin, "on-node-2") == FORBIDDEN


def test_a_node_cannot_delete_another_nodes_pod(node):
    assert node.status("DELETE", f"{PODS}/on-node-2") == FORBIDDEN


def test_a_node_cannot_create_a_plan(node):
    assert node.status("POST", PLANS, make_plan("mine")) == FORBIDDEN


def test_a_node_cannot_change_a_plans_spec(node, plan):
    assert node.patch(plan, {"spec": {"version": "v1.0.0+k3s1"}})[0] == FORBIDDEN


def test_a_node_cannot_change_a_plans_spec_through_its_status(node, admin, plan):
    before = admin("GET", plan)[1]
    node.patch(f"{plan}/status", {"metadata": {"labels": {"a": "b"}}, "spec": {"version": "v1.0.0+k3s1"}})
    after = admin("GET", plan)[1]
    assert after["spec"] == before["spec"]
    assert "labels" not in after["metadata"]


def test_a_node_cannot_delete_a_plan(node, plan):
    assert node.status("DELETE", plan) == FORBIDDEN


def test_a_node_cannot_read_plans_of_another_namespace(node):
    assert node.status("GET", PLANS.replace("system-upgrade", "default")) == FORBIDDEN


def test_a_node_cannot_create_the_lock(node, admin):
    assert node.status("POST", CONFIG_MAPS, {"metadata": {"name": "k3s-upgrade-agent"}}) == FORBIDDEN


def test_a_node_cannot_delete_the_lock(node):
    assert node.status("DELETE", LOCK) == FORBIDDEN


def test_a_node_cannot_create_another_config_map(node):
    assert node.status("POST", CONFIG_MAPS, {"metadata": {"name": "mine"}}) == FORBIDDEN


def test_a_node_cannot_read_another_config_map(node, other_config_map):
    assert node.status("GET", other_config_map) == FORBIDDEN


def test_a_node_cannot_write_another_config_map(node, other_config_map):
    assert node.patch(other_config_map, {"data": {"key": "mine"}})[0] == FORBIDDEN


@pytest.mark.parametrize("selector", ["", "?fieldSelector=metadata.name%3Dsomebody-elses", "?watch=1"])
def test_a_node_cannot_list_or_watch_other_config_maps(node, selector):
    assert node.status("GET", f"{CONFIG_MAPS}{selector}") == FORBIDDEN


def test_a_node_cannot_touch_a_config_map_of_the_locks_name_elsewhere(node, admin):
    path = create(admin, CONFIG_MAPS.replace("system-upgrade", "default"), {"metadata": {"name": "k3s-upgrade-agent"}})
    assert node.status("GET", path) == FORBIDDEN
    assert node.patch(path, {"data": {"key": "mine"}})[0] == FORBIDDEN
    admin("DELETE", path)


@pytest.mark.parametrize("namespace", ["system-upgrade", "kube-system"])
def test_a_node_cannot_list_secrets(node, namespace):
    assert node.status("GET", f"/api/v1/namespaces/{namespace}/secrets") == FORBIDDEN


def test_a_node_cannot_read_a_secret_that_no_pod_of_it_uses(node, admin):
    path = create(admin, "/api/v1/namespaces/system-upgrade/secrets", {"metadata": {"name": "token"}})
    assert node.status("GET", path) == FORBIDDEN
    admin("DELETE", path)


def test_a_node_cannot_write_the_lease_of_system_upgrade_controller(node, admin):
    lease = create(admin, LEASES, {"metadata": {"name": "system-upgrade-controller"}})
    assert node.patch(lease, {"spec": {"holderIdentity": "node-1"}})[0] == FORBIDDEN
    admin("DELETE", lease)


def test_a_node_cannot_read_other_leases(node):
    assert node.status("GET", LEASES) == FORBIDDEN
    assert node.status("GET", f"{LEASES}/somebody-elses") == FORBIDDEN


def test_a_node_cannot_read_other_namespaces_or_change_that_one(node):
    assert node.status("GET", "/api/v1/namespaces") == FORBIDDEN
    assert node.status("GET", "/api/v1/namespaces/system-upgrade") == FORBIDDEN
    assert node.patch("/api/v1/namespaces/kube-system", {"metadata": {"labels": {"a": "b"}}})[0] == FORBIDDEN


def test_a_node_cannot_list_or_change_daemon_sets(node):
    assert node.status("GET", DAEMON_SETS) == FORBIDDEN
    assert node.patch(f"{DAEMON_SETS}/web", {"metadata": {"labels": {"a": "b"}}})[0] == FORBIDDEN


def test_a_node_cannot_change_its_own_rights(node):
    role = "/apis/rbac.authorization.k8s.io/v1/namespaces/system-upgrade/roles/k3s-upgrade-agent"
    assert node.patch(role, {"rules": []})[0] == FORBIDDEN


def test_a_pod_gets_no_rights_from_the_manifests(plane):
    pod = "--as=system:serviceaccount:system-upgrade:default"
    for verb, what in (("list", "plans"), ("patch", "plans/status"), ("patch", "configmaps/k3s-upgrade-agent"), ("list", "nodes")):
        answer = plane.kubectl("auth", "can-i", verb, what, "-n", "system-upgrade", pod, check=False)
        assert answer.stdout.split()[-1] == "no", (verb, what)
