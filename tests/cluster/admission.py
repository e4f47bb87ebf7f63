# SPDX-License-Identifier: Apache-2.0
"""A validating admission webhook that refuses a node some changes of its own Node, as a policy engine would.

Run as a program it is that webhook: `python3 admission.py PORT CERT KEY`. It judges an update of a Node by the path that it is
asked at: `/label` refuses a Node with a Plan's label, `/uncordon` one that is schedulable; both only where the user is that node
itself. A policy engine speaks the same protocol (admission.k8s.io/v1) and differs only in how its rules are written."""

import base64
import contextlib
import http.server
import json
import os
import pathlib
import socket
import ssl
import sys

NAME = "refuses.example.org"
PLAN = "plan.upgrade.cattle.io/"


def refused(rule: str, request: dict) -> bool:
    """By the new object alone: Kubernetes 1.20 shows a webhook the new Node as the old one, too, where it is patched."""
    node = request["object"]
    if request["userInfo"]["username"] != f"system:node:{node['metadata']['name']}":
        return False
    if rule == "label":
        return any(key.startswith(PLAN) for key in node["metadata"].get("labels", {}))
    return not node["spec"].get("unschedulable", False)


class Webhook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        allowed = not refused(self.path.strip("/").split("?")[0], request)
        answer = {"uid": request["uid"], "allowed": allowed}
        if not allowed:
            answer["status"] = {"code": 403, "message": "a policy of this cluster says no"}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(port, cert, key):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Webhook)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    server.serve_forever()


def configuration(rule: str, node: str, port: int, ca: bytes) -> dict:
    """For one node only: the others go on as ever."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [{
            "name": NAME, "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "objectSelector": {"matchLabels": {"kubernetes.io/hostname": node}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["nodes"]}],
            "clientConfig": {"url": f"https://127.0.0.1:{port}/{rule}", "caBundle": base64.b64encode(ca).decode()}}]}


@contextlib.contextmanager
def policy(control_plane, rule: str, node: str, port=8443):
    """While it lasts the API server refuses that node's changes of its own Node that `rule` names."""
    from .certificates import Authority
    from .processes import Process
    authority = Authority(control_plane.directory / "webhook", "webhook-ca")
    cert, key = authority.issue("webhook", "/CN=webhook", "serverAuth", ["IP:127.0.0.1"])
    process = Process(control_plane.directory / "processes", "webhook")
    process.spawn(["/usr/bin/python3", pathlib.Path(__file__), port, cert, key], netns=control_plane.netns)
    try:
        control_plane.kubectl("apply", "-f", "-",
                              input=json.dumps(configuration(rule, node, port, authority.cert.read_bytes())))
        yield
    finally:
        control_plane.kubectl("delete", "validatingwebhookconfiguration", NAME, "--ignore-not-found")
        process.stop()


if __name__ == "__main__":
    serve(*sys.argv[1:])
