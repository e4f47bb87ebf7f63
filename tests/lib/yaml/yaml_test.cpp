// SPDX-License-Identifier: Apache-2.0
#include "lib/yaml/yaml.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "lib/base/error.hpp"

namespace kua::yaml {
namespace {

std::string invalid_message(std::string_view text) {
    try {
        parse(text, "config.yaml");
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        return error.what();
    }
    ADD_FAILURE() << "nothing was thrown for " << text.substr(0, 60);
    return {};
}

TEST(Yaml, ReadsWhatAConfigurationIsMadeOf) {
    const Json value = parse(R"(
# a comment
name: server-1
list:
  - 1
  - [a, "b", 'c']
  - {x: y}
text: |
  two
  lines
folded: >-
  one
  line
empty:
)",
                             "x");
    EXPECT_EQ(value, Json::parse(R"({"name": "server-1", "list": [1, ["a", "b", "c"], {"x": "y"}],
        "text": "two\nlines\n", "folded": "one line", "empty": null})"));
}

TEST(Yaml, GivesEscapesInUtf8) {
    EXPECT_EQ(parse(R"("é\N€\_\_\x85\u00a0\U0001F600😀\N")", "x"),
              "é\xC2\x85€\xC2\xA0\xC2\xA0\xC2\x85\xC2\xA0😀😀\xC2\x85");
    EXPECT_EQ(parse(R"({"key\_": 1})", "x"), (Json{{"key\xC2\xA0", 1}}));
}

TEST(Yaml, TypesPlainScalarsByTheCoreSchema) {
    const struct {
        const char* text;
        Json expected;
    } cases[] = {
        {"~", nullptr},
        {"null", nullptr},
        {"NULL", nullptr},
        {"nULL", "nULL"},
        {"true", true},
        {"False", false},
        {"tRUE", "tRUE"},
        {"yes", "yes"},
        {"no", "no"},
        {"on", "on"},
        {"y", "y"},
        {"0", 0},
        {"-5", -5},
        {"+5", 5},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"18446744073709551615", UINT64_MAX},
        {"18446744073709551616", 18446744073709551616.0},
        {"-9223372036854775809", -9223372036854775808.0},
        {"0x1F", 31},
        {"0o17", 15},
        {"0755", "0755"},
        {"00", "00"},
        {"-01", "-01"},
        {"0x", "0x"},
        {"0b1", "0b1"},
        {"1_000", "1_000"},
        {"12:30:45", "12:30:45"},
        {"2026-11-23", "2026-11-23"},
        {"1.5", 1.5},
        {"-.5", -0.5},
        {"+1.5", 1.5},
        {"5.", 5.0},
        {"1e3", 1000.0},
        {"1.5E-3", 0.0015},
        {"1e", "1e"},
        {"e3", "e3"},
        {".", "."},
        {"-", Json::array({nullptr})},
        {"1.2.3", "1.2.3"},
        {"v1.30.4+k3s1", "v1.30.4+k3s1"},
        {"1e999", "1e999"},
        {".inf", ".inf"},
        {"-.INF", "-.INF"},
        {".nan", ".nan"},
        {"inf", "inf"},
        {"nan", "nan"},
        {"90s", "90s"},
        {"\"5\"", "5"},
        {"'true'", "true"},
        {"\"\"", ""},
        {"!!str 5", "5"},
        {"18446744073709551616000000", 18446744073709551616000000.0},
        {"0xFFFFFFFFFFFFFFFFF", "0xFFFFFFFFFFFFFFFFF"},
        {"! 5", "5"},
        {"!!int 5", 5},
        {"!!int \"5\"", 5},
        {"!!float 5", 5},
        {"!!bool true", true},
        {"!!null ~", nullptr},
    };
    for (const auto& test : cases) {
        const Json value = parse(test.text, "x");
        EXPECT_EQ(value, test.expected) << test.text;
        EXPECT_EQ(value.type_name(), std::string(test.expected.type_name())) << test.text;
    }
    EXPECT_TRUE(parse("5", "x").is_number_integer());
    EXPECT_TRUE(parse("5.0", "x").is_number_float());
}

TEST(Yaml, KeepsKeysAsTheyAreWritten) {
    const Json value = parse("1.10: a\n5: b\ntrue: c\n0x10: d\n\"~\": e\n\"<<\": f\n", "x");
    EXPECT_EQ(
        value,
        Json::parse(R"({"1.10": "a", "5": "b", "true": "c", "0x10": "d", "~": "e", "<<": "f"})"));
}

TEST(Yaml, CallsAnEmptyDocumentNull) {
    for (const char* const text :
         {"", " \n", "# only a comment\n", "---\n", "---\n...\n", "\n\n"}) {
        EXPECT_TRUE(parse(text, "x").is_null()) << text;
    }
}

TEST(Yaml, SaysWhereItIsWrong) {
    const struct {
        const char* text;
        const char* begin;
    } cases[] = {
        {"a: 1\nb: [1, 2\n", "config.yaml:"},
        {"a: b: c", "config.yaml:1:5: not YAML: "},
        {"\tx: 1", "config.yaml:1:"},
        {"a: 1\na: 2\n", "config.yaml:2:1: key \"a\" stands here twice"},
        {"x:\n  1: a\n  1: b\n", "config.yaml:3:3: key \"1\" stands here twice"},
        {"a: 1\n---\nb: 2\n", "config.yaml:2:1: more than one document"},
        {"? [a]\n: 1\n", "config.yaml:1:3: a key must be a scalar"},
        {"{a: 1}: 2\n", "config.yaml:1:"},
        {"~: 1\n", "config.yaml:1:1: a key must not be null"},
        {"a: *x\n", "config.yaml:1:"},
        {"a: &x {b: *x}\n", "config.yaml:1:11: an alias is within what it repeats"},
        {"a: &x [b]\n*x : c\n", "config.yaml:2:1: a key must be a scalar"},
        {"a: &x ~\n*x : c\n", "config.yaml:2:1: a key must not be null"},
        {"a: &x b\n*x : c\nb: d\n", "config.yaml:3:1: key \"b\" stands here twice"},
        {"<<: 1\n", "config.yaml:1:5: << needs a mapping"},
        {"<<: [{}, 1]\n", "config.yaml:1:5: << needs a mapping"},
        {"<<: {}\n<<: {}\n", "config.yaml:2:1: key \"<<\" stands here twice"},
        {"a: !!int x\n", "config.yaml:1:4: \"x\" is not a tag:yaml.org,2002:int"},
        {"a: !!binary aGVsbG8=\n", "config.yaml:1:4: "},
        {"a: !mine {b: c}\n", "config.yaml:1:4: unknown type !mine"},
        {"a: !!seq {b: c}\n", "config.yaml:1:4: unknown type"},
        {"a: \xff\n", "config.yaml: not UTF-8 text"},
        {"a: 'unfinished\n", "config.yaml:"},
        {"%YAML 2.0\n---\na\n", "config.yaml:1:"},
        {"a: \"\\q\"\n", "config.yaml:1:"},
        {"]", "config.yaml:1:1: not YAML: "},
    };
    for (const auto& test : cases) {
        const std::string message = invalid_message(test.text);
        EXPECT_TRUE(message.starts_with(test.begin)) << test.text << " -> " << message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
    invalid_message(std::string_view("a\0b", 3));
}

TEST(Yaml, RepeatsAtAnAliasWhatHasTheAnchor) {
    const struct {
        const char* text;
        const char* expected;
    } cases[] = {
        {"a: &x 1\nb: *x\n", R"({"a": 1, "b": 1})"},
        {"a: &x\nb: *x\n", R"({"a": null, "b": null})"},
        {"a: &x \"1.10\"\nb: [*x, *x]\n", R"({"a": "1.10", "b": ["1.10", "1.10"]})"},
        {"a: &x {b: &y [1, {c: d}], e: *y}\nf: *x\n",
         R"({"a": {"b": [1, {"c": "d"}], "e": [1, {"c": "d"}]},
             "f": {"b": [1, {"c": "d"}], "e": [1, {"c": "d"}]}})"},
        {"a: &x 1\nb: &x 2\nc: *x\n", R"({"a": 1, "b": 2, "c": 2})"},
        {"&k 1.10: a\nb: {*k : c}\n", R"({"1.10": "a", "b": {"1.10": "c"}})"},
        {"&x {a: 1}\n", R"({"a": 1})"},
    };
    for (const auto& test : cases) {
        EXPECT_EQ(parse(test.text, "x"), Json::parse(test.expected)) << test.text;
    }
}

TEST(Yaml, MergesWhatStandsBehindTheMergeKey) {
    const struct {
        const char* text;
        const char* expected;
    } cases[] = {
        {"x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\n",
         R"({"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}})"},
        {"x: &x {a: 1, b: 2}\ny:\n  b: 3\n  <<: *x\n",
         R"({"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}})"},
        {"<<: [{a: 1}, {a: 2, b: 2}]\nc: 3\n", R"({"a": 1, "b": 2, "c": 3})"},
        {"x: &x {a: {b: 1}}\ny: &y {<<: *x, c: 2}\nz: {<<: *y, a: {d: 3}}\n",
         R"({"x": {"a": {"b": 1}}, "y": {"a": {"b": 1}, "c": 2}, "z": {"a": {"d": 3}, "c": 2}})"},
        {"!!merge <<: {a: 1}\n", R"({"a": 1})"},
        {"<<: []\n", "{}"},
        {"'<<': {a: 1}\n", R"({"<<": {"a": 1}})"},
        {"a: <<\n", R"({"a": "<<"})"},
    };
    for (const auto& test : cases) {
        EXPECT_EQ(parse(test.text, "x"), Json::parse(test.expected)) << test.text;
    }
}

TEST(Yaml, BoundsWhatAliasesRepeat) {
    std::string laughs = "a0: &a0 [ha, ha, ha]\n";
    for (int number = 1; number < 30; ++number) {
        const std::string below = "*a" + std::to_string(number - 1);
        laughs += "a" + std::to_string(number) + ": &a" + std::to_string(number) + " [" + below +
                  ", " + below + "]\n";
    }
    EXPECT_NE(invalid_message(laughs).find("aliases repeat more than 1 MiB"), std::string::npos);
    // Each of these anchors has all that stands within the others.
    std::string russian_dolls;
    for (int number = 0; number < 90; ++number) {
        russian_dolls += "&a" + std::to_string(number) + " [";
    }
    russian_dolls += std::string(100'000, 'a') + std::string(90, ']');
    EXPECT_NE(invalid_message(russian_dolls).find("more than 1 MiB"), std::string::npos);
    std::string merges = "a0: &a0 {x: " + std::string(1000, 'a') + "}\nb:\n";
    for (int number = 0; number < 2000; ++number) {
        merges += "- <<: *a0\n";
    }
    EXPECT_NE(invalid_message(merges).find("more than 1 MiB"), std::string::npos);
    std::string deeper = "a0: &a0 [ha]\n";
    for (int number = 1; number < 200; ++number) {
        deeper += "a" + std::to_string(number) + ": &a" + std::to_string(number) + " [*a" +
                  std::to_string(number - 1) + "]\n";
    }
    EXPECT_NE(invalid_message(deeper).find("100 levels"), std::string::npos);
}

TEST(Yaml, BoundsDepthAndSize) {
    EXPECT_NO_THROW(parse(std::string(100, '[') + std::string(100, ']'), "x"));
    EXPECT_NE(invalid_message(std::string(101, '[') + std::string(101, ']')).find("100 levels"),
              std::string::npos);
    invalid_message(std::string(1U << 20U, '['));
    invalid_message(std::string(1U << 20U, '{'));
    std::string dashes;
    for (int level = 0; level < 200'000; ++level) {
        dashes += "- ";
    }
    EXPECT_NE(invalid_message(dashes).find("100 levels"), std::string::npos);
    EXPECT_NO_THROW(parse("\"" + std::string((1U << 20U) - 2, 'a') + "\"", "x"));
    EXPECT_NE(invalid_message(std::string((1U << 20U) + 1, 'a')).find("1 MiB"), std::string::npos);
}

class YamlFile : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "yaml-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    [[nodiscard]] static std::string message_of(const std::filesystem::path& path) {
        try {
            parse_file(path);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid);
            return error.what();
        }
        ADD_FAILURE() << "nothing was thrown";
        return {};
    }

    std::filesystem::path folder_;
};

TEST_F(YamlFile, IsRead) {
    std::ofstream(folder_ / "config.yaml") << "a: 1\n";
    EXPECT_EQ(parse_file(folder_ / "config.yaml"), Json::parse(R"({"a": 1})"));
}

TEST_F(YamlFile, SaysWhyItCanNotBeRead) {
    const std::string missing = (folder_ / "missing.yaml").string();
    EXPECT_EQ(message_of(missing), "reading " + missing + ": no such file or directory");
    EXPECT_EQ(message_of(folder_), "reading " + folder_.string() + ": is a directory");
    ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
    EXPECT_EQ(message_of(folder_ / "pipe"),
              "reading " + (folder_ / "pipe").string() + ": not a regular file");
}

TEST_F(YamlFile, NamesItselfWhenItsContentIsWrong) {
    const auto path = folder_ / "config.yaml";
    std::ofstream(path) << "a: [\n";
    EXPECT_TRUE(message_of(path).starts_with(path.string() + ":"));
}

TEST_F(YamlFile, MayNotBeEndless) {
    EXPECT_EQ(message_of("/dev/zero"), "/dev/zero: larger than 1 MiB");
}

}  // namespace
}  // namespace kua::yaml
