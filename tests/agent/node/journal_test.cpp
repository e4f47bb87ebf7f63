// SPDX-License-Identifier: Apache-2.0
#include "agent/node/journal.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/agent/support.hpp"

namespace kua::node {
namespace {

using test::error_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

Record full_record() {
    Record record;
    record.plan = "server-plan";
    record.plan_uid = "uid";
    record.hash = "h";
    record.intent = {"i", "l"};
    record.lift_foreign = true;
    record.version = "v1.31.4+k3s1";
    record.from_version = "v1.30.4+k3s1";
    record.step = "swap";
    record.cordon = true;
    record.foreign_cordon = true;
    record.role = "server";
    record.unit = "k3s.service";
    record.binary = "/usr/local/bin/k3s";
    record.next = "/usr/local/bin/.k3s.k3s-upgrade-agent.next";
    record.previous = "/usr/local/bin/.k3s.k3s-upgrade-agent.previous";
    record.staged = "/var/lib/k3s-upgrade-agent/staging/v1.31.4+k3s1/k3s";
    record.sha256 = "abc";
    record.prepared = true;
    record.staged_images = "/var/lib/k3s-upgrade-agent/staging/v1.31.4+k3s1/images";
    record.images_sha256 = "def";
    record.images = "/var/lib/rancher/k3s/agent/images/k3s-airgap-images-amd64.tar";
    record.images_were_there = true;
    record.heartbeat = "2026-01-01T00:00:00Z";
    record.restarted = "2026-01-01T00:00:01Z";
    record.started = "2026-01-01T00:00:02Z";
    record.labels = {{"plan.upgrade.cattle.io/server-plan", "h"}};
    record.delay = std::chrono::seconds(90);
    record.completed = "2026-01-01T00:00:03Z";
    record.server = true;
    record.no_api_server = true;
    record.failure = "swap: no";
    record.undone = "drain: no";
    record.stays = true;
    record.datastore = "sqlite";
    record.data_dir = "/var/lib/rancher/k3s";
    record.copies = "/var/lib/k3s-upgrade-agent/datastore";
    record.snapshots = "/mnt/snapshots";
    record.api_server = "https://127.0.0.1:6443";
    record.copy = "/var/lib/k3s-upgrade-agent/datastore/2026-01-01T000000Z-v1.30.4+k3s1";
    record.stopped = true;
    record.last_lines = {"level=fatal"};
    return record;
}

class JournalTest : public ::testing::Test {
  protected:
    test::TempFolder folder_;
    Journal journal_{folder_.path()};
};

TEST_F(JournalTest, GivesBackWhatWasWritten) {
    EXPECT_FALSE(journal_.read());
    journal_.begin(full_record());
    const auto read = journal_.read();
    ASSERT_TRUE(read);
    EXPECT_EQ(to_json(*read), to_json(full_record()));
    const auto written = to_json(*read);
    for (const auto& [key, value] : written.items()) {
        EXPECT_TRUE(value.is_boolean() || value.is_number() || value != "") << key;
    }
}

TEST_F(JournalTest, HoldsTheLastRecordWhole) {
    auto record = full_record();
    journal_.begin(record);
    record.step = "restart";
    record.failure.clear();
    journal_.begin(record);
    EXPECT_EQ(journal_.read()->step, "restart");
    EXPECT_EQ(journal_.read()->failure, "");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()),
                            std::filesystem::directory_iterator()),
              1)
        << "no temporary file stays";
    struct stat info {};
    ASSERT_EQ(::stat(journal_.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0600U);
}

TEST_F(JournalTest, EndsAndMayEndAgain) {
    journal_.begin(full_record());
    journal_.end();
    EXPECT_FALSE(journal_.read());
    EXPECT_NO_THROW(journal_.end());
}

TEST_F(JournalTest, IsNotMisledByATemporaryFileOfACrash) {
    test::write_text(folder_ / "journal.json.tmp", "{");
    EXPECT_FALSE(journal_.read());
}

TEST_F(JournalTest, SaysWhatItCannotUnderstand) {
    struct Case {
        std::string text;
        std::string said;
    };
    const auto whole = to_json(full_record()).dump();
    auto newer = to_json(full_record());
    newer["format"] = 2;
    auto no_step = to_json(full_record());
    no_step.erase("step");
    auto odd_format = to_json(full_record());
    odd_format["format"] = "1";
    for (const auto& [text, said] : std::vector<Case>{
             {whole.substr(0, whole.size() / 2), "not JSON"},
             {"", "not JSON"},
             {"[]", "format: (missing)"},
             {"{}", "format: (missing)"},
             {odd_format.dump(), "format: (missing)"},
             {newer.dump(), "format: 2 is not 1"},
             {no_step.dump(), "plan or step is missing"},
         }) {
        test::write_text(journal_.path(), text);
        const auto error = error_of([&] { (void)journal_.read(); });
        EXPECT_EQ(error.kind(), ErrorKind::invalid) << text;
        EXPECT_THAT(error.what(), AllOf(HasSubstr(said), HasSubstr(journal_.path().string())))
            << text;
    }
}

TEST_F(JournalTest, WritesTextThatIsNoUtf8) {
    auto record = full_record();
    record.failure = "bytes \xff";
    EXPECT_NO_THROW(journal_.begin(record));
    EXPECT_THAT(journal_.read()->failure, HasSubstr("bytes "));
}

TEST(Journal, FailsWhereItCannotBeWritten) {
    const Journal journal("/proc/no/such/folder");
    EXPECT_EQ(error_of([&] { journal.begin(full_record()); }).kind(), ErrorKind::failed);
}

}  // namespace
}  // namespace kua::node
