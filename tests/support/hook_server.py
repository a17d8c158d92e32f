"""A receiver of webhooks on loopback: a real HTTP server that keeps what the posts make true.

It knows a post that comes again by its `Idempotency-Key`. `world` is what it believes: the newest verdict of each mail,
without those that were undone. `script` may answer a post with something else; then the post is not believed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Post:
    """One request. Header names are in lower case; `body` is {} for a request without one."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


@dataclass(frozen=True)
class Say:
    """An answer. `hangs_up`: none at all. `drip_s`: the pause before each of its bytes."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hangs_up: bool = False
    drip_s: float = 0.0


class HookServer:
    """Use it in a `with`."""

    def __init__(self, script: Callable[[Post], Say | None] = lambda post: None) -> None:
        self.script = script
        self.posts: list[Post] = []
        self.world: dict[tuple[str, int, int], Mapping[str, Any]] = {}
        self._keys: set[str] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                raw = self.rfile.read(size)
                headers = {name.lower(): value for name, value in self.headers.items()}
                post = Post(self.command, self.path, headers, json.loads(raw) if raw else {})
                self.answer(server.take(post))

            do_HEAD = do_GET = do_POST

            def answer(self, say: Say) -> None:
                if say.hangs_up:
                    self.close_connection = True
                    return
                self.send_response(say.status)
                for name, value in say.headers.items():
                    self.send_header(name, value)
                if say.status != 204:
                    self.send_header("Content-Length", str(len(say.body)))
                self.end_headers()
                for byte in say.body if say.drip_s else ():
                    if server._over.wait(say.drip_s):
                        return
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                if not say.drip_s:
                    self.wfile.write(say.body)

            def log_message(self, *_: object) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/hooks/mail"

    def __enter__(self) -> HookServer:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._http.shutdown()
        self._http.server_close()

    def take(self, post: Post) -> Say:
        with self._lock:
            self.posts.append(post)
            said = self.script(post)
            if said is not None or post.method != "POST":
                return said or Say(405)
            if post.key not in self._keys:
                self._believe(post)
            return Say()

    def _believe(self, post: Post) -> None:
        mail = (post.body["folder"], post.body["uidvalidity"], post.body["uid"])
        if post.body["event"] == "verdict":
            self.world[mail] = post.body
            self._keys.add(post.key)
        else:
            self.world.pop(mail, None)
            self._keys.discard(post.body["undoes"])  # so that the verdict is news when it is posted again

    @property
    def uids(self) -> list[int]:
        """The mails of the verdicts that were posted, in their order, posts that came again included."""
        return [post.body["uid"] for post in self.posts if post.body.get("event") == "verdict"]
