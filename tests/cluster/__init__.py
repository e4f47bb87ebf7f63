# SPDX-License-Identifier: Apache-2.0
"""A test cluster with a real control plane and real hosts: `Cluster` is the way in."""

from .audit import moment, now
from .cluster import Cluster
from .host import Host
from .processes import until

__all__ = ["Cluster", "Host", "moment", "now", "until"]
