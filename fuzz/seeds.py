# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds that nobody types: `python3 fuzz/seeds.py`. What it wrote is in the tree; run it when a target wants others."""

import base64
import gzip
import io
import pathlib
import subprocess
import tarfile
import tempfile

CORPUS = pathlib.Path(__file__).parent / "corpus"


def kubelet_certificate() -> bytes:
    """Valid for a century; its key is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "36500",
                        "-subj", "/O=system:nodes/CN=system:node:agent-1", "-keyout", "key", "-out", "certificate"],
                       cwd=folder, check=True, capture_output=True)
        return pathlib.Path(folder, "certificate").read_bytes()


def kubeconfig():
    certificate = base64.b64encode(kubelet_certificate()).decode()
    # No key, but what is looked for in one.
    key = base64.b64encode(b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n").decode()
    (CORPUS / "kubeconfig" / "data").write_text(f"""current-context: x
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:6444', certificate-authority-data: {certificate}}}}}]
users: [{{name: u, user: {{client-certificate-data: {certificate}, client-key-data: {key}}}}}]
""")


def tar(*entries, kind=tarfile.USTAR_FORMAT) -> bytes:
    """Of (name, content) for files, (name, type, target) for links, (name, None) for folders."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=kind) as archive:
        for name, content, *target in entries:
            info = tarfile.TarInfo(name)
            if target:
                info.type, info.linkname = content, target[0]
            elif content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) and not target else None)
    # The end's two blocks are enough: the rest of the record is only padding.
    return whole.getvalue().rstrip(b"\0") + bytes(1024 + -len(whole.getvalue().rstrip(b"\0")) % 512)


def zstd(content, *options) -> bytes:
    return subprocess.run(["zstd", "-q", "-c", *options], input=content, check=True, capture_output=True).stdout


def layers():
    long = f"opt/{'n' * 120}/k3s"
    plain = tar(("opt", None), ("opt/k3s", b"\x7fELF and so on"), ("etc/passwd", b"root"))
    seeds = {
        "plain": plain,
        "gzip": gzip.compress(plain, mtime=0),
        "gzip-members": gzip.compress(plain[:700], mtime=0) + gzip.compress(plain[700:], mtime=0),
        "zstd": zstd(plain),
        "zstd-frames": zstd(plain[:700], "--no-check") + b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstd(plain[700:]),
        "whiteouts": tar(("opt/.wh.k3s", b""), ("opt/.wh..wh..opq", b""), (".wh.opt", b"")),
        "links": tar(("opt/k3s", tarfile.SYMTYPE, "/bin/sh"), ("opt/other", tarfile.LNKTYPE, "opt/k3s"), ("dev", tarfile.CHRTYPE, "")),
        "gnu": tar((long, b"x"), kind=tarfile.GNU_FORMAT),
        "pax": tar((long, b"x"), ("\u00fc", b"y"), kind=tarfile.PAX_FORMAT),
        "outside": tar(("../opt/k3s", b"x")),
        "absolute": tar(("/opt/k3s", b"x")),
    }
    for name, content in seeds.items():
        # In pieces of eight bytes, or of a KiB and a half.
        (CORPUS / "layer" / name).write_bytes((b"\x01" if name.startswith("gz") else b"\xdb") + content)


if __name__ == "__main__":
    kubeconfig()
    layers()
