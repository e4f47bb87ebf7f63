// SPDX-License-Identifier: Apache-2.0
#include "agent/release/elf.hpp"

#include <sys/utsname.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <string>

#include "agent/release/source.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::release {

namespace {

// By hand instead of <elf.h>'s structs: the file may be for another class than ours.
constexpr std::size_t kHeader32 = 52;
constexpr std::size_t kHeader64 = 64;
constexpr std::string_view kMagic =
    "\x7f"
    "ELF";

struct Header {
    bool is_64_bit = false;
    std::uint16_t type = 0;
    std::uint16_t machine = 0;
    std::uint32_t flags = 0;
};

[[noreturn]] void refuse(const std::filesystem::path& path, std::string_view why) {
    throw Error(ErrorKind::invalid, format("{} {}", path.string(), why));
}

std::uint32_t little_endian(std::string_view bytes, std::size_t at, std::size_t size) {
    std::uint32_t value = 0;
    for (std::size_t index = size; index > 0; --index) {
        value = (value << 8U) | static_cast<unsigned char>(bytes[at + index - 1]);
    }
    return value;
}

Header read_header(const std::filesystem::path& path) {
    std::array<char, kHeader64> buffer{};
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        throw Error(ErrorKind::failed, format("reading {}: {}", path.string(), errno_text(errno)));
    }
    file.read(buffer.data(), buffer.size());
    if (file.bad()) {
        throw Error(ErrorKind::failed, format("reading {}: {}", path.string(), errno_text(errno)));
    }
    const std::string_view bytes(buffer.data(), static_cast<std::size_t>(file.gcount()));
    if (!bytes.starts_with(kMagic)) {
        refuse(path, format("is no ELF program: it begins with \"{}\"", excerpt(bytes, 20)));
    }
    const bool is_64_bit = bytes.size() > 4 && bytes[4] == 2;
    if (bytes.size() < (is_64_bit ? kHeader64 : kHeader32)) {
        refuse(path, "is no ELF program: it ends within its header");
    }
    if ((!is_64_bit && bytes[4] != 1) || bytes[6] != 1) {
        refuse(path, "is no ELF program: its class or version is unknown");
    }
    // Every machine that k3s is released for is little-endian.
    if (bytes[5] != 1) {
        refuse(path, "is built for a big-endian machine, which this host is not");
    }
    Header header;
    header.is_64_bit = is_64_bit;
    header.type = static_cast<std::uint16_t>(little_endian(bytes, 16, 2));
    header.machine = static_cast<std::uint16_t>(little_endian(bytes, 18, 2));
    header.flags = little_endian(bytes, is_64_bit ? 48 : 36, 4);
    return header;
}

struct Known {
    std::uint16_t number;
    bool is_64_bit;
    std::string_view name;
    std::string_view oci;  ///< Architecture::oci; empty for what k3s is not released for.
};
constexpr std::array<Known, 9> kKnown{{{62, true, "x86_64", "amd64"},
                                       {183, true, "aarch64", "arm64"},
                                       {40, false, "32-bit ARM", "arm"},
                                       {3, false, "i386", ""},
                                       {62, false, "x32", ""},
                                       {21, true, "ppc64", ""},
                                       {22, true, "s390x", ""},
                                       {243, true, "riscv64", ""},
                                       {258, true, "loongarch64", ""}}};

const Known* known(const Header& header) {
    for (const auto& one : kKnown) {
        if (one.number == header.machine && one.is_64_bit == header.is_64_bit) {
            return &one;
        }
    }
    return nullptr;
}

}  // namespace

void check_elf(const std::filesystem::path& path, std::string_view machine) {
    const auto wanted = architecture(machine).oci;
    const auto header = read_header(path);
    const auto* const found = known(header);
    if (found == nullptr || found->oci != wanted) {
        refuse(path, format("is built for {}, this host is {}",
                            found != nullptr ? std::string(found->name)
                                             : format("machine {}", header.machine),
                            machine));
    }
    constexpr std::uint16_t kProgram = 2;
    constexpr std::uint16_t kMovable = 3;  // Programs that may lie anywhere, too.
    if (header.type != kProgram && header.type != kMovable) {
        refuse(path, format("is an ELF file, but no program (its type is {})", header.type));
    }
    if (wanted == "arm") {
        constexpr std::uint32_t kAbiMask = 0xFF000000U;
        constexpr std::uint32_t kAbi5 = 0x05000000U;
        // Go's own linker sets neither float flag in what is hard-float: only `soft` tells.
        constexpr std::uint32_t kSoftFloat = 0x00000200U;
        if ((header.flags & kAbiMask) != kAbi5 || (header.flags & kSoftFloat) != 0) {
            refuse(path, format("is built for 32-bit ARM without hard float (EABI 5), this host "
                                "is {}",
                                machine));
        }
    }
}

void check_elf(const std::filesystem::path& path) {
    utsname names{};
    uname(&names);
    check_elf(path, names.machine);
}

}  // namespace kua::release
