// SPDX-License-Identifier: Apache-2.0
#include "agent/k3s/unit_environment.hpp"

#include <gtest/gtest.h>

#include "tests/agent/support.hpp"
#include "tests/fakes/fake_units.hpp"

namespace kua::k3s {
namespace {

TEST(UnitEnvironment, LetsFilesWinOverTheUnitAndLaterFilesOverEarlier) {
    const test::TempFolder folder;
    test::write_text(folder / "one", "A=one\nB=one\n");
    test::write_text(folder / "two", "B=\"two\"\n");
    test::FakeUnits units;
    auto& unit = units.add("k3s.service", {"/usr/local/bin/k3s", "server"});
    unit.environment = {"A=unit", "C=unit"};
    unit.environment_files = {{(folder / "one").string(), false},
                              {(folder / "missing").string(), true},
                              {(folder / "missing").string(), false},
                              {(folder / "two").string(), false}};
    EXPECT_EQ(unit_environment(units, "k3s.service"),
              (systemd::Environment{{"A", "one"}, {"B", "two"}, {"C", "unit"}}));
}

TEST(UnitEnvironment, IsEmptyWithoutAUnit) {
    test::FakeUnits units;
    EXPECT_TRUE(unit_environment(units, "k3s.service").empty());
}

}  // namespace
}  // namespace kua::k3s
