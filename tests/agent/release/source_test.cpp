// SPDX-License-Identifier: Apache-2.0
#include "agent/release/source.hpp"

#include <gmock/gmock.h>

#include "tests/agent/support.hpp"

namespace kua::release {
namespace {

using test::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string digest(char letter) { return std::string(64, letter); }

std::string find(const std::string& list, const std::string& name = "k3s") {
    return find_checksum(list, name, "https://example.org/sums");
}

TEST(FindChecksum, TakesTheLineWithExactlyTheName) {
    const auto list = digest('a') + "  k3s-airgap-images-amd64.tar\n" +  //
                      digest('b') + "  k3s-airgap-images-amd64.tar.gz\n" + digest('c') +
                      "  k3s-airgap-images-amd64.tar.zst\n" +  //
                      digest('d') + "  k3s\n" + digest('e') + "  k3s-images.txt\n";
    EXPECT_EQ(find(list), digest('d'));
    EXPECT_EQ(find(list, "k3s-images.txt"), digest('e'));
}

TEST(FindChecksum, ReadsWhatSha256sumWrites) {
    struct Case {
        std::string name;
        std::string list;
        std::string expected;
    };
    for (const auto& [name, list, expected] : std::vector<Case>{
             {"text mode", digest('a') + "  k3s\n", digest('a')},
             {"binary mode", digest('a') + " *k3s\n", digest('a')},
             {"no line feed at the end", digest('a') + "  k3s", digest('a')},
             {"empty lines", "\n\n" + digest('a') + "  k3s\n\n", digest('a')},
             {"upper case", digest('A') + "  k3s\n", digest('a')},
             {"the same twice", digest('a') + "  k3s\n" + digest('A') + "  k3s\n", digest('a')},
             {"another one twice",
              digest('b') + "  x\n" + digest('c') + "  x\n" + digest('a') + "  k3s\n", digest('a')},
         }) {
        EXPECT_EQ(find(list), expected) << name;
    }
}

TEST(FindChecksum, RefusesWhatIsNotInOrder) {
    struct Case {
        std::string name;
        std::string list;
        std::string said;
    };
    for (const auto& [name, list, said] : std::vector<Case>{
             {"empty", "", "no checksum for k3s"},
             {"CRLF", digest('b') + "  x\n" + digest('a') + "  k3s\r\n", "line 2 ends with CR LF"},
             {"only others", digest('a') + "  k3s-arm64\n", "no checksum for k3s"},
             {"a name that ends so", digest('a') + "  xk3s\n", "no checksum for k3s"},
             {"a name that begins so", digest('a') + "  k3s2\n", "no checksum for k3s"},
             {"in a folder", digest('a') + "  ./k3s\n", "no checksum for k3s"},
             {"another case", digest('a') + "  K3S\n", "no checksum for k3s"},
             {"two that differ", digest('a') + "  k3s\n" + digest('b') + "  k3s\n",
              "two different checksums for k3s"},
             {"HTML", "<html>\n<body>404</body>", "line 1 is not a checksum and a name"},
             {"too short a digest", std::string(63, 'a') + "  k3s\n", "line 1 is not"},
             {"too long a digest", std::string(65, 'a') + "  k3s\n", "line 1 is not"},
             {"not hex", digest('g') + "  k3s\n", "line 1 is not"},
             {"no name", digest('a') + "\n", "line 1 is not"},
             {"a space and no name", digest('a') + "  \n", "line 1 is not"},
             {"a letter for the mode", digest('a') + " xk3s\n", "line 1 is not"},
             {"a tab", digest('a') + "\tk3s\n", "line 1 is not"},
             {"garbage after it", digest('a') + "  k3s\ngarbage", "line 2 is not"},
         }) {
        const auto error = error_of([&, &text = list] { find(text); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << name;
        EXPECT_THAT(error.what(), AllOf(HasSubstr(said), HasSubstr("https://example.org/sums")))
            << name;
    }
}

TEST(Architecture, IsNamedAsK3sNamesIt) {
    EXPECT_EQ(architecture("x86_64").binary, "k3s");
    EXPECT_EQ(architecture("x86_64").checksums, "sha256sum-amd64.txt");
    EXPECT_EQ(architecture("aarch64").binary, "k3s-arm64");
    EXPECT_EQ(architecture("aarch64").checksums, "sha256sum-arm64.txt");
    for (const char* machine : {"armv7l", "armv8l"}) {
        EXPECT_EQ(architecture(machine).binary, "k3s-armhf");
        EXPECT_EQ(architecture(machine).checksums, "sha256sum-arm.txt");
    }
    for (const char* machine : {"", "i686", "mips", "armv6l", "X86_64"}) {
        EXPECT_THAT(error_of([&] { architecture(machine); }).what(), HasSubstr(machine));
    }
    EXPECT_FALSE(host_architecture().binary.empty());
}

}  // namespace
}  // namespace kua::release
