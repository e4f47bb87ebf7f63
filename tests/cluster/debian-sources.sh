#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints this machine's own Debian package sources as one-line entries, `deb` and `deb-src`.
#
# The machine's configuration may be in either of apt's two formats, name a mirror, and hold other
# vendors' repositories beside Debian's; apt itself reads all that for us, and only Debian's are kept.
set -eu

. /etc/os-release
key=/usr/share/keyrings/debian-archive-keyring.gpg
apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    sort -u |
    while read -r uri suite component; do
        case "$uri" in */debian/ | */debian-security/) ;; *) continue ;; esac
        case "$suite" in "$VERSION_CODENAME" | "$VERSION_CODENAME-updates" | "$VERSION_CODENAME-security") ;; *) continue ;; esac
        [ "$component" = main ] || continue
        echo "deb [signed-by=$key] $uri $suite $component"
        echo "deb-src [signed-by=$key] $uri $suite $component"
    done
