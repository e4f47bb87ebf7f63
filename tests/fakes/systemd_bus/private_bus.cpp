// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/systemd_bus/private_bus.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace kua::fakes {

namespace {

[[noreturn]] void become_daemon(const std::string& folder, int address_fd) {
    // Not left behind by a test that is killed.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(address_fd, STDOUT_FILENO);
    // It complains there each time that it may not raise its limit of descriptors.
    ::dup2(::open((folder + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600),
           STDERR_FILENO);
    const std::string file = "--config-file=" + folder + "/bus.conf";
    ::execlp("dbus-daemon", "dbus-daemon", file.c_str(), "--nofork", "--nopidfile",
             "--print-address=1", static_cast<char*>(nullptr));
    ::_exit(127);
}

}  // namespace

PrivateBus::PrivateBus() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kua-bus-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) {
        throw std::runtime_error("no temporary folder");
    }
    folder_ = pattern;
    std::ofstream(folder_ / "bus.conf")
        << R"(<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>)"
        << address() << R"(</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
  </policy>
</busconfig>
)";
    start();
}

PrivateBus::~PrivateBus() {
    stop();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
}

std::string PrivateBus::address() const { return "unix:path=" + (folder_ / "bus").string(); }

void PrivateBus::stop() {
    if (daemon_ > 0) {
        ::kill(daemon_, SIGKILL);
        ::waitpid(daemon_, nullptr, 0);
        daemon_ = -1;
        std::filesystem::remove(folder_ / "bus");
    }
}

void PrivateBus::start() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        throw std::runtime_error("no pipe");
    }
    const std::string folder = folder_.string();
    daemon_ = ::fork();
    if (daemon_ == 0) {
        become_daemon(folder, ends[1]);
    }
    ::close(ends[1]);
    // It prints its address when it listens.
    char first = 0;
    const bool listens = ::read(ends[0], &first, 1) == 1;
    ::close(ends[0]);
    if (!listens) {
        std::ifstream log(folder_ / "log");
        throw std::runtime_error("dbus-daemon did not start: " +
                                 std::string(std::istreambuf_iterator<char>(log), {}));
    }
}

}  // namespace kua::fakes
