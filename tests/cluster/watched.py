# SPDX-License-Identifier: Apache-2.0
"""What happens to objects in the API, and what a test reads in them."""

import contextlib
import json
import subprocess
import threading

from .processes import PATIENCE


def is_cordoned(node: dict) -> bool:
    return bool(node["spec"].get("unschedulable"))


def version_of(node: dict) -> str:
    return node["status"]["nodeInfo"]["kubeletVersion"]


def plan_label(node: dict, plan: str):
    return node["metadata"]["labels"].get(f"plan.upgrade.cattle.io/{plan}")


def is_down(node: dict) -> bool:
    """Cordoned or not Ready."""
    ready = next((c["status"] for c in node["status"].get("conditions", []) if c["type"] == "Ready"), "Unknown")
    return is_cordoned(node) or ready != "True"


def conditions(plan: dict) -> dict:
    return {c["type"]: c for c in plan.get("status", {}).get("conditions", [])}


def slots(config_map: dict) -> dict:
    """By key: what nodes say in the lock."""
    return {k: json.loads(v) for k, v in (config_map.get("data") or {}).items() if k != "coordinator"}


def coordinator(config_map: dict) -> dict:
    """The coordinator's lease; KeyError when nobody holds one."""
    return json.loads(config_map["data"]["coordinator"])


class Watched:
    """All that happens to one kind of object, by `kubectl get --watch`: what is, what was, and waiting for what is to be."""

    def __init__(self, cluster, *selection):
        self._cluster = cluster
        self._selection = selection
        self._argv = [*cluster.control_plane.kubectl_command(), "get", *selection,
                      "--watch", "--output-watch-events", "-o", "json"]
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._process = None
        self._latest = 0  # the newest resourceVersion that was brought
        self.objects = {}  # by name
        self.history = []  # of objects, as they came
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._closed.is_set():
            self._process = subprocess.Popen(self._argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            with self._changed:
                self.objects = {}
            for line in self._process.stdout:  # each event is a line
                self._see(json.loads(line))
            self._process.wait()
            self._closed.wait(0.5)  # the kind is gone, or the server: until it is back

    def _see(self, event):
        if event["type"] == "ERROR":  # the last that is said in a watch
            return
        with self._changed:
            name = event["object"]["metadata"]["name"]
            self._latest = max(self._latest, int(event["object"]["metadata"]["resourceVersion"]))
            if event["type"] == "DELETED":
                self.objects.pop(name, None)
            else:
                self.objects[name] = event["object"]
                self.history.append(event["object"])
            self._changed.notify_all()

    def until(self, condition, what, timeout=PATIENCE):
        """Waits until condition(objects) is true and returns it; KeyError counts as not yet."""
        found = None

        def ask():
            nonlocal found
            with contextlib.suppress(KeyError):
                found = condition(self.objects)
            return found
        with self._changed:
            if not self._changed.wait_for(ask, timeout):
                raise TimeoutError(f"not within {timeout} s: {what}\n{json.dumps(self.objects, indent=1)[-4000:]}")
        return found

    def catch_up(self):
        """Waits until everything that has happened so far was brought: what was written is not heard in the same moment."""
        listed = self._cluster.kubectl("get", *self._selection, "-o", "json", check=False)
        if listed.returncode:
            return  # the kind is gone: nothing happens to it
        newest = max((int(o["metadata"]["resourceVersion"]) for o in json.loads(listed.stdout)["items"]), default=0)
        with self._changed:
            if not self._changed.wait_for(lambda: self._latest >= newest, PATIENCE):
                raise TimeoutError(f"the watch did not bring version {newest} of {' '.join(self._selection)}")

    def mark(self) -> int:
        """A moment to look back to, after all that has happened so far."""
        self.catch_up()
        return len(self.history)

    def since(self, mark: int) -> list:
        """What has happened from then on until now."""
        self.catch_up()
        with self._changed:
            return self.history[mark:]

    def close(self):
        self._closed.set()
        self._process.kill()
        self._thread.join(10)
