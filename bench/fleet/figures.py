# SPDX-License-Identifier: Apache-2.0
"""Figures out of what was seen: one line each, `name: value (aim: …)`."""

import collections
import statistics

from . import requests

# What an idle agent may ask for.
WATCHES = ("watch plans", "watch nodes", "watch configmaps")


def line(name, value, aim=None) -> str:
    return f"{name}: {value}" + (f" (aim: {aim})" if aim else "")


def several(counter: collections.Counter) -> str:
    return ", ".join(f"{count} {what}" for what, count in counter.most_common()) or "none"


def spread(values, unit, digits=1) -> str:
    values = list(values)
    return f"median {statistics.median(values):.{digits}f} {unit}, at most {max(values):.{digits}f} {unit}"


def rollout(fleet, begun, took: float, asked: list) -> list:
    """Of a rollout that took so long from `begun` on, with the requests that were made meanwhile."""
    nodes = len(fleet.workers)
    ideal = nodes / fleet.concurrency * fleet.restart
    taken = len(requests.of_purpose(asked, "lock: take"))
    conflicts = requests.conflicts(asked)
    held = [(end - begin).total_seconds() for begin, end in requests.turns(asked)]
    by_purpose = collections.Counter(r["purpose"] for r in asked)
    first = min((r["at"] for r in requests.of_purpose(asked, "lock: take")), default=None)
    last = max((end for _, end in requests.turns(asked)), default=None)
    lines = [
        line("total time over the ideal", f"{took / ideal:.2f}, {took:.1f} s over {ideal:.1f} s", "at most 1.15"),
        line("409s per slot taken", f"{sum(conflicts.values()) / max(taken, 1):.2f}, {sum(conflicts.values())} for {taken} slots",
             "at most 2"),
        line("409s by purpose", several(conflicts)),
        line("requests per node upgraded", f"{len(asked) / nodes:.1f}"),
        line("requests by purpose, per node upgraded", ", ".join(
            f"{count / nodes:.2f} {what}" for what, count in by_purpose.most_common())),
    ]
    if held:
        lines += [
            line("from the Plan to the first slot", f"{(first - begun).total_seconds():.1f} s"),
            line("a slot is held for", spread(held, "s", 2)),
            *(line(f"of that, from {name}", spread(values, "s", 2)) for name, values in requests.steps(asked).items()),
            line("a freed slot is empty for", spread(requests.vacancies(asked, fleet.concurrency) or [0], "s", 2)),
            line("slots in use", f"{sum(held) / fleet.concurrency / (last - first).total_seconds() * 100:.0f} % of the time "
                 f"from the first taken to the last given back, {(last - first).total_seconds():.1f} s"),
        ]
    return lines


def idle(fleet, seconds: int, asked: list) -> list:
    """Of a time in which there was nothing to do. The coordinator is not idle: it renews its lease."""
    by_node = {host.name: collections.Counter() for host in fleet.hosts}
    for request in asked:
        by_node[request["node"]][request["purpose"]] += 1
    leading = {r["node"] for r in asked if r["purpose"] in ("lock: coordinator", "patch plans/status", "create events")}
    others = [count for name, count in by_node.items() if name not in leading]
    watches = [sum(count[w] for w in WATCHES) for count in others]
    besides = collections.Counter()
    for count in others:
        besides.update({what: n for what, n in count.items() if what not in WATCHES})
    return [
        line(f"requests of an idle agent in {seconds} s", f"{spread(watches, 'watches ended and begun again')}; of all agents besides: "
             f"{several(besides)}", "only watches"),
        *(line(f"requests of the coordinator in {seconds} s", several(by_node[name])) for name in sorted(leading))]


def memory(fleet, when: str) -> list:
    """Of every agent that runs."""
    sizes = [host.memory() for host in fleet.hosts]
    return [line(f"{name} of one agent {when}", spread((s[name] for s in sizes), "MB"), aim)
            for name, aim in (("RSS", "below 12 MB"), ("Pss", None), ("private", None), ("peak", None))]


def invariant(fleet, verdict: dict, unfinished: list) -> list:
    violations = verdict["violations"]
    lines = [
        line("most nodes disrupted at once", verdict["most"], f"at most {fleet.concurrency}"),
        line("states with more than that", f"{len(violations)} of {verdict['judged']} judged; the observer's watches broke "
             f"{verdict['breaks']} times", "0"),
        line("nodes not upgraded or left cordoned", several(collections.Counter(unfinished)) if unfinished else "0", "0")]
    for violation in violations[:5]:
        lines.append(f"  {violation['at']} revision {violation['revision']}: " +
                     ", ".join(f"{name} ({why})" for name, why in sorted(violation["disrupted"].items())))
    return lines
