# SPDX-License-Identifier: Apache-2.0
"""What the agents asked the API server for, out of its audit log: by purpose, and with what success."""

import collections
import json

from tests.cluster.audit import AuditLog, moment

# With the bodies of what is written, which tell a slot's taking from its renewal.
POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  verbs: [patch]
  resources: [{group: "", resources: [configmaps, nodes]}]
- level: Metadata
"""
CONFLICT = 409
READ = "get configmaps"


def read(audit: AuditLog, since, until) -> list:
    """The agents' requests that were answered in that time, oldest first: [{node, at, done, purpose, status}].

    A watch is answered when it is over; the API server writes it down then.
    """
    events = [e for e in audit.events(agent="k3s-upgrade-agent") if since <= moment(e["stageTimestamp"]) <= until]
    events.sort(key=lambda e: e["requestReceivedTimestamp"])
    purposes = _Purposes()
    found = []
    reads = {}
    for event in events:
        node = event["user"].get("username", "").removeprefix("system:node:")
        status = event.get("responseStatus", {}).get("code", 0)
        found.append({"node": node, "at": moment(event["requestReceivedTimestamp"]), "status": status,
                      "done": moment(event["stageTimestamp"]), "purpose": purposes.of(event, node, status)})
        # The lock is read to be written: the read belongs to what was written then.
        if found[-1]["purpose"] == READ:
            reads[node] = found[-1]
        elif found[-1]["purpose"].startswith("lock: ") and node in reads:
            reads.pop(node)["purpose"] = found[-1]["purpose"].replace("lock:", "read before")
    return found


class _Purposes:
    """Tells what a request is for; what a slot said before is remembered, to know a renewal when it comes."""

    def __init__(self):
        self._said = {}

    def of(self, event, node, status) -> str:
        target = event.get("objectRef", {})
        resource = "/".join(filter(None, [target.get("resource", event["requestURI"].split("?")[0]), target.get("subresource")]))
        body = event.get("requestObject")
        if event["verb"] == "patch" and resource == "configmaps":
            return "lock: " + self._of_lock(body, node, status)
        if event["verb"] == "patch" and resource == "nodes":
            return "node: " + _of_node(body)
        return f"{event['verb']} {resource}"

    def _of_lock(self, body, node, status) -> str:
        words = set()
        for key, value in _data_of(body).items():
            if key == "coordinator":
                words.add("coordinator")
            elif value is None:
                words.add("give back" if key.endswith(f".{node}") else "drop another's")
                phase = None
            else:
                slot = json.loads(value)
                phase, said = (slot.get("phase"), slot.get("detail")), self._said.get(key)
                if phase[0] in ("Blocked", "Failed"):
                    words.add("report")
                elif slot.get("acquired") == slot.get("renewed"):
                    words.add("take")
                else:
                    words.add("renewal" if said == phase else "phase")
            if key != "coordinator" and status < 300:
                self._said[key] = phase
        return ", ".join(sorted(words)) or "nothing"


def _data_of(body) -> dict:
    """The keys that a patch changes, whichever kind it is; None where it removes one."""
    if isinstance(body, list):
        return {op["path"].removeprefix("/data/"): op.get("value") for op in body if op["op"] != "test"}
    return (body or {}).get("data", {})


def _of_node(body) -> str:
    spec, metadata = (body or {}).get("spec", {}), (body or {}).get("metadata", {})
    if "unschedulable" in spec:
        return "cordon" if spec["unschedulable"] else "uncordon"
    return "label" if "labels" in metadata else "annotate"


def conflicts(requests) -> collections.Counter:
    return collections.Counter(r["purpose"] for r in requests if r["status"] == CONFLICT)


def of_purpose(requests, purpose) -> list:
    """Those that succeeded."""
    return [r for r in requests if r["purpose"] == purpose and r["status"] < 300]


def turns(requests) -> list:
    """(taken, given back) of each slot that was taken and given back."""
    taken, found = {}, []
    for request in requests:
        if request["status"] >= 300:
            continue
        if request["purpose"] == "lock: take":
            taken[request["node"]] = request["done"]
        elif request["purpose"] == "lock: give back" and request["node"] in taken:
            found.append((taken.pop(request["node"]), request["done"]))
    return found


def steps(requests) -> dict:
    """Seconds between the writes that every upgrade makes, from the answer to one to the answer to the next."""
    order = ("lock: take", "node: cordon", "node: uncordon", "node: label", "lock: give back")
    last, found = {}, collections.defaultdict(list)
    for request in requests:
        if request["status"] >= 300 or request["purpose"] not in order:
            continue
        index = order.index(request["purpose"])
        before = last.get(request["node"])
        if before and before[0] == index - 1:
            found[f"{order[index - 1].split(': ')[1]} to {order[index].split(': ')[1]}"].append(
                (request["done"] - before[1]).total_seconds())
        last[request["node"]] = (index, request["done"])
    return found


def vacancies(requests, slots) -> list:
    """Seconds that each slot was free, from its giving back to its next taking, while somebody still waited."""
    taken = sorted(r["done"] for r in of_purpose(requests, "lock: take"))
    free = sorted(r["done"] for r in of_purpose(requests, "lock: give back"))
    return [(after - before).total_seconds() for before, after in zip(free, taken[slots:])]
