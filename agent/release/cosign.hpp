// SPDX-License-Identifier: Apache-2.0
// Signatures as cosign keeps them in a registry, beside the image.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "agent/release/signatures.hpp"
#include "lib/oci/pull.hpp"

namespace kua::release {

/// `sha256-<hex>.sig`: the tag of the signature image for a digest.
std::string signature_tag(const std::string& digest);

/// Passes when one of the digests (an index's, then its image's) has a signature image in the
/// repository of `pull`, in which one payload names that digest and one of the keys has signed the
/// payload. Throws Error{invalid} that says for each signature why it does not count, and what to
/// do; Error{transient}, Error{stopped}.
void check_cosign(oci::Pull& pull, const std::string& image,
                  const std::vector<std::string>& digests, const Signatures& signatures,
                  const std::stop_token& stop);

}  // namespace kua::release
