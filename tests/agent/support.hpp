// SPDX-License-Identifier: Apache-2.0
// What the agent's tests share: files in a folder of their own, a kubeconfig, the Error that is
// thrown.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "lib/base/error.hpp"
#include "tests/lib/fs/temp_folder.hpp"

namespace kua::test {

using fs::TempFolder;

/// The Error that `action` throws; a test failure when it throws none.
template <typename Action>
Error error_of(Action&& action) {
    try {
        action();
    } catch (const Error& error) {
        return error;
    }
    ADD_FAILURE() << "no Error was thrown";
    return {ErrorKind::failed, ""};
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

inline std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// A kubeconfig for test::FakeApi, with a token, in `folder`.
inline std::filesystem::path write_kubeconfig(const TempFolder& folder) {
    const auto path = folder / "kubeconfig";
    write_text(path,
               "apiVersion: v1\nkind: Config\ncurrent-context: Default\n"
               "clusters: [{name: local, cluster: {server: 'https://127.0.0.1:6443'}}]\n"
               "contexts: [{name: Default, context: {cluster: local, user: user}}]\n"
               "users: [{name: user, user: {token: not-a-secret}}]\n");
    return path;
}

}  // namespace kua::test
