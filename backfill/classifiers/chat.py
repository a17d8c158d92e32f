"""The `chat` classifier: asks an OpenAI-compatible API over HTTP, one request for each call.

It never retries. Its error names what a second try could do differently (`Concession`), and the executor decides. The
cost of sending a mail can be computed before (`request_body`, `estimate_tokens`).
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from backfill.classifiers.endpoint import Endpoint
from backfill.classifiers.prompt import RENDERING, ChatMessage, nonce, render, tokens_in
from backfill.classifiers.questions import filled, reminder, schema_of
from backfill.classifiers.replies import read_reply
from backfill.clock import Clock, SystemClock
from backfill.errors import AnswerUnusable, Concession, ConfigError, ModelUnknown
from backfill.fingerprint import Fingerprint
from backfill.message import Message
from backfill.ports import ROOMIER
from backfill.rubric import Rubric
from backfill.verdict import Answer

ResponseFormat = Literal["json_schema", "json_object", "none"]

#: Tokens that the service adds to the text, such as roles and separators.
FIXED_TOKENS: Final = 20

LIMIT_NAMES: Final = ("max_tokens", "max_completion_tokens")
LEAST_CHARS: Final = 500  # kept of a body when its length is halved; fewer say too little


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How to ask. `prompt` is the template's text, or a text that is filled in already.

    `api_key` None: the API wants no key.
    """

    api_url: str
    model: str
    prompt: str
    api_key: str | None = field(default=None, repr=False)
    temperature: float | None = 0.2  # None: not sent; some models refuse it
    response_format: ResponseFormat = "json_schema"
    max_output_tokens: int = 200
    timeout_s: float = 60.0
    max_body_chars: int = 4000
    data_collection: Literal["deny", "allow"] = "deny"  # this and the two below: sent only to OpenRouter
    zdr: bool = True
    session_id: str | None = None  # the same for a whole job: OpenRouter's prompt cache goes by it
    rubric: Rubric = field(default_factory=Rubric.default)


class ChatClassifier:
    """Judges mail by an OpenAI-compatible API. Thread-safe.

    `secret` makes the delimiter around a mail unpredictable to its sender. The same secret and mail give a request of
    the same bytes. Raises `ConfigError` for settings that cannot work or would reveal the key.
    """

    is_metered: Final = True

    def __init__(self, settings: ChatSettings, *, secret: bytes, clock: Clock | None = None) -> None:
        self._settings = settings
        self._secret = secret
        self._clock: Clock = clock or SystemClock()
        self._endpoint = Endpoint(settings.api_url, settings.api_key, timeout_s=settings.timeout_s, clock=self._clock)
        # OpenAI's newer models refuse `max_tokens`; most other servers know only that.
        self._limit_name = LIMIT_NAMES[self._endpoint.host == "api.openai.com"]
        self._is_renamed = False
        self._renaming = threading.Lock()
        rubric = settings.rubric
        self._schema = schema_of(rubric)
        self._prompt = filled(settings.prompt, rubric)
        if not self._prompt or not settings.model or not secret:
            raise ConfigError("The chat classifier needs a prompt, a model and a secret; none of them may be empty.")
        questions = {} if rubric.is_default else {"rubric": rubric.asked()}
        self._fingerprint = Fingerprint.of(
            self._prompt,
            classifier="chat",
            model=settings.model,
            response_format=settings.response_format,
            schema=self._schema if settings.response_format == "json_schema" else None,
            temperature=settings.temperature,
            max_output_tokens=settings.max_output_tokens,
            max_body_chars=settings.max_body_chars,
            rendering=RENDERING,
            **questions,
        )

    @property
    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    def decide_free(self, message: Message) -> Answer | None:
        """Always None: every answer takes a call."""
        return None

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        """Ask about one mail, once. Raises the `ClassifierError` that `replies` or `endpoint` chooses."""
        limit_name = self._limit_name
        reply = self._endpoint.post("/chat/completions", self.request_body(message, concession))
        sent = "\n".join(part.content for part in self._chat(message, concession))
        try:
            now, rubric = self._clock.now(), self._settings.rubric
            answer = read_reply(reply, now, rubric, sent=sent, api_url=self._endpoint.url)
        except AnswerUnusable as error:
            if error.concession is Concession.RENAMED:
                self._rename(limit_name, error)
            raise
        is_shown_whole = self._shown(message, concession).content.body == message.content.body
        return answer if is_shown_whole else replace(answer, truncated=True)

    def close(self) -> None:
        """Close all connections; no call may be in flight."""
        self._endpoint.close()

    def estimate_tokens(self, message: Message) -> int:
        """About how many tokens one request about this mail sends, prompt and schema included."""
        schema = tokens_in(json.dumps(self._schema)) if self._settings.response_format == "json_schema" else 0
        return FIXED_TOKENS + schema + sum(tokens_in(part.content) for part in self._chat(message, None))

    def request_body(self, message: Message, concession: Concession | None = None) -> bytes:
        """The bytes that `classify` sends about this mail. The API gets nothing else of it."""
        settings = self._settings
        room = ROOMIER if concession is Concession.ROOMIER else 1
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": [{"role": part.role, "content": part.content} for part in self._chat(message, concession)],
            self._limit_name: room * settings.max_output_tokens,
        }
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.response_format == "json_schema":
            schema = {"name": "verdict", "strict": True, "schema": self._schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif settings.response_format == "json_object":
            body["response_format"] = {"type": "json_object"}
        if self._endpoint.is_openrouter:
            body["provider"] = {
                "data_collection": settings.data_collection,
                "zdr": settings.zdr,
                "require_parameters": settings.response_format
                != "none",  # else a provider may silently ignore the format
            }
            if settings.session_id is not None:
                body["session_id"] = settings.session_id
        return json.dumps(body, separators=(",", ":")).encode("ascii")

    def _chat(self, message: Message, concession: Concession | None) -> list[ChatMessage]:
        shown = self._shown(message, concession)
        prompt = self._prompt
        if concession is Concession.REMINDED:
            prompt = f"{prompt}\n\n{reminder(self._settings.rubric)}"
        return render(prompt, shown.content, nonce(self._secret, message.key))

    def _shown(self, message: Message, concession: Concession | None) -> Message:
        """The mail with at most `max_body_chars` of its body. Cut here too: the promise about cost depends on it."""
        body = message.content.body
        limit = self._settings.max_body_chars
        if concession is Concession.SHORTER:
            limit = max(min(limit, len(body)) // 2, LEAST_CHARS)
        if len(body) <= limit:
            return message
        return replace(message, content=replace(message.content, body=body[:limit], truncated=True))

    def _rename(self, refused: str, error: AnswerUnusable) -> None:
        """Use the other name of `max_tokens` from now on. Raises `ModelUnknown` when both names are refused."""
        with self._renaming:
            if refused != self._limit_name:  # another thread has changed the name meanwhile
                return
            if self._is_renamed:
                raise ModelUnknown(reason="request_refused") from error
            self._is_renamed = True
            self._limit_name = next(name for name in LIMIT_NAMES if name != refused)
