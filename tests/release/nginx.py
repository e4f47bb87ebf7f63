# SPDX-License-Identifier: Apache-2.0
"""Debian's nginx as a plain process, what stands between it and the agent (a relay that cuts, a proxy), and its access log."""

import base64
import json
import pathlib
import random
import select
import signal
import socket
import subprocess
import threading

from tests.cluster.certificates import Authority
from tests.cluster.processes import environment, until

from .place import debian_program

PATIENCE = 60

_CONFIG = """
daemon off;
user root;
worker_processes 1;
pid {work}/pid;
error_log {work}/error.log;
events {{ worker_connections 64; }}
http {{
    log_format json escape=json '{{"uri":"$uri","status":$status,"range":"$http_range","if_range":"$http_if_range",'
                                '"authorization":"$http_authorization","encoding":"$http_accept_encoding","sent":$body_bytes_sent}}';
    access_log {work}/access.log json;
    client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3; uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
    default_type application/octet-stream;
{servers}
}}
"""

_SERVER = """
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        root {root};
        {locations}
    }}
"""


def listener() -> socket.socket:
    """On a port that the kernel chose."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    sock.setblocking(False)
    return sock


class Web:
    """One nginx with several servers on TLS: `good`, and some whose certificate is not in order; all serve `root`."""

    def __init__(self, directory: pathlib.Path, authority: Authority, locations=""):
        self.work = directory
        self.root = directory / "root"
        self.root.mkdir()
        self.ca = authority.cert
        sockets, servers = {}, ""
        certificates = {
            "good": (["IP:127.0.0.1", "DNS:mirror.test"], 365),
            "other": (["IP:127.0.0.1"], 365),
            "wrong_host": (["DNS:elsewhere.test"], 365),
            "expired": (["IP:127.0.0.1"], 1),  # an Authority issues as of yesterday
        }
        for name, (sans, days) in certificates.items():
            sockets[name] = listener()
            certificate, key = authority.directory / f"{name}.crt", authority.directory / f"{name}.key"
            if not certificate.exists():
                authority.issue(name, f"/CN={name}", "serverAuth", sans, days)
            if name == "expired":
                still_good = ["openssl", "x509", "-in", certificate, "-noout", "-checkend", "0"]
                until(lambda: subprocess.run(still_good, check=False, capture_output=True).returncode != 0, "an expiry")
            servers += _SERVER.format(port=sockets[name].getsockname()[1], certificate=certificate, key=key, root=self.root,
                                      locations=locations)
        self.ports = {name: s.getsockname()[1] for name, s in sockets.items()}
        (directory / "nginx.conf").write_text(_CONFIG.format(work=directory, servers=servers.replace("@OTHER@", str(self.ports["other"]))))
        # nginx takes over sockets that it finds there, as it does from its predecessor when it is upgraded.
        inherited = "".join(f"{s.fileno()};" for s in sockets.values())
        self.process = subprocess.Popen([debian_program("nginx", "usr/sbin/nginx"), "-p", directory, "-e", directory / "error.log", "-c", directory / "nginx.conf"],
                                        env=environment({"NGINX": inherited}),
                                        pass_fds=[s.fileno() for s in sockets.values()],
                                        stdout=subprocess.DEVNULL, stderr=open(directory / "stderr", "wb"))
        for sock in sockets.values():
            sock.close()

    def url(self, path="", server="good") -> str:
        return f"https://127.0.0.1:{self.ports[server]}{path}"

    def requests(self, ending="") -> list:
        """The access log so far: one dict for each request that has ended."""
        try:
            lines = (self.work / "access.log").read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [r for r in (json.loads(line) for line in lines if line.endswith("\n")) if r["uri"].endswith(ending)]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _Threads:
    """A listener whose connections are served by threads that end with it."""

    def __init__(self):
        self.sock = listener()
        self.port = self.sock.getsockname()[1]
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _accept(self):
        while not self.ending.is_set():
            if not select.select([self.sock], [], [], 0.2)[0]:
                continue
            client, _ = self.sock.accept()
            thread = threading.Thread(target=self.serve, args=(client,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def serve(self, client: socket.socket):
        raise NotImplementedError

    def pump(self, client, server, most=None) -> None:
        """Both ways, until one side closes or `most` bytes went to the client."""
        while not self.ending.is_set():
            ready = select.select([client, server], [], [], 0.2)[0]
            for one in ready:
                try:
                    data = one.recv(min(65536, most) if one is server and most is not None else 65536)
                    if not data:
                        return
                    (client if one is server else server).sendall(data)
                except OSError:
                    return
                if one is server and most is not None:
                    most -= len(data)
                    if most <= 0:
                        return

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(PATIENCE)
        self.sock.close()


class Relay(_Threads):
    """Hands bytes through to a port, and cuts each connection after so many from there; when there are no more numbers, none."""

    def __init__(self, target: int, cuts):
        self.target = target
        self.cuts = list(cuts)
        self.connections = 0
        super().__init__()

    def serve(self, client):
        self.connections += 1
        most = self.cuts.pop(0) if self.cuts else None
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            self.pump(client, server, most)
            # Not a goodbye: RST.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


class ForwardProxy(_Threads):
    """An HTTP proxy that knows CONNECT, wants user and password, and finds every name on 127.0.0.1."""

    def __init__(self, credentials: str):
        self.wanted = "basic " + base64.b64encode(credentials.encode()).decode()
        self.asked = []
        super().__init__()

    def serve(self, client):
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                data = client.recv(4096)
                if not data:
                    return
                head += data
            lines = head.decode().split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            self.asked.append(lines[0])
            sent = headers.get("proxy-authorization", "")
            if sent[:6].lower() + sent[6:] != self.wanted:
                client.sendall(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n")
                return
            port = int(lines[0].split()[1].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as server:
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                self.pump(client, server)


def random_cuts(seed: int, size: int, count: int) -> list:
    """Places to cut, seeded; none so early that nothing but the handshake came through."""
    chosen = random.Random(seed)
    return [chosen.randint(60_000, max(60_001, size // count)) for _ in range(count)]
