// SPDX-License-Identifier: Apache-2.0
#include "agent/release/settings.hpp"

#include "agent/release/bundle_source.hpp"
#include "agent/release/http_source.hpp"
#include "agent/release/registry_source.hpp"

namespace kua::release {

namespace {

/// One overload for each kind of source.
struct Maker {
    const Means& means;
    Architecture architecture = host_architecture();

    std::unique_ptr<Source> operator()(const HttpSettings& settings) const {
        return std::make_unique<HttpSource>(means.web, means.clock, settings, architecture,
                                            means.signatures, means.most_rate);
    }
    std::unique_ptr<Source> operator()(const RegistrySettings& settings) const {
        return std::make_unique<RegistrySource>(means.registry_web, means.clock, settings,
                                                means.most_rate, architecture, means.signatures);
    }
    std::unique_ptr<Source> operator()(const BundleSettings& settings) const {
        return std::make_unique<BundleSource>(settings, architecture, means.signatures);
    }
};

}  // namespace

std::vector<std::unique_ptr<Source>> make_sources(const std::vector<SourceSettings>& settings,
                                                  const Means& means) {
    const Maker maker{means};
    std::vector<std::unique_ptr<Source>> sources;
    for (const auto& each : settings) {
        sources.push_back(std::visit(maker, each));
    }
    return sources;
}

}  // namespace kua::release
