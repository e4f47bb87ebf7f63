// SPDX-License-Identifier: Apache-2.0
// One libarchive reader that is fed by a function of ours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <string_view>

#include "lib/archive/archive.hpp"

struct archive;

namespace kua::archive {

/// Takes its input in small pieces.
class Handle {
  public:
    /// How many bytes of input are taken at most.
    struct Most {
        /// For one call of the library: an endless header must not fill the memory.
        std::size_t in_a_call;
        std::uint64_t in_all;
    };
    Handle(Input input, Most most);
    ~Handle();
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    [[nodiscard]] ::archive* get() const { return archive_; }
    /// After the formats and filters were chosen; otherwise like `run`.
    int open();
    /// The result of `call`, a call of the library; throws what the input threw meanwhile, and
    /// Error{invalid} when it wanted more than `most`.
    template <typename Call>
    int run(Call&& call) {
        begin();
        const int result = call();
        finish();
        return result;
    }

    /// What the library says about its last failure, fit for a message.
    [[nodiscard]] std::string message() const;
    /// Whether the library has asked for more than there was. It asks only for what it needs: when
    /// it has failed, this is why.
    [[nodiscard]] bool ran_out() const { return at_end_; }

  private:
    static std::ptrdiff_t pull(::archive* archive, void* self, const void** buffer) noexcept;
    std::string_view next_piece();
    void begin() { taken_in_call_ = 0; }
    void finish();

    ::archive* archive_;
    Input input_;
    Most most_;
    std::string_view rest_;
    std::size_t taken_in_call_ = 0;
    std::uint64_t taken_ = 0;
    bool at_end_ = false;
    std::exception_ptr thrown_;
};

}  // namespace kua::archive
