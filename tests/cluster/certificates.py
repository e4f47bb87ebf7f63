# SPDX-License-Identifier: Apache-2.0
"""Certificate authorities of a cluster, made with openssl."""

import base64
import pathlib

from . import clocks
from .processes import run

# The distribution's openssl.cnf would make every certificate a CA.
_CONFIG = "[req]\ndistinguished_name=dn\n[dn]\n"


class Authority:
    """A CA in `<directory>/<name>.{crt,key}`, made when it is not there yet."""

    def __init__(self, directory: pathlib.Path, name: str):
        self.directory = directory
        self.cert = directory / f"{name}.crt"
        self.key = directory / f"{name}.key"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "openssl.cnf").write_text(_CONFIG)
        if not self.cert.exists():
            self._request(self.cert, self.key, f"/CN={name}", [
                "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
                "subjectKeyIdentifier=hash"], [])

    def issue(self, name: str, subject: str, usage: str, sans=(), days=365):
        """Signs `<name>.crt`; subject as `/O=…/CN=…`, usage `clientAuth` or `serverAuth`."""
        cert, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        extensions = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature,keyEncipherment",
                      f"extendedKeyUsage={usage}"]
        if sans:
            extensions.append("subjectAltName=" + ",".join(sans))
        self._request(cert, key, subject, extensions, ["-CA", self.cert, "-CAkey", self.key], days)
        return cert, key

    def _request(self, cert, key, subject, extensions, more, days=3650):
        # Issued yesterday: a host whose clock is hours behind must find it valid, as in a cluster that is older than that.
        yesterday = clocks.variables("-1d", clocks.library())
        run("openssl", "req", "-config", self.directory / "openssl.cnf", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", key, "-out", cert, "-subj", subject,
            "-days", days, *more, *[part for e in extensions for part in ("-addext", e)], env=yesterday)
        key.chmod(0o600)


def kubeconfig(server, ca: pathlib.Path, cert: pathlib.Path, key: pathlib.Path, embed=True) -> str:
    """A kubeconfig in k3s's form; with embed=False it names the files, as kubelet.kubeconfig does."""
    def item(name, path):
        if embed:
            return f"{name}-data: {base64.b64encode(path.read_bytes()).decode()}"
        return f"{name}: {path}"
    return f"""apiVersion: v1
clusters:
- cluster:
    server: {server}
    {item('certificate-authority', ca)}
  name: local
contexts:
- context:
    cluster: local
    namespace: default
    user: user
  name: Default
current-context: Default
kind: Config
preferences: {{}}
users:
- name: user
  user:
    {item('client-certificate', cert)}
    {item('client-key', key)}
"""
