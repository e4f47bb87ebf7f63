# SPDX-License-Identifier: Apache-2.0
"""What a release costs: `./dev bench release`."""
