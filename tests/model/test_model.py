# SPDX-License-Identifier: Apache-2.0
"""Lets spin search the model of the lock's protocol: what holds, and what breaks when a rule is taken away."""

import dataclasses
import pathlib
import re
import subprocess

import pytest

MODEL = pathlib.Path(__file__).with_name("lock.pml")
MEMORY = 2000  # MiB that a search may use.
TIME = 600  # Seconds; far more than any search takes.

# Each is searched to its end. More agents leave room for a shorter time to live and less drift only, and the other way round.
HOLDS = {
    "three agents, one slot": ["N=3", "C=1", "TTL=4", "DRIFT=0", "PROMPT"],
    "three agents, two slots": ["N=3", "C=2", "TTL=3", "DRIFT=0", "PROMPT"],
    "three agents, one slot, clocks that drift": ["N=3", "C=1", "TTL=7", "PROMPT", "NO_CRASH"],
    "three agents, two slots, clocks that drift": ["N=3", "C=2", "TTL=7", "PROMPT", "NO_CRASH"],
    "two agents, clocks that drift, steps that last": ["N=2", "TTL=12", "PROMPT"],
    "two agents, delayed requests": ["N=2", "TTL=4", "DRIFT=0"],
    "two agents, delayed requests, clocks that drift": ["N=2", "TTL=7", "NO_CRASH"],
    "two agents, watches that are behind": ["N=2", "TTL=9", "PROMPT", "LATE_SIGHT"],
}
# Small, for an error is found soon; without anything taken away it holds, too.
SMALL = ["N=2", "TTL=7", "PROMPT"]
LIVE = ["N=3", "TTL=4", "DRIFT=0", "LIVE"]


@dataclasses.dataclass
class Search:
    """What a verifier said at its end."""

    errors: int
    complete: bool
    unreached: list
    text: str


def defines(options):
    return [f"-D{option}" for option in options]


def search(folder: pathlib.Path, options, fair=False) -> Search:
    """Makes a verifier of the model with these options, runs it and reads what it says. `fair`: of the claim, for weakly fair
    runs; otherwise of the assertions."""
    made = subprocess.run(["spin", "-a", *defines(options), MODEL], cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0 and "Error" not in made.stdout, made.stdout + made.stderr
    kind = ["-DNFAIR=5"] if fair else ["-DSAFETY"]
    # Everything is shared: spin's reduction finds nothing to leave out.
    subprocess.run(["gcc", "-O2", "-w", *kind, "-DNOREDUCE", "-DCOLLAPSE", f"-DMEMLIM={MEMORY}", "-o", "pan", "pan.c"],
                   cwd=folder, check=True)
    run = subprocess.run(["./pan", "-m2000000", "-w22", *(["-a", "-f"] if fair else [])],
                         cwd=folder, capture_output=True, text=True, timeout=TIME, check=False)
    found = re.search(r"errors: (\d+)", run.stdout)
    assert found, run.stdout + run.stderr
    partial = ("max search depth too small", "Search not completed", "out of memory", "memory limit", "truncated")
    said = run.stdout + run.stderr
    unreached = re.findall(r"lock\.pml:(\d+), state \d+, \"(.*)\"", said)
    return Search(int(found[1]), not any(words in said for words in partial), unreached, said)


def must_hold(result: Search):
    assert result.errors == 0, result.text
    assert result.complete, result.text


def must_break(result: Search, by: str):
    assert result.errors == 1, result.text
    assert by in result.text, result.text


@pytest.mark.parametrize("options", HOLDS.values(), ids=HOLDS.keys())
def test_no_more_than_concurrency_are_in_a_disruptive_step_together(tmp_path, options):
    must_hold(search(tmp_path, options))


def test_every_line_of_the_model_is_reached(tmp_path):
    result = search(tmp_path, ["N=3", "TTL=3", "DRIFT=0", "PROMPT"])
    must_hold(result)
    assert {what for _, what in result.unreached} == {"-end-"}, result.text


@pytest.mark.parametrize("concurrency", [1, 2])
def test_while_renewals_get_through_no_more_than_concurrency_are_between_taking_and_giving_back(tmp_path, concurrency):
    must_hold(search(tmp_path, ["N=3", f"C={concurrency}", "TTL=7", "PROMPT", "CALM", "NO_CRASH"]))


def test_everybody_gets_a_turn_when_nobody_dies(tmp_path):
    must_hold(search(tmp_path, [*LIVE, "NO_CRASH"], fair=True))


def test_the_others_get_their_turn_when_a_holder_dies(tmp_path):
    must_hold(search(tmp_path, LIVE, fair=True))


def test_the_others_wait_for_ever_when_leases_never_run_out(tmp_path):
    must_break(search(tmp_path, [*LIVE, "NEVER_RUNS_OUT"], fair=True), "acceptance cycle")


def test_the_small_model_holds_with_every_rule_in_place(tmp_path):
    must_hold(search(tmp_path, SMALL))


@pytest.mark.parametrize("rule", ["NO_FENCE", "NO_CAS", "WALL_CLOCKS", "OWN_KEY_FIRST", "LATE_AT_TTL", "LATE_RENEWAL_NOT_MARKED",
                                  "RESUMED_SLOT_IS_NEW", "RESUME_RESTARTS", "RESUME_WITHOUT_ANSWER"])
def test_the_invariant_breaks_without(tmp_path, rule):
    must_break(search(tmp_path, [*SMALL, rule]), "assertion violated")


@pytest.mark.parametrize("assumption", ["UNBOUNDED_STEP", "CLOCK_STOPS", "RELEASED_ALIVE"])
def test_the_invariant_rests_on_the_assumption_against(tmp_path, assumption):
    must_break(search(tmp_path, [*SMALL, assumption]), "assertion violated")


@pytest.mark.parametrize("claim", ["ROLLBACK_COUNTS", "COUNT_FROM_TAKE_TO_RETURN"])
def test_the_protocol_does_not_promise(tmp_path, claim):
    must_break(search(tmp_path, [*SMALL, claim]), "assertion violated")
