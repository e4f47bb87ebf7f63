// SPDX-License-Identifier: Apache-2.0
#include "lib/base/error.hpp"

#include <cstring>

namespace kua {

std::string_view to_string(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::transient:
            return "transient";
        case ErrorKind::invalid:
            return "invalid";
        case ErrorKind::failed:
            return "failed";
        case ErrorKind::lost_lease:
            return "lost_lease";
        case ErrorKind::stopped:
            return "stopped";
    }
    return "unknown";
}

Error Error::within(std::string_view context) const {
    std::string message(context);
    message += ": ";
    message += what();
    return {kind_, message};
}

std::string errno_text(int number) {
    // Unlike strerror, the same in every locale and safe in threads.
    const char* const description = ::strerrordesc_np(number);
    if (description == nullptr) {
        return "error " + std::to_string(number);
    }
    std::string text = description;
    if (text.size() > 1 && text[0] >= 'A' && text[0] <= 'Z' && text[1] >= 'a' && text[1] <= 'z') {
        text[0] = static_cast<char>(text[0] - 'A' + 'a');
    }
    return text;
}

}  // namespace kua
