// SPDX-License-Identifier: Apache-2.0
#include "agent/release/http_download.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "lib/base/format.hpp"
#include "tests/agent/release/fake_sink.hpp"
#include "tests/agent/support.hpp"
#include "tests/fakes/fake_clock.hpp"

namespace kua::release {
namespace {

using test::error_of;
using test::FakeClock;
using test::FakeSink;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kWhole = "0123456789";

/// A web server with one file, whose answers break off. Different from one: no network, one client.
class BreakingServer final : public http::Client {
  public:
    std::string content = kWhole;
    http::Headers validators{{"ETag", "\"one\""}};
    bool knows_ranges = true;
    bool tells_length = true;
    /// After how many bytes the next answers break off; none: whole.
    std::deque<std::size_t> breaks;
    /// Changes the next answer.
    std::function<void(http::Response&)> twist;
    /// `-`, or what Range said, for each request.
    std::vector<std::string> asked;

    http::Response send(const http::Request& /*request*/, std::stop_token /*stop*/) override {
        ADD_FAILURE() << "a file is not read in one piece";
        return {};
    }
    http::Response stream(const http::Request& request, const http::Consumer& /*consumer*/,
                          std::stop_token stop) override {
        return send(request, stop);
    }
    std::unique_ptr<http::Answer> open(const http::Request& request,
                                       std::stop_token /*stop*/) override {
        const auto range = request.headers.find("Range");
        asked.push_back(range == request.headers.end() ? "-" : range->second);
        http::Response head{200, validators, "", request.url};
        std::size_t from = 0;
        if (knows_ranges && range != request.headers.end() &&
            request.headers.at("If-Range") == validator()) {
            from = std::stoul(range->second.substr(range->second.find('=') + 1));
            if (from >= content.size()) {
                head.status = 416;
                from = content.size();
            } else {
                head.status = 206;
                head.headers["Content-Range"] =
                    format("bytes {}-{}/{}", from, content.size() - 1, content.size());
            }
        }
        if (tells_length) {
            head.headers["Content-Length"] = std::to_string(content.size() - from);
        }
        if (auto change = std::exchange(twist, nullptr)) {
            change(head);
        }
        std::optional<std::size_t> most;
        if (!breaks.empty()) {
            most = breaks.front();
            breaks.pop_front();
        }
        return std::make_unique<Part>(std::move(head), content.substr(from), most);
    }

  private:
    [[nodiscard]] std::string validator() const {
        const auto tag = validators.find("ETag");
        const auto date = validators.find("Last-Modified");
        return tag != validators.end() && tag->second.starts_with('"') ? tag->second
               : date != validators.end()                              ? date->second
                                                                       : "";
    }

    class Part final : public http::Answer {
      public:
        Part(http::Response head, std::string body, std::optional<std::size_t> most)
            : head_(std::move(head)), body_(std::move(body)), breaks_(most.has_value()) {
            if (most) body_.resize(std::min(body_.size(), *most));
        }
        [[nodiscard]] const http::Response& head() const override { return head_; }
        std::string_view read(const std::stop_token& /*stop*/) override {
            if (at_ == body_.size()) {
                if (breaks_) throw Error(ErrorKind::transient, "connection reset");
                return {};
            }
            return std::string_view(body_).substr(at_++, 1);
        }

      private:
        http::Response head_;
        std::string body_;
        bool breaks_;
        std::size_t at_ = 0;
    };
};

class HttpDownloadTest : public ::testing::Test {
  protected:
    HttpDownload download() {
        http::Request request;
        request.url = "https://mirror.example/k3s?secret";
        request.most_body = 1000;
        return {server_, clock_, {request, Part::binary, "k3s", "there is none"}, sink_};
    }

    std::string run() { return download().run({}); }
    [[nodiscard]] std::string written() const { return sink_.content.at(Part::binary); }

    BreakingServer server_;
    FakeClock clock_;
    FakeSink sink_;
    const std::string sum_ = crypto::hex_digest(crypto::Algorithm::sha256, kWhole);
};

TEST_F(HttpDownloadTest, AsksForWhatIsMissingAfterEachBreak) {
    server_.breaks = {3, 1, 4};
    EXPECT_EQ(run(), sum_);
    EXPECT_EQ(server_.asked, (std::vector<std::string>{"-", "bytes=3-", "bytes=4-", "bytes=8-"}));
    EXPECT_EQ(sink_.begun.size(), 1U) << "written in one pass";
    EXPECT_EQ(sink_.begun[0].size, kWhole.size());
    EXPECT_EQ(sink_.begun[0].validator, "\"one\"");
    EXPECT_EQ(clock_.waits(), 3);
}

TEST_F(HttpDownloadTest, GoesOnWithWhatAnotherProcessHasLeft) {
    sink_.content[Part::binary] = "0123";
    sink_.left[Part::binary] = {4, "\"one\""};
    EXPECT_EQ(run(), sum_);
    EXPECT_EQ(server_.asked, std::vector<std::string>{"bytes=4-"});
    EXPECT_EQ(sink_.begun.at(0).offset, 4U);
    EXPECT_EQ(sink_.begun.at(0).size, kWhole.size());
}

TEST_F(HttpDownloadTest, TakesADateWhereThereIsNoStrongTag) {
    for (const http::Headers& validators :
         {http::Headers{{"Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT"}},
          http::Headers{{"Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT"}, {"ETag", "W/\"x\""}}}) {
        server_.validators = validators;
        server_.breaks = {3};
        server_.asked.clear();
        EXPECT_EQ(run(), sum_);
        EXPECT_EQ(server_.asked, (std::vector<std::string>{"-", "bytes=3-"}));
        EXPECT_EQ(sink_.begun.back().validator, "Thu, 01 Jan 2026 00:00:00 GMT");
    }
}

TEST_F(HttpDownloadTest, BeginsAnewWithoutAValidator) {
    // Some bytes can't be sent back: no text, or more of it than a header takes.
    for (const http::Headers& validators :
         {http::Headers{}, http::Headers{{"ETag", "W/\"x\""}}, http::Headers{{"ETag", "\"\xff\""}},
          http::Headers{{"Last-Modified", "\xff"}},
          http::Headers{{"ETag", "\"" + std::string(100'000, 'x') + "\""}}}) {
        server_.validators = validators;
        server_.breaks = {3};
        server_.asked.clear();
        EXPECT_EQ(run(), sum_);
        EXPECT_EQ(written(), kWhole);
        EXPECT_EQ(server_.asked, (std::vector<std::string>{"-", "-"}));
    }
}

TEST_F(HttpDownloadTest, BeginsAnewWhenTheFileHasChanged) {
    sink_.content[Part::binary] = "abcd";
    sink_.left[Part::binary] = {4, "\"zero\""};
    EXPECT_EQ(run(), sum_);
    EXPECT_EQ(written(), kWhole);
    EXPECT_EQ(server_.asked, std::vector<std::string>{"bytes=4-"});
}

TEST_F(HttpDownloadTest, BeginsAnewWhereRangesAreNotKnown) {
    server_.knows_ranges = false;
    server_.breaks = {3, 5};
    EXPECT_EQ(run(), sum_);
    EXPECT_EQ(written(), kWhole);
}

TEST_F(HttpDownloadTest, BeginsAnewWhenThereIsNoSuchRange) {
    sink_.content[Part::binary] = "0123456789abc";
    sink_.left[Part::binary] = {13, "\"one\""};
    EXPECT_EQ(run(), sum_);
    EXPECT_EQ(written(), kWhole);
    EXPECT_EQ(server_.asked, (std::vector<std::string>{"bytes=13-", "-"}));
}

TEST_F(HttpDownloadTest, BelievesAPartialAnswerOnlyWhenItFitsExactly) {
    using Twist = std::function<void(http::Response&)>;
    const auto range = [](const std::string& text) {
        return [=](http::Response& head) { head.headers["Content-Range"] = text; };
    };
    for (const Twist& twist : std::vector<Twist>{
             range("bytes 2-9/10"), range("bytes 4-9/10"), range("bytes 3-8/10"),
             range("bytes 3-9/11"), range("bytes 3-9/*"), range("bytes 3-9"), range("3-9/10"),
             range("bytes -9/10"), range("bytes 3-9/10 "), range("items 3-9/10"),
             range("bytes 3-99999999999999999999999/10"), range(""),
             [](http::Response& head) { head.headers.erase("Content-Range"); },
             [](http::Response& head) { head.headers["Content-Length"] = "6"; },
             [](http::Response& head) { head.headers["ETag"] = "\"two\""; }}) {
        sink_.content[Part::binary] = "012";
        sink_.left[Part::binary] = {3, "\"one\""};
        server_.asked.clear();
        server_.twist = twist;
        EXPECT_EQ(run(), sum_);
        EXPECT_EQ(written(), kWhole);
        EXPECT_EQ(server_.asked, (std::vector<std::string>{"bytes=3-", "-"}));
    }
}

TEST_F(HttpDownloadTest, TakesNoPartialAnswerThatNobodyAskedFor) {
    server_.twist = [](http::Response& head) {
        head.status = 206;
        head.headers["Content-Range"] = "bytes 0-9/10";
    };
    const auto error = error_of([&] { run(); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_THAT(error.what(), HasSubstr("https://mirror.example/k3s answers 206"));
}

TEST_F(HttpDownloadTest, GivesUpAfterAttemptsThatBringNothing) {
    server_.breaks = {3, 0, 0, 2, 0, 0, 0, 0, 0, 0};
    const auto error = error_of([&] { run(); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("connection reset"), HasSubstr("5 of 10 bytes"),
                                    HasSubstr("5 attempts brought no more")));
    EXPECT_EQ(server_.asked.size(), 8U);
}

TEST_F(HttpDownloadTest, GivesUpOnAServerThatAlwaysBreaksOffAtTheSamePlace) {
    server_.knows_ranges = false;
    server_.breaks = {5, 5, 5, 5, 5, 5, 5, 5, 5};
    EXPECT_EQ(error_of([&] { run(); }).kind(), ErrorKind::transient);
    EXPECT_EQ(server_.asked.size(), 5U);
}

TEST_F(HttpDownloadTest, GivesUpOnAServerThatDripsForEver) {
    server_.breaks = {1, 1, 1, 1, 1, 1, 1, 1};
    clock_.on_wait([this] { clock_.advance(std::chrono::hours(2)); });
    const auto error = error_of([&] { run(); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), HasSubstr("4 of 10 bytes are here; too slow"));
    EXPECT_EQ(server_.asked.size(), 4U);
}

TEST_F(HttpDownloadTest, TriesAServerInTroubleAgain) {
    server_.twist = [](http::Response& head) { head.status = 503; };
    EXPECT_EQ(run(), sum_);
    EXPECT_EQ(clock_.waits(), 1);
}

TEST_F(HttpDownloadTest, DoesNotComeBackBeforeItIsTold) {
    server_.twist = [](http::Response& head) {
        head.status = 503;
        head.headers["Retry-After"] = "3600";
    };
    const auto error = error_of([&] { run(); });
    EXPECT_EQ(error.kind(), ErrorKind::transient);
    EXPECT_THAT(error.what(), HasSubstr("come again in 1h"));
    EXPECT_EQ(server_.asked.size(), 1U);
}

TEST_F(HttpDownloadTest, EndsWhenStoppedBetweenAttempts) {
    server_.breaks = {3};
    std::stop_source stop;
    clock_.on_wait([&] { stop.request_stop(); });
    EXPECT_EQ(error_of([&] { download().run(stop.get_token()); }).kind(), ErrorKind::stopped);
}

TEST_F(HttpDownloadTest, SaysWhatIsMissing) {
    server_.twist = [](http::Response& head) { head.status = 404; };
    const auto error = error_of([&] { run(); });
    EXPECT_EQ(error.kind(), ErrorKind::invalid);
    EXPECT_STREQ(error.what(), "https://mirror.example/k3s answers 404: there is none");
}

}  // namespace
}  // namespace kua::release
