// SPDX-License-Identifier: Apache-2.0
#include "lib/base/unique_fd.hpp"

#include <unistd.h>

namespace kua {

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
        reset();
        fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
}

void UniqueFd::reset() {
    if (fd_ >= 0) {
        // Never repeated on EINTR: on Linux the descriptor is gone then, and its number may be
        // another thread's already.
        ::close(std::exchange(fd_, -1));
    }
}

}  // namespace kua
