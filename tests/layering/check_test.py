#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Proves that check.py fails on what it is there for, in trees made for the purpose."""

import contextlib
import io
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
import check  # noqa: E402


def outcome(files: dict[str, str]) -> tuple[int, str]:
    """The exit status and the output of a run over a tree of these files."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = check.main([folder])
        return status, output.getvalue()


class Allowed(unittest.TestCase):
    def test_what_the_table_allows(self) -> None:
        for name, line in [
            ("lib/base/a.cpp", "#include <fmt/format.h>"),
            ("lib/base/a.cpp", "#include <vector>"),
            ("lib/base/a.cpp", "#include <sys/stat.h>"),
            ("lib/base/a.cpp", '#include "lib/base/b.hpp"'),
            ("lib/kube/a.cpp", '#include "lib/fs/files.hpp"'),
            ("lib/kube/a.hpp", "#include <nlohmann/json.hpp>"),
            ("agent/plan/a.cpp", '#include "lib/crypto/digest.hpp"'),
            ("agent/node/a.cpp", '#include "lib/log/log.hpp"'),
            ("agent/upgrade/a.cpp", '#include "agent/node/drain.hpp"'),
            ("agent/coordinator/a.cpp", '#include "agent/lock/slots.hpp"'),
            ("agent/main.cpp", "#include <CLI/CLI.hpp>"),
            ("agent/main.cpp", '#include "agent/commands/commands.hpp"'),
            ("agent/commands/a.cpp", '#include "lib/http/curl_client.hpp"'),
            ("agent/commands/a.cpp", '#include "deploy/manifests.hpp"'),
            ("agent/upgrade/a.cpp", "// #include <curl/curl.h>"),
            ("lib/log/meson.build", "dependencies: [base_dep, threads_dep, dependency('spdlog')],"),
            ("agent/meson.build", "dependencies: [kube_dep, dependency('CLI11')],"),
            ("lib/log/meson.build", "# as dependency('boost') would"),
        ]:
            with self.subTest(name=name, line=line):
                status, output = outcome({"lib/base/z.cpp": "", name: line + "\n"})
                self.assertEqual((status, output), (0, ""))


class Forbidden(unittest.TestCase):
    def expect(self, name: str, line: str, rule: str) -> None:
        with self.subTest(name=name, line=line):
            status, output = outcome({"lib/base/z.cpp": "", name: f"// first\n\n{line}\n"})
            self.assertEqual(status, 1)
            self.assertTrue(output.startswith(f"{name}:3: "), output)
            self.assertIn(rule, output)
            self.assertEqual(output.count("\n"), 1, output)

    def test_an_external_library_outside_its_folder(self) -> None:
        for name, header, owner in [
            ("lib/kube/a.cpp", "yaml-cpp/yaml.h", "lib/yaml"),
            ("lib/fs/a.hpp", "fmt/core.h", "lib/base"),
            ("lib/http/a.cpp", "openssl/ssl.h", "lib/crypto"),
            ("lib/base/a.cpp", "spdlog/spdlog.h", "lib/log"),
            ("lib/log/a.cpp", "systemd/sd-journal.h", "lib/systemd"),
            ("lib/kube/a.cpp", "curl/curl.h", "lib/http"),
            ("lib/fs/a.cpp", "archive.h", "lib/archive"),
            ("agent/node/a.cpp", "sdbus-c++/sdbus-c++.h", "lib/systemd"),
            ("agent/upgrade/a.cpp", "CLI/CLI.hpp", "agent/main"),
            ("agent/config.cpp", "CLI/CLI.hpp", "agent/commands"),
            ("agent/main.cpp", "curl/curl.h", "lib/http"),
        ]:
            self.expect(name, f"#include <{header}>", f"may not use {header}: it belongs to")
            self.expect(name, f" #  include<{header}>", owner)

    def test_an_external_library_that_nobody_owns(self) -> None:
        self.expect("lib/base/a.cpp", "#include <boost/asio.hpp>", "no folder owns")
        self.expect("lib/fs/a.cpp", "#include <zstd.h>", "no folder owns")
        self.expect("lib/fs/a.cpp", "#include <gtest/gtest.h>", "no folder owns")

    def test_a_folder_of_lib_that_is_not_below(self) -> None:
        self.expect("lib/base/a.hpp", '#include "lib/fs/files.hpp"', "lib/base may not use lib/fs")
        self.expect("lib/yaml/a.cpp", '#include "lib/fs/files.hpp"', "lib/yaml may not use lib/fs")
        self.expect("lib/http/a.cpp", '#include "lib/crypto/digest.hpp"', "may not use lib/crypto")
        self.expect("lib/fs/a.cpp", '#include "lib/log/log.hpp"', "may not use lib/log")

    def test_lib_that_knows_the_agent(self) -> None:
        self.expect("lib/kube/a.cpp", '#include "agent/plan/plan.hpp"', "knows nothing of agent/")
        self.expect("lib/kube/a.cpp", '#include "deploy/manifests.hpp"', "nothing of deploy/")

    def test_a_plan_that_is_not_pure(self) -> None:
        for lib in ("fs/files", "http/client", "kube/objects", "log/log", "yaml/yaml"):
            self.expect("agent/plan/a.cpp", f'#include "lib/{lib}.hpp"', "agent/plan may not use")
        self.expect("agent/plan/a.cpp", '#include "agent/lock/lease.hpp"', "may not use agent/lock")

    def test_upgrade_and_coordinator_that_see_each_other(self) -> None:
        self.expect("agent/upgrade/a.cpp", '#include "agent/coordinator/coordinator.hpp"', "may not use")
        self.expect("agent/coordinator/a.cpp", '#include "agent/upgrade/upgrade.hpp"', "may not use")

    def test_rooms_that_look_up(self) -> None:
        self.expect("agent/node/a.cpp", '#include "agent/upgrade/upgrade.hpp"', "may not use")
        self.expect("agent/lock/a.cpp", '#include "agent/config.hpp"', "may not use agent/config")
        self.expect("agent/node/a.cpp", '#include "agent/commands/commands.hpp"', "may not use")
        self.expect("agent/config.cpp", '#include "agent/commands/commands.hpp"', "may not use")

    def test_an_adapter_where_the_seam_is_enough(self) -> None:
        self.expect("agent/node/a.hpp", '#include "lib/systemd/dbus_units.hpp"', "takes the seam")
        self.expect("agent/coordinator/a.cpp", '#include "lib/http/curl_client.hpp"', "takes the seam")

    def test_main_included(self) -> None:
        self.expect("agent/commands/a.cpp", '#include "agent/main.hpp"', "nothing includes main")
        self.expect("lib/base/a.cpp", '#include "agent/main.hpp"', "nothing includes main")

    def test_tests_included(self) -> None:
        self.expect("agent/node/a.cpp", '#include "tests/fakes/a.hpp"', "may not use tests/")

    def test_includes_that_do_not_start_at_the_root(self) -> None:
        self.expect("lib/base/a.cpp", '#include "error.hpp"', "start at the repository's root")
        self.expect("lib/fs/a.cpp", '#include "../base/error.hpp"', "start at the repository's root")

    def test_a_folder_that_is_not_in_the_table(self) -> None:
        self.expect("lib/new/a.cpp", '#include "lib/base/error.hpp"', "not in the table")
        self.expect("agent/new/a.cpp", '#include "lib/base/error.hpp"', "not in the table")

    def test_build_files(self) -> None:
        self.expect("lib/log/meson.build", "deps = [base_dep, fs_dep]", "lib/log may not use lib/fs")
        self.expect("lib/fs/meson.build", "x = dependency('spdlog')", "it belongs to lib/log")
        self.expect("agent/meson.build", "x = dependency('libcurl')", "it belongs to lib/http")
        self.expect("lib/fs/meson.build", "x = dependency('boost')", "no folder owns")
        self.expect("lib/fs/meson.build", "x = cpp.find_library('date-tz')", "it belongs to lib/time")


class Guard(unittest.TestCase):
    def test_an_empty_tree_is_no_success(self) -> None:
        with self.assertRaises(SystemExit):
            outcome({"README.md": ""})


if __name__ == "__main__":
    unittest.main()
