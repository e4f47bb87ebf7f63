// SPDX-License-Identifier: Apache-2.0
#include "lib/yaml/yaml.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "lib/base/error.hpp"
#include "lib/base/format.hpp"

namespace kua::yaml {

namespace {

constexpr std::size_t kMostBytes = 1U << 20U;
constexpr std::size_t kMostLevels = 100;
/// What aliases may repeat, and anchors may keep for it: by this a small text can't become a large
/// value ("billion laughs").
constexpr std::size_t kMostRepeated = 1U << 20U;

constexpr std::string_view kString = "tag:yaml.org,2002:str";
constexpr std::string_view kInteger = "tag:yaml.org,2002:int";
constexpr std::string_view kFloat = "tag:yaml.org,2002:float";
constexpr std::string_view kBoolean = "tag:yaml.org,2002:bool";
constexpr std::string_view kNull = "tag:yaml.org,2002:null";
constexpr std::string_view kMap = "tag:yaml.org,2002:map";
constexpr std::string_view kSequence = "tag:yaml.org,2002:seq";
constexpr std::string_view kMerge = "tag:yaml.org,2002:merge";

std::string place(std::string_view name, const YAML::Mark& mark) {
    return mark.is_null() ? std::string(name)
                          : format("{}:{}:{}", name, mark.line + 1, mark.column + 1);
}

bool all_digits(std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

/// The digits' number in `base`; absent when 64 bits don't hold it.
std::optional<Json> number_in_base(std::string_view digits, bool negative, int base) {
    const char* const end = digits.data() + digits.size();
    std::uint64_t value = 0;
    if (std::from_chars(digits.data(), end, value, base).ec != std::errc()) {
        return std::nullopt;
    }
    if (!negative) {
        return value;
    }
    static constexpr std::uint64_t kMostNegative = std::uint64_t{1} << 63U;
    if (value > kMostNegative) {
        return std::nullopt;
    }
    // 0 - value in unsigned arithmetic: right for the smallest number too, which has no positive
    // counterpart.
    return static_cast<std::int64_t>(0 - value);
}

/// The double that a decimal number's text stands for; absent when it is too large for one.
std::optional<Json> read_double(std::string_view text) {
    // from_chars knows no leading plus.
    if (text.starts_with('+')) {
        text.remove_prefix(1);
    }
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
        return std::nullopt;
    }
    return value;
}

/// YAML 1.2, 10.3.2: `[-+]? [0-9]+`, `0o[0-7]+`, `0x[0-9a-fA-F]+`.
std::optional<Json> read_integer(std::string_view text) {
    if (text.starts_with("0o") && text.size() > 2 &&
        text.find_first_not_of("01234567", 2) == std::string_view::npos) {
        return number_in_base(text.substr(2), false, 8);
    }
    if (text.starts_with("0x") && text.size() > 2 &&
        text.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string_view::npos) {
        return number_in_base(text.substr(2), false, 16);
    }
    const bool negative = text.starts_with('-');
    const std::string_view digits = negative || text.starts_with('+') ? text.substr(1) : text;
    if (!all_digits(digits) || (digits.size() > 1 && digits.front() == '0')) {
        return std::nullopt;
    }
    // What is too large for an integer becomes a float, as nlohmann::json does it.
    auto value = number_in_base(digits, negative, 10);
    return value ? value : read_double(text);
}

/// YAML 1.2, 10.3.2: `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`, with a
/// point or an exponent.
std::optional<Json> read_float(std::string_view text) {
    std::string_view rest = text;
    if (rest.starts_with('-') || rest.starts_with('+')) {
        rest.remove_prefix(1);
    }
    const std::size_t exponent_at = rest.find_first_of("eE");
    const std::string_view mantissa = rest.substr(0, exponent_at);
    const std::size_t point_at = mantissa.find('.');
    const std::string_view whole = mantissa.substr(0, point_at);
    const std::string_view fraction =
        point_at == std::string_view::npos ? std::string_view() : mantissa.substr(point_at + 1);
    const bool has_point = point_at != std::string_view::npos;
    const bool has_exponent = exponent_at != std::string_view::npos;
    if ((!has_point && !has_exponent) || (whole.empty() && fraction.empty()) ||
        (!whole.empty() && !all_digits(whole)) || (!fraction.empty() && !all_digits(fraction))) {
        return std::nullopt;
    }
    if (has_exponent) {
        std::string_view exponent = rest.substr(exponent_at + 1);
        if (exponent.starts_with('-') || exponent.starts_with('+')) {
            exponent.remove_prefix(1);
        }
        if (!all_digits(exponent)) {
            return std::nullopt;
        }
    }
    return read_double(text);
}

std::optional<Json> read_boolean(std::string_view text) {
    if (text == "true" || text == "True" || text == "TRUE") {
        return true;
    }
    if (text == "false" || text == "False" || text == "FALSE") {
        return false;
    }
    return std::nullopt;
}

bool is_null(std::string_view text) {
    return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
}

Json resolve_plain(const std::string& text) {
    if (is_null(text)) {
        return nullptr;
    }
    for (const auto& reader : {read_boolean, read_integer, read_float}) {
        if (auto value = reader(text)) {
            return std::move(*value);
        }
    }
    return text;
}

/// yaml-cpp 0.7 writes one byte of Latin-1 for the escapes `\N` (U+0085) and `\_` (U+00A0). The
/// text itself is UTF-8, so a byte that can't begin a character comes from one of them.
std::string with_escapes_in_utf8(const std::string& value) {
    if (is_utf8(value)) {
        return value;
    }
    constexpr std::size_t kLongest = 4;
    std::string result;
    for (std::string_view rest = value; !rest.empty();) {
        std::size_t length = 1;
        while (length <= kLongest && !is_utf8(rest.substr(0, length))) {
            ++length;
        }
        if (length > kLongest) {
            result += '\xC2';
            length = 1;
        }
        result += rest.substr(0, length);
        rest.remove_prefix(length);
    }
    return result;
}

/// A value on its way into the one that holds it.
struct Part {
    Json value;
    std::string text{};      ///< Of a scalar, as it is written: `1.10: x` has the key `1.10`.
    std::size_t weight = 1;  ///< Values in it, and bytes of text.
    std::size_t levels = 0;  ///< Of nesting, itself included; 0: a scalar.
    bool merge_key = false;  ///< A plain `<<`.
};

/// Builds the value from the parser's events. YAML::Load would hide repeated keys, and leaves merge
/// keys as they are.
class Builder final : public YAML::EventHandler {
  public:
    explicit Builder(std::string_view name) : name_(name) {}

    Json take() { return std::move(document_); }

    void OnDocumentStart(const YAML::Mark& mark) override {
        if (++documents_ > 1) {
            fail(mark, "more than one document");
        }
    }
    void OnDocumentEnd() override {}

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        const auto found = anchors_.find(anchor);
        if (found == anchors_.end()) {
            fail(mark, "an alias is within what it repeats");
        }
        const Part& part = found->second;
        check_repeated(mark, part.weight);
        if (levels_.size() + part.levels > kMostLevels) {
            fail(mark, format("nested deeper than {} levels", kMostLevels));
        }
        if (expects_key() && part.levels > 0) {
            fail(mark, "a key must be a scalar");
        }
        add(mark, part);
    }

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        add(mark, kept(mark, {nullptr}, anchor));
    }

    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  const std::string& written) override {
        Part part{nullptr, with_escapes_in_utf8(written), 1 + written.size()};
        part.merge_key =
            expects_key() && part.text == "<<" && (tag == "?" || tag.empty() || tag == kMerge);
        part.value = part.merge_key ? Json(part.text) : typed(mark, tag, part.text);
        add(mark, kept(mark, std::move(part), anchor));
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value /*style*/) override {
        open(mark, Json::array(), tag, kSequence, anchor);
    }
    void OnSequenceEnd() override { close(); }

    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value /*style*/) override {
        open(mark, Json::object(), tag, kMap, anchor);
    }
    void OnMapEnd() override { close(); }

  private:
    struct Level {
        Part part;
        YAML::Mark mark;
        YAML::anchor_t anchor;
        std::optional<Part> key{};  ///< Of a map: the key whose value comes next.
        Json merged = nullptr;      ///< What `<<` stands for.
    };

    [[noreturn]] void fail(const YAML::Mark& mark, std::string_view reason) const {
        throw Error(ErrorKind::invalid, format("{}: {}", place(name_, mark), reason));
    }

    Json typed(const YAML::Mark& mark, const std::string& tag, const std::string& value) const {
        if (tag == "?" || tag.empty()) {
            return resolve_plain(value);
        }
        if (tag == "!" || tag == kString) {
            return value;
        }
        std::optional<Json> result;
        if (tag == kInteger) {
            result = read_integer(value);
        } else if (tag == kFloat) {
            result = read_float(value);
            if (!result) {
                result = read_integer(value);
            }
        } else if (tag == kBoolean) {
            result = read_boolean(value);
        } else if (tag == kNull && is_null(value)) {
            return nullptr;
        }
        if (!result) {
            fail(mark, format("\"{}\" is not a {}", excerpt(value, 60), excerpt(tag, 60)));
        }
        return std::move(*result);
    }

    void check_repeated(const YAML::Mark& mark, std::size_t weight) {
        repeated_ += weight;
        if (repeated_ > kMostRepeated) {
            fail(mark, "its anchors and aliases repeat more than 1 MiB");
        }
    }

    /// The same, remembered for its aliases where it has an anchor.
    Part kept(const YAML::Mark& mark, Part part, YAML::anchor_t anchor) {
        if (anchor != 0) {
            check_repeated(mark, part.weight);
            anchors_[anchor] = part;
        }
        return part;
    }

    void open(const YAML::Mark& mark, Json empty, const std::string& tag, std::string_view expected,
              YAML::anchor_t anchor) {
        if (!tag.empty() && tag != "?" && tag != "!" && tag != expected) {
            fail(mark, format("unknown type {}", excerpt(tag, 60)));
        }
        if (levels_.size() >= kMostLevels) {
            fail(mark, format("nested deeper than {} levels", kMostLevels));
        }
        if (expects_key()) {
            fail(mark, "a key must be a scalar");
        }
        Part part{std::move(empty)};
        part.levels = 1;
        levels_.push_back({std::move(part), mark, anchor});
    }

    void close() {
        Level level = std::move(levels_.back());
        levels_.pop_back();
        if (level.merged.is_object()) {
            // insert() leaves what is there: a map's own keys win, wherever they stand.
            level.part.value.insert(level.merged.begin(), level.merged.end());
        }
        add(level.mark, kept(level.mark, std::move(level.part), level.anchor));
    }

    [[nodiscard]] bool expects_key() const {
        return !levels_.empty() && levels_.back().part.value.is_object() && !levels_.back().key;
    }

    void add(const YAML::Mark& mark, Part part) {
        if (levels_.empty()) {
            document_ = std::move(part.value);
            return;
        }
        Level& level = levels_.back();
        level.part.weight += part.weight;
        level.part.levels = std::max(level.part.levels, part.levels + 1);
        Json& value = level.part.value;
        if (value.is_array()) {
            value.push_back(std::move(part.value));
            return;
        }
        if (level.key) {
            if (level.key->merge_key) {
                merge(mark, level, part.value);
            } else {
                value[level.key->text] = std::move(part.value);
            }
            level.key.reset();
            return;
        }
        if (part.value.is_null()) {
            fail(mark, "a key must not be null");
        }
        const bool twice = part.merge_key ? !level.merged.is_null() : value.contains(part.text);
        if (twice) {
            fail(mark, format("key \"{}\" stands here twice", excerpt(part.text, 60)));
        }
        level.key = std::move(part);
    }

    /// YAML 1.1's merge key: a map, or a list of maps of which an earlier one wins.
    void merge(const YAML::Mark& mark, Level& level, const Json& what) const {
        level.merged = Json::object();
        const Json list = what.is_array() ? what : Json::array({what});
        for (const Json& one : list) {
            if (!one.is_object()) {
                fail(mark, "<< needs a mapping, or a list of mappings");
            }
            level.merged.insert(one.begin(), one.end());
        }
    }

    std::string_view name_;
    Json document_;
    std::vector<Level> levels_;
    std::map<YAML::anchor_t, Part> anchors_;  ///< Of what is complete.
    std::size_t repeated_ = 0;
    int documents_ = 0;
};

void check_bytes(std::string_view text, std::string_view name) {
    if (text.size() > kMostBytes) {
        throw Error(ErrorKind::invalid, format("{}: larger than 1 MiB", name));
    }
    // yaml-cpp would guess UTF-16 from zero bytes.
    if (!is_utf8(text) || text.find('\0') != std::string_view::npos) {
        throw Error(ErrorKind::invalid, format("{}: not UTF-8 text", name));
    }
}

[[noreturn]] void cannot_read(const std::filesystem::path& path, std::string_view why) {
    throw Error(ErrorKind::invalid, format("reading {}: {}", path.string(), why));
}

}  // namespace

Json parse(std::string_view text, std::string_view name) {
    check_bytes(text, name);
    std::string bounded(text);
    if (text.ends_with('\n')) {
        // yaml-cpp 0.7 takes the end of the text for a missing quote's, when a line break stands
        // before it. A comment is nothing to everything else.
        bounded += '#';
    }
    std::istringstream stream(bounded);
    Builder builder(name);
    try {
        YAML::Parser parser(stream);
        while (parser.HandleNextDocument(builder)) {
        }
    } catch (const YAML::Exception& error) {
        throw Error(ErrorKind::invalid,
                    format("{}: not YAML: {}", place(name, error.mark), excerpt(error.msg, 200)));
    }
    return builder.take();
}

Json parse_file(const std::filesystem::path& path) {
    std::error_code error;
    const auto type = std::filesystem::status(path, error).type();
    if (type == std::filesystem::file_type::directory) {
        cannot_read(path, "is a directory");
    }
    // Opening a pipe would wait for its writer.
    if (type == std::filesystem::file_type::fifo || type == std::filesystem::file_type::socket) {
        cannot_read(path, "not a regular file");
    }
    errno = 0;
    std::ifstream stream(path, std::ios::binary);
    if (!stream) {
        cannot_read(path, errno_text(errno));
    }
    std::string text(kMostBytes + 1, '\0');
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (stream.bad()) {
        cannot_read(path, errno_text(errno));
    }
    text.resize(static_cast<std::size_t>(stream.gcount()));
    return parse(text, path.string());
}

}  // namespace kua::yaml
