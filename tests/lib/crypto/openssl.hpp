// SPDX-License-Identifier: Apache-2.0
// Keys and signatures as people make them: by the program `openssl`.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "lib/base/format.hpp"
#include "lib/fs/process.hpp"
#include "tests/lib/fs/temp_folder.hpp"

namespace kua::crypto {

/// A folder of files for `openssl`; words of a command that begin with `@` are files in it.
class OpenSsl {
  public:
    [[nodiscard]] std::filesystem::path path(const std::string& name) const {
        return folder_ / name;
    }

    void write(const std::string& name, const std::string& content) const {
        std::ofstream(path(name), std::ios::binary) << content;
    }

    [[nodiscard]] std::string read(const std::string& name) const {
        std::ifstream file(path(name), std::ios::binary);
        return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    }

    /// Runs `openssl <words>`, which must succeed; what it prints.
    std::string operator()(const std::string& words) const {
        fs::Command command;
        command.program = "/usr/bin/openssl";
        for (const std::string& word : split(words, ' ')) {
            command.arguments.push_back(word.starts_with('@') ? path(word.substr(1)).string()
                                                              : word);
        }
        command.timeout = std::chrono::minutes(2);
        const auto finished = fs::run(command);
        EXPECT_TRUE(finished.succeeded()) << words << ": " << finished.errors;
        return finished.output;
    }

    /// Makes the key pair `name` and `name.pub`; `how`: `ed25519`, `ec:P-256`, `rsa:2048`.
    void make_key(const std::string& name, const std::string& how) const {
        const auto parts = split(how, ':');
        std::string options;
        if (parts.front() == "ec") {
            options = " -pkeyopt ec_paramgen_curve:" + parts.back();
        } else if (parts.size() > 1) {
            options = " -pkeyopt rsa_keygen_bits:" + parts.back();
        }
        (*this)("genpkey -algorithm " + parts.front() + " -out @" + name + options);
        (*this)("pkey -in @" + name + " -pubout -out @" + name + ".pub");
    }

    /// The raw signature over the file `data`; `digest` empty: of the data itself (Ed25519).
    std::string sign(const std::string& key, const std::string& data, const std::string& digest,
                     const std::string& options = "") const {
        if (digest.empty()) {
            (*this)("pkeyutl -sign -inkey @" + key + " -rawin -in @" + data + " -out @signature");
        } else {
            (*this)("dgst -" + digest + " -sign @" + key + options + " -out @signature @" + data);
        }
        return read("signature");
    }

  private:
    fs::TempFolder folder_;
};

}  // namespace kua::crypto
