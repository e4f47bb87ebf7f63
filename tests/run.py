# SPDX-License-Identifier: Apache-2.0
"""Runs all tests of all runners and adds them up: the last line is `N passed, N failed, N skipped`.

Fails when a test failed, and when fewer tests ran than the tree has: every TEST in a C++ source and every `def test_` in a
Python file must be among those that ran.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

import fuzz.run
import tests.cluster.kubernetes

ROOT = pathlib.Path(__file__).resolve().parent.parent
GTEST = re.compile(r"^TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
# The files of tests/cluster that take about a third of the time each; what is in none goes with what lies outside. See shares().
SHARES = [{"test_deploy", "test_drain_parity", "test_many_hosts", "test_package", "test_plans", "test_release", "test_requests",
           "test_rollback", "test_sources", "test_stand_in"},
          {"test_bad_input", "test_cordon", "test_demo", "test_disk_full", "test_drain", "test_faults", "test_fleet", "test_hooks",
           "test_moving", "test_never_stuck", "test_upgrade", "test_watchdog", "test_which_k3s"}]
# Seconds that a test on hosts may take before it counts as one that hangs: the longest takes five minutes, the whole matrix half an hour.
LONGEST_TEST = 900
LONGEST_MATRIX = 7200
INOTIFY = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH_INOTIFY = 512
PYTEST = re.compile(r"^(?:    )?def (test_\w+)\(", re.MULTILINE)


class Results:
    """What ran, by how it ended; names are `Suite.Name` for gtest, `file::function` for pytest."""

    def __init__(self):
        self.passed, self.failed, self.skipped = [], [], []
        self.lock = threading.Lock()  # for those who add what ran at the same time

    def read_junit(self, path: pathlib.Path, of="") -> collections.Counter:
        """Gives the seconds of each file."""
        seconds = collections.Counter()
        for case in xml.etree.ElementTree.parse(path).iter("testcase"):
            suite, name = case.get("classname") or "", case.get("name")
            seconds[suite.rsplit(".", 1)[-1]] += float(case.get("time") or 0)
            full = f"{of}{suite}.{name}"
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed.append(full)
            elif case.find("skipped") is not None or case.get("status") == "notrun":
                self.skipped.append(full)
            else:
                self.passed.append(full)
        return seconds

    @property
    def all(self):
        return self.passed + self.failed + self.skipped


def section(title):
    print(f"== {title}", file=sys.stderr, flush=True)


def junit_of_gtest(report: pathlib.Path, results: Results, of=""):
    """meson gathers gtest's own reports: a suite's name carries meson's test name in front of it."""
    for suite in xml.etree.ElementTree.parse(report).iter("testsuite"):
        for case in suite.iter("testcase"):
            name = f"{of}{case.get('classname') or suite.get('name')}.{case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                results.failed.append(name)
            elif case.find("skipped") is not None:
                results.skipped.append(name)
            else:
                results.passed.append(name)


def environment(kubernetes):
    return {**os.environ, **({"KUA_TEST_KUBERNETES": kubernetes} if kubernetes else {})}


def origin(kubernetes) -> str:
    """In front of the name of a test that runs a second time."""
    return "oldest Kubernetes: " if kubernetes == "oldest" else ""


def run_meson(build: pathlib.Path, results: Results, command, arguments, kubernetes=""):
    report = build / "meson-logs" / "testlog.junit.xml"
    report.unlink(missing_ok=True)
    code = subprocess.run([*command, "meson", "test", "-C", str(build), "--no-rebuild", "--print-errorlogs",
                           "--timeout-multiplier", "4", *arguments],
                          cwd=ROOT, env=environment(kubernetes), check=False).returncode
    before = len(results.failed)
    if report.exists():
        junit_of_gtest(report, results, origin(kubernetes))
    if code != 0 and len(results.failed) == before:
        # A program that died or timed out has no report of its own.
        results.failed.append(f"meson test {' '.join(arguments)} ended with {code}")


def run_pytest(results: Results, arguments, kubernetes=""):
    longest = LONGEST_MATRIX if os.environ.get("KUA_TEST_ALL") else LONGEST_TEST
    with tempfile.TemporaryDirectory() as work:
        report = pathlib.Path(work) / "pytest.xml"
        run = subprocess.run([sys.executable, "-m", "pytest", "-q", "--durations=10", f"--timeout={longest}", f"--junitxml={report}", *arguments], cwd=ROOT,
                             env=environment(kubernetes), check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        with results.lock:
            print(run.stdout, flush=True)
            before = len(results.failed)
            if report.exists():
                seconds = results.read_junit(report, origin(kubernetes))
                # What SHARES goes by.
                print(", ".join(f"{file} {taken:.0f} s" for file, taken in seconds.most_common()), flush=True)
            if run.returncode != 0 and len(results.failed) == before:
                results.failed.append(f"pytest {' '.join(arguments)} ended with {run.returncode}")


def shares() -> list:
    """The Python tests in three parts that run side by side: tests on hosts mostly wait. Each part has clusters of its own."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    named = [[f for f in files if f.parent.name == "cluster" and f.stem in share] for share in SHARES]
    rest = [f for f in files if not any(f in share for share in named)]
    return [[str(f.relative_to(ROOT)) for f in share] for share in (rest, *named)]


def all_fit() -> bool:
    """Whether all shares may run side by side. Each systemd on a host watches files, and a kernel's usual limit for one user is enough
    for the hosts of two; it is raised until the next boot where that is possible."""
    try:
        if int(INOTIFY.read_text()) < ENOUGH_INOTIFY:
            INOTIFY.write_text(str(ENOUGH_INOTIFY))
        return True
    except OSError:
        return False


def run_pytest_in_shares(results: Results, kubernetes):
    """The oldest Kubernetes has what differs there."""
    runs = [(share, "newest") for share in shares()]
    if "oldest" in kubernetes:
        runs.append((["tests/cluster", "-m", "every_kubernetes"], "oldest"))
    with concurrent.futures.ThreadPoolExecutor(len(runs) if all_fit() else 2) as pool:
        for done in [pool.submit(run_pytest, results, *each) for each in runs]:
            done.result()


def not_run(results: Results) -> list:
    """Tests that stand in the tree and are not among those that ran."""
    names = results.all
    gtests = {re.sub(r"/\d+$", "", n.split("/", 1)[1] if n.count("/") > 1 else n) for n in names} | set(names)
    functions = {n.split("[")[0].rsplit(".", 1)[-1] for n in names}
    missing = []
    for path in sorted((ROOT / "tests").rglob("*_test.cpp")):
        for suite, name in GTEST.findall(path.read_text()):
            if f"{suite}.{name}" not in gtests and not any(n.endswith(f"{suite}.{name}") for n in gtests):
                missing.append(f"{path.relative_to(ROOT)}: {suite}.{name}")
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in PYTEST.findall(path.read_text()):
            if name not in functions:
                missing.append(f"{path.relative_to(ROOT)}: {name}")
    return missing


def sanitized(results: Results):
    """The unit and adapter tests again, with the compiler's own checks."""
    for name in ("address,undefined", "thread"):
        folder = ROOT / f"build-{name.replace(',', '-')}"
        if not (folder / "build.ninja").exists():
            subprocess.run(["meson", "setup", str(folder), f"-Db_sanitize={name}", "-Dbuildtype=debug", "-Db_lundef=false"],
                           cwd=ROOT, check=True, env={**os.environ, "CXX": "ccache g++"}, stdout=subprocess.DEVNULL)
        subprocess.run(["ninja", "-C", str(folder), "--quiet"], check=True)
        section(f"units, -fsanitize={name}")
        run_meson(folder, results, [], ["--no-suite", "api", "--timeout-multiplier", "5"])


def fuzzed(results: Results, seconds):
    """Each target in fuzz/ is a test."""
    names = fuzz.run.targets()
    try:
        fuzz.run.build(names)
    except subprocess.CalledProcessError as error:
        results.failed.append(f"fuzz: the build ended with {error.returncode}")
        return
    for name, wrong in fuzz.run.fuzz_all(names, seconds):
        if wrong:
            print(f"fuzz.{name}: {wrong}", flush=True)
        (results.failed if wrong else results.passed).append(f"fuzz.{name}")


def main():
    parser = argparse.ArgumentParser(prog="./dev test")
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--all", action="store_true", help="the long ones, too")
    options, rest = parser.parse_known_args()
    if options.all:
        os.environ["KUA_TEST_ALL"] = "1"  # for the tests that choose what they do
    begun = time.monotonic()
    kubernetes = tests.cluster.kubernetes.of_a_run()
    results = Results()
    if not rest:
        section("units and adapters")
        run_meson(options.build, results, [], ["--no-suite", "api"])
        for name, each in kubernetes.items():
            section(f"adapters against a real API server, Kubernetes {each.version}")
            run_meson(options.build, results, [sys.executable, "-m", "tests.cluster", "control-plane", "--run"], ["--suite", "api"], name)
        # A short run tries the same inputs each time; what is new is for the long ones to find.
        seconds = int(os.environ.get("KUA_FUZZ_SECONDS") or (600 if options.all else 0))
        section(f"fuzzers, {seconds} s each" if seconds else f"fuzzers, {fuzz.run.INPUTS} inputs each, beside what follows")
        if options.all:
            fuzzed(results, seconds)
            sanitized(results)
    section(f"real hosts, Kubernetes {' and '.join(k.version for k in kubernetes.values())}")
    if rest:
        run_pytest(results, ["tests", *rest])
    else:
        with concurrent.futures.ThreadPoolExecutor() as beside:
            # Tests on hosts leave most of the processors' time to others.
            fuzzing = None if options.all else beside.submit(fuzzed, results, seconds)
            run_pytest_in_shares(results, kubernetes)
            if fuzzing:
                fuzzing.result()
    missing = [] if rest else not_run(results)
    for name in missing:
        print(f"did not run: {name}")
    for name in results.failed:
        print(f"failed: {name}")
    print(f"== {time.monotonic() - begun:.0f} s", file=sys.stderr)
    skipped = f", {len(results.skipped)} skipped" if results.skipped else ""
    print(f"{len(results.passed)} passed, {len(results.failed)} failed{skipped}")
    sys.exit(1 if results.failed or missing or not results.passed else 0)


if __name__ == "__main__":
    main()
