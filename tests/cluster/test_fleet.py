# SPDX-License-Identifier: Apache-2.0
"""bench/fleet, small: many agents take turns on a real API server, and its observer sees what it must see."""

import os
import pathlib

import pytest

from bench.fleet import observer
from bench.fleet.fleet import Fleet

from .paths import REPOSITORY


def lock(revision, *holders):
    return {"at": "now", "kind": "lock", "revision": revision, "holders": {name: "Draining" for name in holders}}


def node(revision, name, cordoned=False, ready=True):
    return {"at": "now", "kind": "node", "revision": revision, "name": name, "cordoned": cordoned, "ready": ready}


JUDGED = {
    "a slot and its node's cordon are one disruption": ([lock(1, "a"), node(2, "a", cordoned=True)], 1, 0),
    "two slots are two": ([lock(1, "a", "b")], 2, 1),
    "a cordon without a slot counts": ([lock(1, "a"), node(2, "b", cordoned=True)], 2, 1),
    "a node that is not Ready counts": ([lock(1, "a"), node(2, "b", ready=False)], 2, 1),
    "what is over no longer counts": ([node(1, "a", cordoned=True), node(2, "a"), lock(3, "b")], 1, 0),
    "revisions count, not when they were heard of": ([node(1, "a", cordoned=True), lock(3, "b"), node(2, "a")], 1, 0),
    "nothing is judged where a watch was blind": ([{"kind": "break", "from": 1, "to": 2}, lock(2, "a", "b")], 0, 0),
    "what is still so after that is judged": (
        [{"kind": "break", "from": 1, "to": 2}, lock(2, "a", "b"), node(3, "c")], 2, 1),
}


@pytest.mark.parametrize("name", JUDGED)
def test_the_observer_judges(name):
    states, most, violations = JUDGED[name]
    verdict = observer.judge(states, concurrency=1)
    assert (verdict["most"], len(verdict["violations"])) == (most, violations)


def test_slots_that_are_reports_disrupt_nothing():
    state = observer.lock_state({"metadata": {"resourceVersion": "7"}, "data": {
        "coordinator": "{}", "plan.a": '{"phase":"Failed"}', "plan.b": '{"phase":"Blocked"}', "plan.c": '{"phase":"Draining"}'}})
    assert state["holders"] == {"c": "Draining"}


def test_a_small_fleet_is_upgraded_by_turns():
    build = pathlib.Path(os.environ.get("KUA_BUILD_DIR", REPOSITORY / "build"))
    with Fleet(build, agents=12, servers=1, concurrency=3, restart=0.5) as fleet:
        fleet.upgrade(fleet.targets[0], patience=120)
        fleet.check_observer()
        assert fleet.unfinished() == []
        verdict = observer.judge(observer.read_states(fleet.states), concurrency=3)
    assert verdict["violations"] == []
    # It has seen something: twelve nodes were cordoned and uncordoned.
    assert verdict["most"] >= 1 and verdict["judged"] >= 24
