"""An OpenAI-compatible API on loopback: a real HTTP server that remembers what it was asked.

It answers every mail with valid scores that depend on the mail alone, or with what a test scripted. Also a
program, for benches and kill tests: `python -m tests.support.api_server --port 0 --latency-ms 5` prints its URL, and
`GET /stats` tells what came, and when.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

MODEL = "test/model-1"


@dataclass(frozen=True)
class Call:
    """One request. `body` is its JSON, None when it had none; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    raw: bytes

    @property
    def text(self) -> str:
        """Everything that was said in the request's messages."""
        return "\n".join(message["content"] for message in (self.body or {}).get("messages", ()))

    @property
    def mail(self) -> str:
        """The mail as it was shown, without the delimiter around it."""
        messages = (self.body or {}).get("messages") or [{"content": ""}]
        return re.sub(r"\A<mail-\w+>\n|\n</mail-\w+>\Z", "", messages[-1]["content"])

    @property
    def subject(self) -> str:
        """The mail's subject, "" when none was shown."""
        found = re.search(r"^Subject: (.*)$", self.mail, re.MULTILINE)
        return found[1] if found else ""


@dataclass(frozen=True)
class Response:
    """What the server says. `body` is JSON when it is a dict. The rest is for odd servers."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    drip_s: float = 0.0  # pause before each byte of the body
    is_cut: bool = False  # hang up half-way through the body

    @property
    def payload(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def scores_for(mail: str) -> tuple[int, int]:
    """Importance and spam that the server gives by default: they depend on the text shown and nothing else."""
    digest = sha256(mail.encode("utf-8", "replace")).digest()
    return digest[0] % 11, digest[1] % 11


def completion(content: object, *, finish_reason: str = "stop", cost: float | None = 0.000123, **more: Any) -> Response:
    """A chat completion with `content` as the model's words, in OpenRouter's shape."""
    usage: dict[str, Any] = {
        "prompt_tokens": 345,
        "completion_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 128},
    }
    body = {
        "id": "gen-1",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [
            {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": content}},
        ],
        "usage": usage if cost is None else usage | {"cost": cost},
    }
    return Response(body=body | more)


def verdict(importance: int, spam: int) -> Response:
    """A chat completion with these scores."""
    return completion(json.dumps({"importance_score": importance, "spam_score": spam}))


def answer_for(call: Call) -> dict[str, Any]:
    """An answer to what the call asks, that depends on the text shown and nothing else.

    What is asked is read from the schema or, where none was sent, from the JSON object in the question.
    """
    sent = (call.body or {}).get("response_format") or {}
    if "json_schema" in sent:
        properties = sent["json_schema"]["schema"]["properties"]
    else:
        members = re.findall(r'"(\w+)": "?<(\w+)>', call.text)
        properties = {key: {"type": {"integer": "integer"}.get(kind, "string")} for key, kind in members}
        listed = re.findall(
            r"^- ([^:\n]+): ", call.text.partition("\ncategory: ")[2].partition("\n\n")[0], re.MULTILINE
        )
        if "category" in properties:
            properties["category"]["enum"] = listed
    importance, spam = scores_for(call.mail)
    answer: dict[str, Any] = {}
    for key, kind in properties.items():
        number = sha256(f"{key} {call.mail}".encode("utf-8", "replace")).digest()[0]
        if kind["type"] == "integer":
            answer[key] = {"importance_score": importance, "spam_score": spam}.get(key, number % 11)
        else:
            answer[key] = kind["enum"][number % len(kind["enum"])] if "enum" in kind else f"Because of {number}."
    return answer


def _judge(call: Call) -> Response:
    return completion(json.dumps(answer_for(call)))


class ApiServer:
    """The server, as a context manager. Everything but the constructor may be used from any thread.

    `remember`: how many of the latest calls are kept whole; counting never ends. `slowest_s`: where it is more than
    `latency_s`, each call takes a time between the two. `tls`: the server's TLS context; None: plain HTTP.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        latency_s: float = 0.0,
        slowest_s: float = 0.0,
        remember: int = 10_000,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.latency_s = latency_s
        self.slowest_s = slowest_s
        self._random = Random(1)
        self.call_count = 0
        self.concurrency_peak = 0
        self.connection_count = 0
        self.is_closing = threading.Event()  # ends every pause that the server makes
        self._calls: deque[Call] = deque(maxlen=remember)
        self._subjects: deque[str] = deque(maxlen=100_000)
        self._arrivals: deque[float] = deque(maxlen=100_000)
        self._script: deque[Response] = deque()
        self._pages: dict[str, Response] = {}
        self.pages_asked_for: list[Call] = []
        self._answer: Callable[[Call], Response] = _judge
        self._in_flight = 0
        self._lock = threading.Lock()
        self._http = _Server(port, self)
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """What belongs into `llm.api_url`."""
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def calls(self) -> list[Call]:
        """The POST requests, in order of their arrival."""
        with self._lock:
            return list(self._calls)

    def reply_with(
        self,
        *,
        status: int = 200,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Give this answer to the next `times` calls; after them the server judges again."""
        self.reply(*[Response(status, {} if body is None else body, headers or {})] * times)

    def reply(self, *responses: Response) -> None:
        """Answer the next calls with these, in order."""
        with self._lock:
            self._script.extend(responses)

    def offer(self, path: str, body: Any, *, status: int = 200) -> None:
        """Serve a page for GET, e.g. "/models"."""
        self._pages[f"/v1{path}"] = Response(status, body)

    def page(self, call: Call) -> Response:
        """Record a GET and find its page. For the server's own use."""
        with self._lock:
            self.pages_asked_for.append(call)
        return self._pages.get(call.path, Response(404, {"error": {"code": 404}}))

    def answer_with(self, answer: Callable[[Call], Response]) -> None:
        """From now on ask `answer` for every reply that is not scripted."""
        with self._lock:
            self._answer = answer

    def stats(self) -> dict[str, Any]:
        """What `GET /stats` says."""
        with self._lock:
            peak, subjects, arrivals = self.concurrency_peak, list(self._subjects), list(self._arrivals)
            return {"calls": self.call_count, "concurrency_peak": peak, "subjects": subjects, "arrivals": arrivals}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection; what is under way gets no answer."""
        self._http.is_stopped = True
        self.is_closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()
        self._thread.join()

    def __enter__(self) -> ApiServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def take(self, call: Call) -> Response:
        """Record a call and find its answer. For the server's own use."""
        with self._lock:
            self.call_count += 1
            self._in_flight += 1
            self.concurrency_peak = max(self.concurrency_peak, self._in_flight)
            self._calls.append(call)
            self._subjects.append(call.subject)
            self._arrivals.append(time.monotonic())
            scripted = self._script.popleft() if self._script else None
            answer = self._answer
        try:
            latency_s = max(self.latency_s, self._random.uniform(self.latency_s, self.slowest_s))
            if latency_s:
                self.is_closing.wait(latency_s)
            return scripted or answer(call)
        finally:
            with self._lock:
                self._in_flight -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, port: int, api: ApiServer) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.api = api
        self.is_stopped = False
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.api.connection_count += 1
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that clients keep alive; their threads then close them."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the client was quicker

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients may hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        response = self.server.api.take(Call(self.command, self.path, headers, body, raw))
        if self.server.is_stopped:
            self.close_connection = True
        else:
            self._send(response)

    def do_GET(self) -> None:
        if self.path in ("/stats", "/v1/stats"):
            self._send(Response(body=self.server.api.stats()))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.server.api.page(Call(self.command, self.path, headers, None, b"")))

    def _send(self, response: Response) -> None:
        payload = response.payload
        head = {"Content-Type": "application/json", "Content-Length": str(len(payload))} | dict(response.headers)
        self.send_response_only(response.status)
        for name, value in head.items():
            self.send_header(name, value)
        self.end_headers()
        if response.drip_s:
            for position in range(len(payload)):
                self.wfile.flush()
                if self.server.api.is_closing.wait(response.drip_s):
                    break
                self.wfile.write(payload[position : position + 1])
        else:
            self.wfile.write(payload[: len(payload) // 2] if response.is_cut else payload)
        self.wfile.flush()
        if response.is_cut:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: tests read `calls`."""


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--latency-ms", type=float, default=0.0)
    options.add_argument("--slowest-ms", type=float, default=0.0, help="a call takes a time between the two")
    chosen = options.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    latency_s, slowest_s = chosen.latency_ms / 1000, chosen.slowest_ms / 1000
    with ApiServer(port=chosen.port, latency_s=latency_s, slowest_s=slowest_s, remember=100) as server:
        print(server.url, flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
