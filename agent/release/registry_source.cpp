// SPDX-License-Identifier: Apache-2.0
#include "agent/release/registry_source.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "agent/release/cosign.hpp"
#include "agent/release/layer_search.hpp"
#include "lib/archive/archive.hpp"
#include "lib/base/error.hpp"
#include "lib/base/format.hpp"
#include "lib/log/log.hpp"
#include "lib/oci/registries.hpp"

namespace kua::release {

namespace {

constexpr std::array<std::string_view, 6> kLayerTypes{
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd"};
constexpr std::size_t kMostLayers = 127;              // Docker's own limit.
constexpr std::uint64_t kMostImage = 4ULL << 30U;     // Compressed; k3s-upgrade is some 100 MB.
constexpr std::uint64_t kMostUnpacked = 2ULL << 30U;  // One layer.

void check_layers(const oci::Manifest& manifest, const std::string& image) {
    if (manifest.layers.size() > kMostLayers) {
        throw Error(ErrorKind::invalid, format("{}: has {} layers, more than {}", image,
                                               manifest.layers.size(), kMostLayers));
    }
    std::uint64_t sum = 0;
    for (const auto& layer : manifest.layers) {
        if (std::find(kLayerTypes.begin(), kLayerTypes.end(), layer.media_type) ==
            kLayerTypes.end()) {
            throw Error(ErrorKind::invalid,
                        format("{}: layer {} is of type '{}', which is no image's file system",
                               image, layer.digest, excerpt(layer.media_type, 100)));
        }
        sum += layer.size;
    }
    if (sum > kMostImage) {
        throw Error(ErrorKind::invalid,
                    format("{}: its layers are {} in sum, more than any k3s needs", image,
                           human_bytes(sum)));
    }
}

/// Reads the whole blob, whatever is in it; its digest is right when this returns.
LayerSays search_once(oci::Blob& blob, const std::string& name, const Taker& taker,
                      const std::stop_token& stop) {
    std::optional<Error> broken;
    LayerSays says = LayerSays::nothing;
    try {
        archive::Limits limits;
        limits.bytes = kMostUnpacked;
        archive::Reader layer([&blob, &stop] { return blob.read(stop); }, limits, name);
        says = search_layer(layer, name, taker);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::invalid || blob.may_go_elsewhere()) throw;
        broken = error;
    }
    // Only then it is known whether the image is broken, or an endpoint lies about it.
    while (!blob.read(stop).empty()) {
    }
    if (broken) throw Error(*broken);
    return says;
}

LayerSays search(oci::Pull& pull, const oci::Descriptor& layer, const std::string& name,
                 const Taker& taker, const std::stop_token& stop) {
    while (true) {
        const auto blob = pull.blob(layer);
        try {
            return search_once(*blob, name, taker, stop);
        } catch (const Error&) {
            if (!blob->may_go_elsewhere()) throw;
        }
    }
}

}  // namespace

oci::Reference image_of(const Wanted& wanted) {
    auto image = with_context("spec.upgrade.image",
                              [&wanted] { return oci::parse_reference(wanted.image); });
    if (image.tag.empty() && image.digest.empty()) image.tag = wanted.version.tag();
    return image;
}

RegistrySource::RegistrySource(http::Client& client, Clock& clock, RegistrySettings settings,
                               std::uint64_t most_rate, Architecture architecture,
                               const Signatures& signatures)
    : client_(client),
      clock_(clock),
      settings_(std::move(settings)),
      most_rate_(most_rate),
      architecture_(std::move(architecture)),
      signatures_(signatures) {}

std::string RegistrySource::name() const {
    return format("registry ({})", settings_.file().string());
}

std::string RegistrySource::origin(const Wanted& wanted) const {
    // As it is written: one that is no reference is refused by whoever fetches it.
    return format("{}, {}", name(), wanted.image);
}

std::optional<std::string> RegistrySource::checksum(const Wanted& /*wanted*/,
                                                    std::stop_token /*stop*/) {
    return std::nullopt;
}

void RegistrySource::warn_of(const std::vector<std::string>& problems) {
    for (const auto& problem : problems) {
        if (warned_of_.insert(problem).second) log::warning(problem);
    }
}

oci::Manifest RegistrySource::resolve(oci::Pull& pull, const oci::Reference& image,
                                      const std::stop_token& stop) const {
    const std::string text = image.text();
    const auto manifest_at = [&](const std::string& reference) {
        auto found = pull.manifest(reference, stop);
        if (!found) {
            throw Error(ErrorKind::invalid,
                        format("{}: there is no {} in any registry that was asked; correct the "
                               "Plan's version or image, or fill the registry",
                               text, reference));
        }
        return *std::move(found);
    };
    auto found = manifest_at(image.digest.empty() ? image.tag : image.digest);
    std::vector<std::string> digests{found.digest};
    if (oci::is_index(found.body, found.media_type, text)) {
        found = manifest_at(oci::pick_platform(found.body, architecture_.oci, text));
        digests.push_back(found.digest);
        if (oci::is_index(found.body, found.media_type, text)) {
            throw Error(ErrorKind::invalid, text + ": is an index in an index");
        }
    }
    if (signatures_.required()) check_cosign(pull, text, digests, signatures_, stop);
    auto manifest = oci::parse_manifest(found.body, text);
    check_layers(manifest, text);
    log::info("pulling the image",
              {{"image", text}, {"digest", found.digest}, {"endpoint", found.endpoint}});
    return manifest;
}

Fetched RegistrySource::fetch(const Wanted& wanted, Sink& sink, std::stop_token stop) {
    const auto image = image_of(wanted);
    const auto registries = oci::Registries::read(settings_.file());
    warn_of(registries.problems());
    oci::Pull::Settings settings{image.text(), most_rate_,
                                 [](const std::string& message) { log::warning(message); }};
    oci::Pull pull(client_, clock_, registries.endpoints(image, settings_.default_endpoint),
                   std::move(settings));
    const auto manifest = resolve(pull, image, stop);
    const Taker taker{[&](std::uint64_t size) {
                          sink.begin(Part::binary, {architecture_.binary, 0, size});
                      },
                      [&](std::string_view data) { sink.write(data); }};
    const std::vector<oci::Descriptor> top_down(manifest.layers.rbegin(), manifest.layers.rend());
    for (const auto& layer : top_down) {
        const auto name = format("{}, layer {}", image.text(), layer.digest);
        const auto says = search(pull, layer, name, taker, stop);
        if (says == LayerSays::here) return {sink.finish()};
        if (says == LayerSays::gone) break;
    }
    throw Error(
        ErrorKind::invalid,
        format("{}: holds no opt/k3s; is it an image made by rancher/k3s-upgrade?", image.text()));
}

}  // namespace kua::release
