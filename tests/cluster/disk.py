# SPDX-License-Identifier: Apache-2.0
"""A host's disk: an ext4 of its own over the common image, which loses at a power cut what was not synced."""

import fcntl
import os
import pathlib
import struct

from .processes import run, until

# FS_IOC_GOINGDOWN of ext4 and XFS with NOLOGFLUSH: from this moment on nothing reaches the disk any more, neither
# cached data nor the journal; the next mount finds what had been synced, and recovers as after a power cut.
_GOINGDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


class Disk:
    def __init__(self, directory: pathlib.Path, base: pathlib.Path):
        self.image = directory / "disk.img"
        self.layer = directory / "disk"
        self.root = directory / "root"
        self.base = base

    def create(self, size="8G"):
        for folder in (self.image.parent, self.layer, self.root):
            folder.mkdir(parents=True, exist_ok=True)
        with open(self.image, "wb"):
            pass
        run("truncate", "-s", size, self.image)
        # Sparse, and with its tables left to be zero as the sparse file is: made in no time.
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-J", "size=16", self.image)

    def mount(self):
        run("mount", "-t", "ext4", "-o", "loop,noinit_itable", self.image, self.layer)
        (self.layer / "upper").mkdir(exist_ok=True)
        (self.layer / "work").mkdir(exist_ok=True)
        # index and metacopy off: plain files in the upper layer, as on a file system of one's own.
        run("mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={self.base},upperdir={self.layer}/upper,workdir={self.layer}/work", self.root)

    def sync(self):
        run("sync", "-f", self.layer)

    def cut(self):
        """The power is gone. Call it when nothing uses the disk any more; then unmount() and mount()."""
        handle = os.open(self.layer, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _GOINGDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(handle)

    def unmount(self):
        for path in (self.root, self.layer):
            while os.path.ismount(path):
                run("umount", path)
        # The kernel detaches the loop device a moment later; while something else still holds the file system, the
        # next mount would find the old one, not the disk.
        if self.image.exists():
            until(lambda: not run("losetup", "-j", self.image).stdout, f"nobody uses {self.image}")
