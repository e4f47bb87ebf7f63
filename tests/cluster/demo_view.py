# SPDX-License-Identifier: Apache-2.0
"""What the demo knows of the cluster from its watches, and how that is shown: bars on a terminal, else plain lines."""

import json
import os
import re
import shutil
import time

PHASES = ("Fetching", "Acquired", "Cordoning", "Draining", "Swapping", "Restarting", "Verifying", "Uncordoning",
          "Labelling", "Releasing")
TROUBLE = ("Blocked", "Undoing", "RollingBack", "Failed")
DONE = "Done"

# The agent's journal lines that begin a phase, and what it says of itself while it has none.
_STEP = re.compile(rf"({'|'.join((*PHASES, *TROUBLE))}) for \S+ \(")
_STANDING = re.compile(r"(Waiting|Blocked|Paused|Idle|Failed): (.*)", re.DOTALL)
_MESSAGES = (("fetching ", "Fetching"), ("took a slot ", "Acquired"), ("upgraded from ", DONE))


class Node:
    def __init__(self, name):
        self.name = name
        self.version, self.ready, self.cordoned = "", False, False
        self.phase, self.detail = "", ""
        self.reached = -1  # how far the bar is: index into PHASES, len(PHASES) when done
        self.troubled_since = None
        self.slot = None
        self.taken = self.released = None  # when, by our own clock

    @property
    def state(self):
        return ("Ready" if self.ready else "NotReady") + (",cordoned" if self.cordoned else "")

    @property
    def saying(self):
        return f"{self.phase}: {self.detail}" if self.detail else self.phase

    def see(self, node):
        """A Node object."""
        status = node.get("status", {})
        ready = [c["status"] for c in status.get("conditions", []) if c["type"] == "Ready"]
        self.version = status.get("nodeInfo", {}).get("kubeletVersion", "")
        self.ready, self.cordoned = ready == ["True"], bool(node["spec"].get("unschedulable"))

    def hear(self, message):
        """A line of the agent's journal: tells of every step at once, also while a server's API is away."""
        for beginning, phase in _MESSAGES:
            if message.startswith(beginning):
                self.advance(phase)
                return
        if match := _STEP.match(message):
            self.advance(match[1])
        elif match := _STANDING.match(message):
            self.advance(*match.groups())

    def advance(self, phase, detail=""):
        """Phases are told twice, by the journal and, where the API can be reached, by the slot: none goes back."""
        if self.phase == DONE:
            return
        if phase in TROUBLE:
            self.troubled_since = self.troubled_since or time.monotonic()
            self.reached = -1
        elif phase in PHASES:
            if PHASES.index(phase) < self.reached:
                return
            if phase == self.phase and not detail and not self.slot:
                return
            self.reached = PHASES.index(phase)
        elif phase == DONE:
            self.reached = len(PHASES)
        elif self.slot:
            return  # said before it got the slot
        if phase not in TROUBLE:
            self.troubled_since = None
        self.phase, self.detail = phase, " ".join(detail.split())


class Plan:
    def __init__(self, name):
        self.name = name
        self.version = ""
        self.complete = False
        self.refused = ""  # why nobody will ever carry it out
        self.saying = ""

    def see(self, plan):
        status = plan.get("status", {})
        conditions = {c["type"]: c for c in status.get("conditions", [])}
        complete = conditions.get("Complete", {})
        self.version = plan["spec"].get("version", "")
        self.complete = complete.get("status") == "True"
        self.refused = next((f"{t}: {c.get('reason', '')} {c.get('message', '')}".rstrip() for t, c in conditions.items()
                             if t in ("Validated", "LatestResolved") and c["status"] == "False"), "")
        if self.refused:
            self.saying = self.refused
        elif self.complete:
            self.saying = f"Complete, hash {status.get('latestHash', '')[:12]}…"
        elif complete.get("message"):
            self.saying = " ".join(f"{complete.get('reason')}: {complete['message']}".split())
        elif status.get("applying"):
            self.saying = f"applying on {', '.join(status['applying'])}"
        else:
            self.saying = "waiting for its turn" if conditions else "not seen yet"


class View:
    """Everything that the watches told, put together. `order` is the history of the slots: (taken|released, node)."""

    def __init__(self, nodes):
        self.nodes = {name: Node(name) for name in nodes}
        self.plans = {}
        self.order = []

    def see(self, source, event):
        """One event of a watch ({type, object}), or one entry of a host's journal."""
        if source.startswith("journal "):
            self.nodes[source.split()[1]].hear(str(event.get("MESSAGE", "")))
            return
        thing = event["object"]
        name = thing.get("metadata", {}).get("name")
        if source == "nodes" and name in self.nodes:
            self.nodes[name].see(thing)
        elif source == "plans" and event["type"] != "DELETED":
            self.plans.setdefault(name, Plan(name)).see(thing)
        elif source == "lock":
            self._see_lock(thing.get("data") or {})

    def _see_lock(self, data):
        slots = {}
        for key, value in data.items():
            if key != "coordinator":
                slot = json.loads(value)
                slots[slot["node"]] = slot
        for node in self.nodes.values():
            # A report of what blocks a node is no slot.
            holds = node.name in slots and slots[node.name]["phase"] != "Blocked"
            if holds and not node.slot:
                self.order.append(("taken", node.name))
                node.taken, node.released = node.taken or time.monotonic(), None
            elif node.slot and not holds:
                self.order.append(("released", node.name))
                node.released = time.monotonic()
            node.slot = slots[node.name] if holds else None
            if node.name in slots:
                node.advance(slots[node.name]["phase"], slots[node.name].get("detail", ""))

    @property
    def complete(self):
        """Both Plans are, and each host's agent has said that it is through."""
        return len(self.plans) == 2 and all(p.complete for p in self.plans.values()) and \
            all(n.phase == DONE for n in self.nodes.values())

    def hopeless(self, patience=20):
        """Why waiting on is of no use, or None. What blocks a node for a moment may be the API's restart."""
        for plan in self.plans.values():
            if plan.refused:
                return f"{plan.name} is refused: {plan.refused}"
        for node in self.nodes.values():
            stuck = node.troubled_since and time.monotonic() - node.troubled_since > patience
            if node.phase == "Failed" or stuck:
                return f"{node.name} is at {node.saying}"
        return None

    def lines(self):
        """The plain form: who it is about, and what there is to say."""
        for plan in self.plans.values():
            yield plan.name, f"{plan.name:<12} {plan.version:<14} {plan.saying}"
        for node in self.nodes.values():
            if node.version:
                yield node.name, f"{node.name:<12} {node.version:<14} {node.state:<17} {node.saying}".rstrip()


class Plain:
    """One line per change."""

    def __init__(self, out, begun):
        self.out, self.begun, self.said = out, begun, {}

    def say(self, text):
        print(f"[{time.monotonic() - self.begun:6.1f} s] {text}", file=self.out, flush=True)

    def show(self, view):
        for who, text in view.lines():
            if self.said.get(who) != text:
                self.said[who] = text
                self.say(text)

    def end(self):
        pass


class Terminal(Plain):
    """The Plans' lines and a bar per node, redrawn in place."""

    COLOURS = {"good": "32", "busy": "36", "off": "33", "bad": "31", "dim": "2", "title": "1"}

    def __init__(self, out, begun, size=shutil.get_terminal_size):
        super().__init__(out, begun)
        self.size = size
        self.drawn = 0
        self.colours = "NO_COLOR" not in os.environ

    def show(self, view):
        columns = self.size().columns
        rows = self.rows(view, columns)
        up = f"\x1b[{self.drawn}F" if self.drawn else "\x1b[?25l"  # up to the first row; the first time: no cursor
        self.out.write(up + "".join(f"{self._row(row, columns - 1)}\x1b[K\n" for row in rows) + "\x1b[J")
        self.out.flush()
        self.drawn = len(rows)

    def end(self):
        if self.drawn:
            self.out.write("\x1b[?25h")
            self.out.flush()
            self.drawn = 0

    def rows(self, view, columns):
        """Rows of pieces (text, colour)."""
        seconds = int(time.monotonic() - self.begun)
        rows = [[], [(f"  {seconds // 60}:{seconds % 60:02}", "title")]]
        for plan in view.plans.values():
            colour = "bad" if plan.refused else "good" if plan.complete else "busy"
            rows.append([(f"  {plan.name:<12} ", "title"), (f"{plan.version:<14} ", ""), (plan.saying, colour)])
        rows.append([])
        for node in view.nodes.values():
            rows.append(self._node(node, 1 if columns < 100 else 2))
        return rows

    @staticmethod
    def _node(node, cell):
        colour = "bad" if node.phase in TROUBLE else "good" if node.phase == DONE else "busy"
        full = max(node.reached, 0)
        current = 0 <= node.reached < len(PHASES)
        bar = "█" * full + "▒" * current
        rest = "·" * (len(PHASES) - full - current)
        took = f" {(node.released or time.monotonic()) - node.taken:.0f} s" if node.taken else ""
        return [(f"  {node.name:<9} ", "title"), (f"{node.version:<12} ", ""),
                (f"{node.state:<17} ", "off" if node.cordoned or not node.ready else ""),
                ("".join(c * cell for c in bar), colour), ("".join(c * cell for c in rest), "dim"),
                (f" {node.phase}", colour if node.slot or node.phase in (DONE, *TROUBLE) else "dim"), (took, "dim"),
                (f": {node.detail}" if node.detail else "", "dim")]

    def _row(self, pieces, width):
        text = ""
        for piece, colour in pieces:
            if len(piece) > width:
                piece = piece[:max(width - 1, 0)] + "…" * (width > 0)
            width -= len(piece)
            piece = "".join(c if c.isprintable() else " " for c in piece)
            text += f"\x1b[{self.COLOURS[colour]}m{piece}\x1b[m" if colour and self.colours and piece else piece
        return text
