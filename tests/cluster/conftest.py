# SPDX-License-Identifier: Apache-2.0
"""One cluster for the tests of a file; each test finds it healthy, or sees it made so again."""

import os

import pytest

from . import crash_report
from .cluster import Cluster
from .faults import nudge, pause_no_more
from .fleet import Lender


def pytest_collection_modifyitems(items):
    """The tests that need another fleet go last: each change of fleets costs a minute."""
    items.sort(key=lambda item: item.module.__name__.endswith("test_many_hosts"))


@pytest.fixture(scope="module")
def cluster():
    # Named by process: two runs on one machine do not meet.
    with Cluster(3, name=f"test-{os.getpid()}") as running:
        yield running


@pytest.fixture
def healthy(cluster):
    """The cluster; after the test every host is on, behaves, and is Ready at the first version again."""
    yield cluster
    cluster.mend()


@pytest.fixture(scope="session")
def fleets():
    lender = Lender()
    yield lender
    lender.close()


@pytest.fixture
def fleet(fleets):
    """A server and two agents with the package."""
    yield from fleets.lend(1, 2)


@pytest.fixture
def without_pauses(fleet):
    """An agent keeps its pause points until it is started again: the next test's must have none."""
    yield
    for host in fleet.cluster.hosts:
        agent = fleet.agent(host)
        pause_no_more(agent)
        nudge(agent)
        agent.restart()


def pytest_terminal_summary(terminalreporter):
    """The crash test's table; on a whole run also for docs/reliability.md."""
    if crash_report.TABLE:
        table = crash_report.TABLE["report"].table(crash_report.TABLE["steps"], crash_report.TABLE["faults"])
        terminalreporter.write_line(table)
        if crash_report.all_wanted():
            crash_report.TABLE["report"].keep(table)
