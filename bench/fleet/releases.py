# SPDX-License-Identifier: Apache-2.0
"""Serves the releases of the stand-in k3s: `<version>/k3s` and its checksum, over TLS, to everybody.

tests/fakes/releases knows GitHub's redirects, for which a host needs names of its own; here all hosts are this machine.
"""

import hashlib
import http.server
import pathlib
import ssl
import threading

from tests.cluster.certificates import Authority

from . import hosts


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.server.files.get(self.path.replace("%2B", "+"))
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def finish_request(self, request, client_address):
        # In the connection's own thread: one that is slow to shake hands holds nobody up.
        try:
            super().finish_request(self.tls.wrap_socket(request, server_side=True), client_address)
        except OSError:
            return  # an agent that was killed


class Releases:
    """Up from construction, as long as this process."""

    def __init__(self, directory: pathlib.Path):
        authority = Authority(directory, "web-ca")
        cert, key = authority.issue("web", "/CN=localhost", "serverAuth", ["IP:127.0.0.1"])
        self.ca = authority.cert
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.tls.load_cert_chain(cert, key)
        self._server.files = {}
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def add(self, version: str):
        binary = hosts.k3s(version)
        self._server.files[f"/{version}/k3s"] = binary
        self._server.files[f"/{version}/sha256sum-amd64.txt"] = f"{hashlib.sha256(binary).hexdigest()}  k3s\n".encode()
