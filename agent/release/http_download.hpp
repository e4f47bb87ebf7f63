// SPDX-License-Identifier: Apache-2.0
// One large file over HTTP into a sink: in one pass, and after a break only what is missing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "agent/release/source.hpp"
#include "lib/base/clock.hpp"
#include "lib/http/client.hpp"

namespace kua::release {

/// Throws unless the status is `expected`: Error{invalid} for what trying again won't mend,
/// Error{transient} for a server in trouble. `missing` says what 404 means, and what to do.
void check_status(const http::Response& answer, int expected, const std::string& missing);

/// Throws Error{invalid} when a body is not what the file is, byte for byte.
void check_not_encoded(const http::Response& answer);

/// The length an answer says it has; absent when it does not.
std::optional<std::uint64_t> content_length(const http::Response& answer);

class HttpDownload {
  public:
    struct File {
        http::Request request;  ///< Its most_body bounds the whole file.
        Part part;
        std::string name;     ///< For Sink::Beginning.
        std::string missing;  ///< For `check_status`.
    };
    /// `client`, `clock` and `sink` must live as long.
    HttpDownload(http::Client& client, Clock& clock, File file, Sink& sink);

    /// Goes on with what the sink has kept, and after every break (Range, If-Range), or begins
    /// anew where the file has changed or the server knows no ranges. Returns what Sink::finish
    /// does. Throws Error{transient} when several attempts in a row brought nothing new or six
    /// hours are over, Error as the client and the sink do.
    std::string run(const std::stop_token& stop);

    /// The same from the beginning, whatever is there.
    std::string run_anew(const std::stop_token& stop);

    /// Whether the bytes came in several answers: then the server need not be to blame for what is
    /// wrong with them.
    [[nodiscard]] bool in_pieces() const { return in_pieces_; }

  private:
    std::string repeat(const std::stop_token& stop);
    bool attempt(const std::stop_token& stop);
    std::unique_ptr<http::Answer> ask(const std::stop_token& stop);
    bool continues(const http::Response& head) const;
    void begin(std::uint64_t offset);
    void forget();
    [[nodiscard]] std::string amount() const;

    http::Client& client_;
    Clock& clock_;
    File file_;
    Sink& sink_;

    std::uint64_t have_ = 0;  ///< Bytes of this file in the sink.
    std::string validator_;   ///< What tells it from another file at the same URL.
    std::optional<std::uint64_t> total_;
    bool begun_ = false;  ///< The sink waits for the byte at `have_`.
    bool in_pieces_ = false;
    bool turned_away_ = false;  ///< The server has said when to come again; not before.
};

}  // namespace kua::release
