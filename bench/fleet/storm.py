# SPDX-License-Identifier: Apache-2.0
"""What goes wrong during the storm: agents killed and started again, the API server gone three times, a clock hours off."""

import random
import threading
import time

OUTAGES = 3
CLOCK_OFF = "+3h"
# Phases of an agent that holds a slot.
DISRUPTIVE = ("Acquired", "Cordoning", "Draining", "Swapping", "Restarting", "Verifying", "Uncordoning", "Labelling", "Releasing")


class Storm:
    """`with Storm(...)`: from start to end agents die at random; the API server goes when a share of the nodes is upgraded.

    A killed agent is back before its slot's lease runs out: a cluster cannot know that a host which is silent for longer
    is still cordoned, so the invariant would not hold for hosts that stay dead.
    """

    def __init__(self, fleet, seed, outage: float):
        self._fleet = fleet
        self._random = random.Random(seed)
        self._outage = outage
        self._stop = threading.Event()
        self._share = threading.Condition()
        self._upgraded = 0.0
        self._threads = [threading.Thread(target=self._guarded, args=(act,), daemon=True) for act in (self._kill, self._cut_off)]
        self.kills, self.kills_of_holders, self.outages = 0, 0, 0
        self.failure = None

    def __enter__(self):
        self._fleet.restart_with_wrong_clock(CLOCK_OFF)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        with self._share:
            self._share.notify_all()
        for thread in self._threads:
            thread.join()
        if self.failure:
            raise self.failure

    def upgraded(self, share: float):
        with self._share:
            self._upgraded = share
            self._share.notify_all()

    def _guarded(self, act):
        try:
            act()
        except Exception as error:  # a thread's entry: told by __exit__
            self.failure = error

    def _kill(self):
        """Every second or so one agent: every other time one that holds a slot; it is back within five seconds."""
        next_kill, down = time.monotonic(), []
        while True:
            first = min([next_kill, *(due for due, _ in down)])
            if self._stop.wait(max(0, first - time.monotonic())):
                break
            if down and first < next_kill:
                due = min(down, key=lambda d: d[0])
                down.remove(due)
                self._fleet.start(due[1])
                continue
            host = self._victim([host for _, host in down])
            host.process.stop(9)
            self.kills += 1
            down.append((time.monotonic() + self._random.uniform(0.1, 5), host))
            next_kill = time.monotonic() + self._random.expovariate(1.0)
        for _, host in down:
            self._fleet.start(host)

    def _victim(self, down):
        running = [h for h in self._fleet.hosts if h not in down]
        holders = [h for h in running if h.status().get("phase") in DISRUPTIVE]
        if holders and self._random.random() < 0.5:
            self.kills_of_holders += 1
            return self._random.choice(holders)
        return self._random.choice(running)

    def _cut_off(self):
        for number in range(1, OUTAGES + 1):
            with self._share:
                self._share.wait_for(lambda due=number / (OUTAGES + 1): self._upgraded >= due or self._stop.is_set())
            if self._stop.is_set():
                return
            self._fleet.control_plane.stop_api_server()
            # Not cut short by the end of the rollout, which cannot come without an API server.
            time.sleep(self._outage)
            self._fleet.control_plane.start_api_server()
            self.outages += 1
