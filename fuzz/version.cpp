// SPDX-License-Identifier: Apache-2.0
// Versions: as Plans, channels, kubelets and `k3s --version` spell them; two, one on a line each.
#include "agent/plan/version.hpp"

#include "agent/plan/rules.hpp"
#include "fuzz/fuzz.hpp"

using namespace kua;
using fuzz::require;

namespace {

void check(std::string_view text, const plan::Version& version) {
    require(plan::parse_version(version.text()) == version, "a version's text reads as itself");
    require(plan::parse_version(version.tag()) == version, "a version's tag reads as itself");
    require(plan::munge(version.text()) == version.tag(), "the tag is the munged text");
    require(plan::parse_version(plan::munge(text)) == version,
            "both spellings are the same version");
    const auto output = format("k3s version {} (98262b5d)\ngo version go1.22.5\n", version.text());
    require(plan::parse_version_output(output) == version, "k3s's output is read");
    const auto plain = text.substr(text.starts_with('v') ? 1 : 0);
    require(version.text().substr(1) == plain || version.tag().substr(1) == plain,
            "nothing else is a version's spelling");
}

void check_order(const plan::Version& one, const plan::Version& other) {
    require((one <=> other) == (0 <=> (other <=> one)), "the order is the same from both sides");
    require((one == other) == ((one <=> other) == 0), "what is equal is neither less nor greater");
    for (const bool is_server : {true, false}) {
        const std::vector<plan::ServerVersion> servers = {{"server-1", other.text()}};
        plan::Move move{one, other, is_server, servers};
        const bool allowed = !plan::refusal(plan::Plan(), move);
        require(!allowed || other >= one, "a lower version is refused");
        require(!allowed || other.major != one.major || other.minor <= one.minor + 1,
                "a skipped minor is refused");
    }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto text = fuzz::text_of(data, size);
    (void)plan::parse_version_output(text);
    const auto newline = text.find('\n');
    const auto first = text.substr(0, newline);
    const auto second =
        newline == std::string_view::npos ? std::string_view() : text.substr(newline + 1);
    const auto one = plan::parse_version(first);
    const auto other = plan::parse_version(second);
    if (one) {
        check(first, *one);
    }
    if (one && other) {
        check_order(*one, *other);
    }
    (void)plan::older_build(plan::Plan(), std::string(first), std::string(second));
    return 0;
}
