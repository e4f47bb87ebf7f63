# SPDX-License-Identifier: Apache-2.0
"""Sees to it that never more than `concurrency` nodes are disrupted, by what the API says and nothing else.

A process of its own: `python3 -m bench.fleet.observer` watches the lock and the Nodes and writes down each state that it
hears of. Two watches tell no common order, but all resourceVersions come from one etcd and count its revisions: `judge` puts
the states into that order. When a watch breaks, what changed until the next list was answered may be missing from one of
them: for that while nothing is judged, and the breaks are counted.
"""

import argparse
import datetime
import json
import pathlib
import sys
import threading

from tests.cluster import api

# Phases of a slot that disrupt nothing: the one is a report, the other's node was rolled back and uncordoned.
HARMLESS = ("Failed", "Blocked")


def node_state(node: dict) -> dict:
    conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
    return {"kind": "node", "name": node["metadata"]["name"], "revision": int(node["metadata"]["resourceVersion"]),
            "cordoned": node["spec"].get("unschedulable", False), "ready": conditions.get("Ready") == "True",
            "version": node["status"].get("nodeInfo", {}).get("kubeletVersion", "")}


def lock_state(config_map: dict) -> dict:
    holders = {}
    for key, text in (config_map.get("data") or {}).items():
        try:
            slot = json.loads(text)
        except ValueError:
            continue
        if key != "coordinator" and slot.get("phase") not in HARMLESS:
            # `<plan>.<node>`; the Plan's name has no dot in it.
            holders[key.split(".", 1)[1]] = slot.get("phase")
    return {"kind": "lock", "revision": int(config_map["metadata"]["resourceVersion"]), "holders": holders}


def judge(states: list, concurrency: int) -> dict:
    """The most nodes that were disrupted at once, and each state with more than `concurrency` of them."""
    breaks = [s for s in states if s["kind"] == "break"]
    unfit, holders = {}, {}
    most, violations, judged = 0, [], 0
    for state in sorted((s for s in states if s["kind"] != "break"), key=lambda s: s["revision"]):
        if state["kind"] == "lock":
            holders = state["holders"]
        else:
            reasons = [word for word, holds in (("cordoned", state["cordoned"]), ("not Ready", not state["ready"])) if holds]
            unfit.pop(state["name"], None)
            if reasons:
                unfit[state["name"]] = ", ".join(reasons)
        if any(b["from"] < state["revision"] <= b["to"] for b in breaks):
            continue
        judged += 1
        disrupted = {**{name: f"slot {phase}" for name, phase in holders.items()}, **unfit}
        most = max(most, len(disrupted))
        if len(disrupted) > concurrency:
            violations.append({"at": state["at"], "revision": state["revision"], "disrupted": disrupted})
    return {"most": most, "violations": violations, "judged": judged, "breaks": len(breaks)}


def read_states(path: pathlib.Path) -> list:
    """What the observer has written so far; a line that is being written is left out."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def follow(access, path, selector, state_of, write):
    last = None
    for revision, objects in api.watch(access, path, selector):
        if revision and last:
            write({"kind": "break", "from": last, "to": revision})
        for item in objects:
            state = state_of(item)
            write(state)
            last = max(last or 0, state["revision"])


def main():
    parser = argparse.ArgumentParser(prog="python3 -m bench.fleet.observer")
    parser.add_argument("--output", required=True)
    parser.add_argument("access", nargs=5, metavar=("HOST", "PORT", "CA", "CERT", "KEY"))
    options = parser.parse_args()
    host, port, *files = options.access
    access = api.Access(host, int(port), *files)
    mutex = threading.Lock()
    with open(options.output, "a", encoding="utf-8") as output:
        def write(state):
            at = datetime.datetime.now(datetime.timezone.utc).isoformat()
            with mutex:
                output.write(json.dumps({"at": at, **state}) + "\n")
                output.flush()

        nodes = threading.Thread(target=follow, args=(access, api.NODES, None, node_state, write), daemon=True)
        lock = threading.Thread(target=follow, args=(access, api.LOCK, "metadata.name=k3s-upgrade-agent", lock_state, write),
                                daemon=True)
        nodes.start()
        lock.start()
        while nodes.is_alive() and lock.is_alive():
            nodes.join(1)
    # A thread that ends has met something that it does not understand: what it says is on stderr.
    sys.exit(1)


if __name__ == "__main__":
    main()
