# SPDX-License-Identifier: Apache-2.0
"""The API server as its administrator sees it: requests and watches, without kubectl's pace."""

import dataclasses
import http.client
import json
import ssl
import time
import urllib.parse

JSON = "application/json"
MERGE = "application/merge-patch+json"
NODES = "/api/v1/nodes"
LOCK = "/api/v1/namespaces/system-upgrade/configmaps"
PLANS = "/apis/upgrade.cattle.io/v1/namespaces/system-upgrade/plans"

# What a connection does when the API server is away, or goes while it answers.
AWAY = (OSError, http.client.HTTPException, ssl.SSLError)


class Refused(RuntimeError):
    """The API server answered, and the answer is no."""


@dataclasses.dataclass(frozen=True)
class Access:
    """Where the API server is, and files with an identity."""
    host: str
    port: int
    ca: str
    cert: str
    key: str

    @classmethod
    def of(cls, control_plane):
        """The administrator's of a tests.cluster.ControlPlane."""
        url = urllib.parse.urlsplit(control_plane.server)
        pki = control_plane.pki
        return cls(url.hostname, url.port, str(pki / "server-ca.crt"), str(pki / "admin.crt"), str(pki / "admin.key"))

    def connect(self, timeout) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.cert, self.key)
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=context)


class Api:
    """One connection, for one thread."""

    def __init__(self, access: Access):
        self.access = access
        self._connection = None

    def request(self, method, path, body=None, content_type=JSON, patience=0):
        """The answer's JSON; while the API server is away it is asked again for `patience` seconds."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return self._once(method, path, body, content_type)
            except AWAY:
                self.close()
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)

    def _once(self, method, path, body, content_type):
        if self._connection is None:
            self._connection = self.access.connect(timeout=30)
        self._connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": content_type})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status in (429, 500, 503, 504):  # it starts, or is overrun
            raise http.client.HTTPException(f"{answer.status}")
        if answer.status >= 400:
            raise Refused(f"{method} {path}: {answer.status}: {text.decode(errors='replace')[:500]}")
        return json.loads(text)

    def close(self):
        if self._connection:
            self._connection.close()
        self._connection = None


def watch(access: Access, path, selector=None):
    """Yields (revision, [object…]) of a list, then (None, [object]) for each that changes; after a break a list again.

    Between a break and its list something may have been missed. Deleted objects are not told.
    """
    query = {"fieldSelector": selector} if selector else {}
    while True:
        api = Api(access)
        try:
            listed = api.request("GET", f"{path}?{urllib.parse.urlencode(query)}", patience=300)
            yield int(listed["metadata"]["resourceVersion"]), listed["items"]
            yield from _follow(access, path, query, listed["metadata"]["resourceVersion"])
        except AWAY:
            time.sleep(0.05)
        finally:
            api.close()


def _follow(access, path, query, version):
    """Events from `version` on, until the watch cannot be continued."""
    while True:
        connection = access.connect(timeout=60)
        try:
            wanted = {**query, "watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": 50}
            connection.request("GET", f"{path}?{urllib.parse.urlencode(wanted)}")
            answer = connection.getresponse()
            if answer.status != 200:
                return
            while line := answer.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] in ("ADDED", "MODIFIED"):
                    yield None, [event["object"]]
        finally:
            connection.close()
