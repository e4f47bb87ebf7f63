# SPDX-License-Identifier: Apache-2.0
"""The API server's audit log: who asked for what, and when."""

import datetime
import json
import pathlib


class AuditLog:
    def __init__(self, path: pathlib.Path):
        self.path = path

    def events(self, user=None, since=None, until=None, verb=None, resource=None, stage="ResponseComplete",
               agent=None):
        """Yields the entries as the API server wrote them, oldest first.

        `user` is the full name (`system:node:agent-1`); `since` and `until` are aware datetimes; `agent` is a part
        of the User-Agent. A watch that goes on has only the stage ResponseStarted so far: ask with stage=None. Only that pods
        are made, deleted or evicted is told as RequestReceived, too.
        """
        if not self.path.exists():
            return
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                if not line.endswith("\n"):
                    return  # being written
                event = json.loads(line)
                if stage and event["stage"] != stage:
                    continue
                if user and event["user"].get("username") != user:  # absent where the credential was refused
                    continue
                if verb and event["verb"] != verb:
                    continue
                if resource and event.get("objectRef", {}).get("resource") != resource:
                    continue
                if agent and agent not in event.get("userAgent", ""):
                    continue
                at = moment(event["requestReceivedTimestamp"])
                if (since and at < since) or (until and at > until):
                    continue
                yield event


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
