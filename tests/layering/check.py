#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a source includes, or a build file links, what its folder may not use.

The table of who may use what stands below, as data. `check.py [root]` prints each violation as `file:line: rule`.
"""

import pathlib
import re
import sys
from collections.abc import Iterator

ALL_LIBS = {"base", "log", "yaml", "fs", "crypto", "archive", "http", "systemd", "kube", "oci", "time"}
ALL_ROOMS = {"config", "commands", "plan", "k3s", "channel", "release", "lock", "node", "upgrade", "coordinator"}

# lib/<folder>: the other folders of lib/ that it may use.
LIBS: dict[str, set[str]] = {
    "base": set(),
    "log": {"base"},
    "yaml": {"base"},
    "fs": {"base"},
    "crypto": {"base"},
    "time": {"base"},
    "archive": {"base"},
    "http": {"base"},
    "systemd": {"base", "log", "fs"},
    "kube": {"base", "log", "yaml", "http", "crypto", "fs"},
    "oci": {"base", "yaml", "http", "crypto", "fs"},
}

# agent/<room>: the rooms, and the folders of lib/, that it may use. Every room but the pure one may use base and log.
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "main": (ALL_ROOMS, ALL_LIBS),
    "commands": (ALL_ROOMS, ALL_LIBS),
    "config": (ALL_ROOMS - {"commands"}, ALL_LIBS),
    "plan": (set(), {"base", "crypto", "time"}),
    "channel": ({"plan"}, {"base", "log", "http"}),
    "release": ({"plan"}, {"base", "log", "fs", "yaml", "crypto", "archive", "http", "systemd", "oci"}),
    # crypto: a name that is too long for a key ends in a digest.
    "lock": ({"plan"}, {"base", "log", "kube", "crypto"}),
    "k3s": ({"plan"}, {"base", "log", "fs", "yaml", "kube", "systemd"}),
    "node": ({"plan"}, {"base", "log", "fs", "http", "kube", "systemd"}),
    "upgrade": (
        {"plan", "k3s", "release", "lock", "node"},
        {"base", "log", "fs", "http", "kube", "systemd"},
    ),
    "coordinator": ({"plan", "channel", "lock"}, {"base", "log", "http", "kube"}),
}

# Only those who join the program together see an adapter; all others take the seam.
ADAPTERS = {"lib/http/curl_client.hpp", "lib/systemd/dbus_units.hpp"}
JOINERS = {"main", "commands"}

# External libraries: how an #include of each begins, its names in build files, and the only folders that may use it.
EXTERNALS: list[tuple[str, set[str], set[str]]] = [
    (r"fmt/", {"fmt"}, {"lib/base"}),
    (r"spdlog/", {"spdlog"}, {"lib/log"}),
    (r"yaml-cpp/", {"yaml-cpp"}, {"lib/yaml"}),
    (r"date/", {"date-tz"}, {"lib/time"}),
    (r"openssl/", {"libcrypto", "libssl", "openssl"}, {"lib/crypto"}),
    (r"archive(_entry)?\.h$", {"libarchive"}, {"lib/archive"}),
    (r"curl/", {"libcurl"}, {"lib/http"}),
    (r"sdbus-c\+\+/", {"sdbus-c++"}, {"lib/systemd"}),
    (r"systemd/", {"libsystemd"}, {"lib/systemd"}),
    (r"CLI/", {"CLI11"}, {"agent/main", "agent/commands"}),
    # The one value type that travels everywhere.
    (r"nlohmann/", {"nlohmann_json"}, {"lib", "agent"}),
]

# The C library's and the kernel's headers; C++'s own have neither a dot nor a slash.
SYSTEM = re.compile(
    r"(sys|netinet|net|arpa|linux|asm|bits)/[\w/-]+\.h$"
    r"|(unistd|fcntl|poll|pthread|sched|signal|malloc|errno|dirent|termios|netdb|pwd|grp|fnmatch|syslog|getopt)\.h$"
)

INCLUDE = re.compile(r"\s*#\s*include\s*([<\"])([^>\"]+)[>\"]")
SOURCES = {".hpp", ".cpp", ".h", ".cc"}

Violation = tuple[pathlib.PurePosixPath, int, str]


def home_of(path: pathlib.PurePosixPath) -> str:
    """`lib/http`, `agent/plan`, `agent/main` for agent/main.cpp, `deploy`, `tests`."""
    parts = path.parts
    if parts[0] == "lib" and len(parts) > 2:
        return f"lib/{parts[1]}"
    if parts[0] == "agent":
        return f"agent/{parts[1]}" if len(parts) > 2 else f"agent/{path.stem}"
    return parts[0]


def is_among(home: str, folders: set[str]) -> bool:
    return home in folders or home.split("/")[0] in folders


def check_external(home: str, name: str, is_owner_of: str) -> str | None:
    """`is_owner_of`: 'include' or 'dependency', what `name` is."""
    for pattern, packages, owners in EXTERNALS:
        known = re.match(pattern, name) if is_owner_of == "include" else name in packages
        if known:
            if is_among(home, owners):
                return None
            return f"{home} may not use {name}: it belongs to {', '.join(sorted(owners))}"
    return f"{name} is an external library that no folder owns: it needs a line in tests/layering/check.py"


def check_own(home: str, included: str) -> str | None:
    """An #include of one of our own files."""
    path = pathlib.PurePosixPath(included)
    if len(path.parts) < 2 or ".." in path.parts:
        return f'"{included}": includes start at the repository\'s root'
    target = home_of(path)
    if target == "agent/main":
        return "nothing includes main"
    if target == "tests":
        return f"{home} may not use tests/"
    if target == home:
        return None
    side, _, room = home.partition("/")
    target_side, _, target_room = target.partition("/")
    if side == "lib":
        if target_side != "lib":
            return f"lib/ knows nothing of {target_side}/"
        if room not in LIBS:
            return f"{home} is not in the table of tests/layering/check.py"
        return None if target_room in LIBS[room] else f"{home} may not use {target}"
    if side == "agent":
        if room not in ROOMS:
            return f"{home} is not in the table of tests/layering/check.py"
        rooms, libs = ROOMS[room]
        if target_side == "deploy":
            return None if room in JOINERS else f"{home} may not use {target}"
        if included in ADAPTERS and room not in JOINERS:
            return f"{home} takes the seam, not the adapter {included}"
        allowed = libs if target_side == "lib" else rooms
        return None if target_room in allowed else f"{home} may not use {target}"
    return f"{home} may use nothing of ours"


def check_source(path: pathlib.PurePosixPath, text: str) -> Iterator[Violation]:
    home = home_of(path)
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        kind, included = match.groups()
        if kind == '"':
            rule = check_own(home, included)
        elif "." not in included and "/" not in included or SYSTEM.match(included):
            rule = None
        else:
            rule = check_external(home, included, "include")
        if rule:
            yield path, number, rule


def check_build(path: pathlib.PurePosixPath, text: str) -> Iterator[Violation]:
    """lib/<folder>/meson.build links only its table's folders; and each external library is linked by its owner alone."""
    home = home_of(path)
    side, _, folder = home.partition("/")
    for number, line in enumerate(text.splitlines(), 1):
        code = line.partition("#")[0]
        for name in re.findall(r"(?:dependency|find_library)\(\s*'([^']+)'", code):
            # agent/ has one build file for all its rooms; the #includes say who uses CLI11.
            user = "agent/main" if side == "agent" else home
            rule = None if name == "threads" else check_external(user, name, "dependency")
            if rule:
                yield path, number, rule
        if side == "lib" and folder in LIBS:
            for name in re.findall(r"\b(\w+)_dep\b", code):
                if name not in LIBS[folder] | {folder, "threads"}:
                    yield path, number, f"{home} may not use lib/{name}"


def check(root: pathlib.Path) -> list[Violation]:
    violations: list[Violation] = []
    sources = 0
    for top in ("lib", "agent", "deploy"):
        for file in sorted((root / top).rglob("*")):
            path = pathlib.PurePosixPath(file.relative_to(root).as_posix())
            if file.suffix in SOURCES:
                sources += 1
                violations += check_source(path, file.read_text(encoding="utf-8"))
            elif file.name == "meson.build":
                violations += check_build(path, file.read_text(encoding="utf-8"))
    if sources == 0:
        raise SystemExit(f"layering: no sources below {root}: nothing was checked")
    return violations


def main(arguments: list[str]) -> int:
    root = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).resolve().parents[2]
    violations = check(root)
    for path, line, rule in violations:
        print(f"{path}:{line}: {rule}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
