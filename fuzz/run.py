# SPDX-License-Identifier: Apache-2.0
"""Builds the fuzzers and runs each for a while: part of `./dev test`; by hand `python3 -m fuzz.run --seconds 600 sums plan`."""

import argparse
import base64
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FUZZ = ROOT / "fuzz"
BUILD = ROOT / "build-fuzz"
# What one input may cost: seconds, and MiB of a process that keeps AddressSanitizer's books, too.
SLOWEST = 60
LARGEST = 1024
LONGEST_INPUT = 64 * 1024
# What a run that is the same each time tries of each target: under a minute for the slowest of them.
INPUTS = 30_000
LONGEST_RUN = 1800


def targets() -> list:
    return sorted(source.stem for source in FUZZ.glob("*.cpp"))


def build(names):
    """Raises CalledProcessError when it fails; the compiler has said why."""
    if not (BUILD / "build.ninja").exists():
        subprocess.run(["meson", "setup", str(BUILD), "--prefix=/usr", "-Dfuzz=true", "-Dtests=false",
                        "-Db_sanitize=address,undefined", "-Db_lundef=false"],
                       cwd=ROOT, check=True, env={**os.environ, "CXX": "ccache clang++"}, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", str(BUILD), "--quiet", *[f"fuzz/{name}" for name in names]], check=True)


def fuzz(name, seconds=None):
    """Looks for inputs that break the target, from its corpus on, others each time. Without seconds it is the same run each time, from
    a fixed seed on and with so many inputs. Gives what is wrong, or None.

    What it finds new on its way is not kept: a run depends on the tree alone.
    """
    with tempfile.TemporaryDirectory(prefix="kua-fuzz-") as folder:
        found = pathlib.Path(folder) / "found"
        found.mkdir()
        dictionary = FUZZ / f"{name}.dict"
        command = [BUILD / "fuzz" / name, f"-timeout={SLOWEST}", f"-rss_limit_mb={LARGEST}", f"-max_len={LONGEST_INPUT}",
                   f"-artifact_prefix={folder}/", *([f"-dict={dictionary}"] if dictionary.exists() else []),
                   *([f"-max_total_time={seconds}"] if seconds else ["-seed=1", f"-runs={INPUTS}"]), found, FUZZ / "corpus" / name]
        # It ends by itself; when it does not, it hangs where it can't see that.
        try:
            run = subprocess.run([str(each) for each in command], capture_output=True, text=True, errors="replace", check=False,
                                 stdin=subprocess.DEVNULL, timeout=seconds + 300 if seconds else LONGEST_RUN)
        except subprocess.TimeoutExpired:
            return "does not end"
        if run.returncode == 0:
            return None
        inputs = [path for path in pathlib.Path(folder).iterdir() if path.is_file()]
        said = "\n".join(line[:300] for line in run.stderr.splitlines() if not line.startswith(("#", "INFO:", "\tNEW_FUNC")))
        return "\n".join([said[-6000:], *(f"{path.name}: echo {base64.b64encode(path.read_bytes()).decode()} | base64 -d >input && "
                                          f"{BUILD / 'fuzz' / name} input" for path in inputs)])


def fuzz_all(names, seconds=None):
    """All of them, as many at a time as there are processors; yields (name, what is wrong or None) as they end."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        running = {pool.submit(fuzz, name, seconds): name for name in names}
        for each in concurrent.futures.as_completed(running):
            yield running[each], each.result()


def main():
    parser = argparse.ArgumentParser(prog="python3 -m fuzz.run")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("targets", nargs="*", default=targets(), metavar="TARGET", help=f"of {', '.join(targets())}")
    options = parser.parse_args()
    build(options.targets)
    failed = False
    for name, wrong in fuzz_all(options.targets, options.seconds):
        print(f"{name}: {wrong or 'ok'}", flush=True)
        failed = failed or wrong is not None
    sys.exit(failed)


if __name__ == "__main__":
    main()
