"""The `chat` classifier: asks an OpenAI-compatible API over HTTP, one request for each call.

It never retries, follows no redirect, and sends the key only over TLS or to this machine. Its time limit holds
for the whole reply, however slowly that drips in.
"""

from __future__ import annotations

import ipaddress
import json
import threading
import weakref
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from backfill.classifiers.prompt import RENDERING, fixed_text, nonce, render
from backfill.classifiers.replies import Reply, read_reply
from backfill.clock import Clock, SystemClock
from backfill.errors import AnswerUnusable, ConfigError, ServiceUnavailable
from backfill.message import Message
from backfill.ports import Fingerprint
from backfill.verdict import Answer

ResponseFormat = Literal["json_schema", "json_object", "none"]

#: No minimum, maximum or enum: not every provider behind OpenRouter takes them, and the range is checked here.
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"importance_score": {"type": "integer"}, "spam_score": {"type": "integer"}},
    "required": ["importance_score", "spam_score"],
    "additionalProperties": False,
}

MAX_CONNECT_S: Final = 10.0
MAX_REPLY_BYTES: Final = 1_000_000  # a verdict has 50, a reasoning model's thoughts perhaps 100,000


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How to ask. `prompt` is the template's text; `api_key` None means that the API wants none."""

    api_url: str
    model: str
    prompt: str
    api_key: str | None = field(default=None, repr=False)
    temperature: float | None = 0.2  # None: not sent, for models that refuse it
    response_format: ResponseFormat = "json_schema"
    max_output_tokens: int = 200
    timeout_s: float = 60.0
    max_body_chars: int = 4000
    data_collection: Literal["deny", "allow"] = "deny"  # this and what follows: sent to OpenRouter only
    zdr: bool = True
    session_id: str | None = None  # constant for a job, so that OpenRouter's prompt cache stays warm


class ChatClassifier:
    """Judges mail by an OpenAI-compatible API. Thread-safe: each thread keeps a connection of its own alive.

    `secret` makes the delimiter around a mail unpredictable to its sender; the same secret and mail give a
    byte-identical request. Raises `ConfigError` for settings that cannot work or would give the key away.
    """

    is_metered: Final = True

    def __init__(self, settings: ChatSettings, *, secret: bytes, clock: Clock | None = None) -> None:
        self._settings = settings
        self._secret = secret
        self._clock: Clock = clock or SystemClock()
        self._endpoint = _Endpoint.of(settings)
        self._prepared = self._endpoint.prepare(settings.api_key)
        self._local = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        prompt = fixed_text(settings.prompt)
        if not prompt or not settings.model or not secret:
            raise ConfigError("The chat classifier needs a prompt, a model and a secret; none of them may be empty.")
        self._fingerprint = Fingerprint(
            parts={
                "classifier": "chat",
                "model": settings.model,
                "response_format": settings.response_format,
                "schema": SCHEMA if settings.response_format == "json_schema" else None,
                "temperature": settings.temperature,
                "max_output_tokens": settings.max_output_tokens,
                "max_body_chars": settings.max_body_chars,
                "rendering": RENDERING,
            },
            prompt=prompt,
        )

    @property
    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    def classify(self, message: Message) -> Answer:
        """Ask about one mail, once. Raises a `ClassifierError`; see `replies` for which."""
        return read_reply(self._post(self.request_body(message)), self._clock.now())

    def close(self) -> None:
        """Close every thread's connection; nothing may be in flight."""
        for session in list(self._sessions):
            session.close()

    def request_body(self, message: Message) -> bytes:
        """The bytes that `classify` sends about this mail: what leaves the machine, and what it costs to send."""
        settings = self._settings
        content = message.content
        if len(content.body) > settings.max_body_chars:  # the promise about cost is kept here, whoever cut before
            content = replace(content, body=content.body[: settings.max_body_chars], truncated=True)
        chat = render(settings.prompt, content, nonce(self._secret, message.key))
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": [asdict(part) for part in chat],
            self._endpoint.max_tokens_key: settings.max_output_tokens,
        }
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.response_format == "json_schema":
            schema = {"name": "verdict", "strict": True, "schema": SCHEMA}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif settings.response_format == "json_object":
            body["response_format"] = {"type": "json_object"}
        if self._endpoint.is_openrouter:
            body["provider"] = {
                "data_collection": settings.data_collection,
                "zdr": settings.zdr,
                "require_parameters": settings.response_format != "none",  # or it is silently left out
            }
            if settings.session_id is not None:
                body["session_id"] = settings.session_id
        return json.dumps(body, separators=(",", ":")).encode("ascii")

    def _post(self, body: bytes) -> Reply:
        """The one request. Every way in which the line can fail becomes `ServiceUnavailable`."""
        limit_s = self._settings.timeout_s
        deadline = self._clock.monotonic() + limit_s
        host = self._endpoint.host
        request = self._prepared.copy()
        request.prepare_body(body, None)
        try:
            with self._session().send(
                request,
                timeout=(min(MAX_CONNECT_S, limit_s), limit_s),
                allow_redirects=False,
                stream=True,
            ) as response:
                received = bytearray()
                # read1 returns with what has come: `timeout` alone only bounds the gap between two bytes, and
                # gateways send white space while the model thinks.
                while chunk := response.raw.read1(65_536, decode_content=True):
                    received += chunk
                    if len(received) > MAX_REPLY_BYTES:
                        raise _too_large(response.status_code)
                    if self._clock.monotonic() > deadline:
                        raise ServiceUnavailable(f"{host} did not finish its answer within {limit_s:g} s.")
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, headers, bytes(received))
        except requests.Timeout as error:
            raise ServiceUnavailable(f"{host} did not answer within {limit_s:g} s.") from error
        except requests.exceptions.SSLError as error:
            raise ServiceUnavailable(f"The TLS certificate or handshake of {host} is not acceptable.") from error
        except (OSError, HTTPError) as error:  # requests' own are OSErrors; reading raises urllib3's
            raise ServiceUnavailable(f"{host} cannot be reached, or hung up ({type(error).__name__}).") from error

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = self._endpoint.open_session()
            self._sessions.add(session)
        return session


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Where requests go, and what that place may be sent."""

    url: str
    host: str
    is_loopback: bool

    @classmethod
    def of(cls, settings: ChatSettings) -> _Endpoint:
        """Check URL and key. The messages name neither: both may hold secrets."""
        try:
            parts = urlsplit(settings.api_url.strip())
            host, _ = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as error:
            raise ConfigError("llm.api_url is not a URL.") from error
        if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
            raise ConfigError("llm.api_url must look like https://host/v1, without user name, query or fragment.")
        is_loopback = _is_loopback(host)
        key = settings.api_key
        if key is not None:
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise ConfigError("The API key is empty, or has blanks or odd characters in it; copy it again.")
            if parts.scheme == "http" and not is_loopback:
                raise ConfigError("The API key would travel unencrypted; use https:// in llm.api_url, or no key.")
        return cls(f"{settings.api_url.strip().rstrip('/')}/chat/completions", host, is_loopback)

    @property
    def is_openrouter(self) -> bool:
        return self.host == "openrouter.ai" or self.host.endswith(".openrouter.ai")

    @property
    def max_tokens_key(self) -> str:
        """OpenAI's newer models refuse `max_tokens`; most other servers know nothing else."""
        return "max_completion_tokens" if self.host == "api.openai.com" else "max_tokens"

    def prepare(self, api_key: str | None) -> requests.PreparedRequest:
        """The request but for its body; made once, since making it costs more than sending it."""
        headers = {
            "User-Agent": "backfill",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Content-Type": "application/json",
        }
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        try:
            return requests.Request("POST", self.url, headers=headers).prepare()
        except requests.RequestException as error:
            raise ConfigError("llm.api_url is not a URL.") from error

    def open_session(self) -> requests.Session:
        """A session that asks the environment once, for proxies and CA bundle, and never for credentials.

        Left to itself requests would read .netrc for each request and replace our key by what stands there.
        """
        session = requests.Session()
        environment = session.merge_environment_settings(self.url, {}, None, None, None)
        session.verify = environment["verify"]
        if not self.is_loopback:  # what stays on this machine goes through no proxy
            session.proxies = environment["proxies"]
        session.trust_env = False
        return session


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _too_large(status: int) -> AnswerUnusable:
    error = AnswerUnusable("The API's reply is larger than any verdict.", reason="answer_too_large")
    error.http_status = status
    return error
