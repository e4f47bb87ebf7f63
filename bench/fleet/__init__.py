# SPDX-License-Identifier: Apache-2.0
"""Many agents, as processes of this machine, against a real API server: `./dev bench fleet`."""
