"""The verdict as JSON, posted to an address of the operator's.

A mail counts as delivered when the receiver answers with 2xx. After a crash between the POST and the receipt, the same
verdict is posted again under the same `Idempotency-Key`, by which the receiver knows it. No redirect is followed. The
secret and the address, whose path may be a secret as well, are never part of a message.

What an answer means:

- 2xx: delivered.
- 408, 425, 429, 5xx, no answer: the receiver is in trouble. Nothing fails; the run waits, also for `Retry-After`. Where
  the receiver takes other mails meanwhile, only this mail is at fault: it is tried again later, and fails after
  `llm.retry_attempts`.
- 3xx, 401, 403, 404, 405, 410: before the first delivery, or for `MOST_DENIED` mails in a row, the address or the
  secret is wrong, so the run stops. Otherwise the mail is refused.
- any other: this mail is refused; the others go on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from backfill.clock import Clock
from backfill.errors import (
    BackfillError,
    ConfigError,
    EffectDenied,
    EffectRefused,
    EffectRejected,
    EffectThrottled,
    EffectUnreachable,
    HostUnavailable,
    ReplyTooLarge,
)
from backfill.hosts import is_loopback
from backfill.http.client import Client, Reply, is_header_value, is_url
from backfill.http.waits import header_wait_s
from backfill.message import MailboxKey, Message, MessageRef
from backfill.ports import Judged, Lost, Probe, Receipt, ReceiptState, State, Unapplied, Undone
from backfill.wording import Deed

MAX_REPLY_BYTES: Final = 65_536  # only the status of a reply counts
MOST_DENIED: Final = 5
# After this many mails in a row without an answer, or with a server's error, the receiver is down.
MOST_SUSPECTS: Final = 3
TROUBLED: Final = frozenset({408, 425, 429})
DENIED: Final = frozenset({401, 403, 404, 405, 407, 410})


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where verdicts are posted. `secret` goes into the header `secret_header`; None: no secret is sent."""

    url: str | None = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    secret_header: str = "Authorization"  # noqa: S105 - the name of the header
    include_body: bool = False
    timeout_s: float = 10.0


class WebhookEffect:
    """Posts one verdict after the other. Used by one thread. Raises `ConfigError` for what would reveal the secret."""

    name = "webhook"
    needs_message = True

    def __init__(self, settings: WebhookSettings, clock: Clock) -> None:
        parts = _checked(settings)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._include_body = settings.include_body
        self._clock = clock
        self._secret = {} if settings.secret is None else {settings.secret_header: _header(settings)}
        self._client = Client(f"{parts.scheme}://{parts.netloc}", {}, timeout_s=settings.timeout_s, clock=clock)
        self._delivered = 0
        self._denied = 0  # mails in a row
        self._alone: set[MessageRef] = set()  # mails that the receiver failed while it took others

    def holds(self, detail: Mapping[str, Any], labels: Sequence[str]) -> bool:
        """Was the verdict posted with these labels? Another address or secret is no reason to post it again."""
        return list(detail.get("labels", labels)) == list(labels)

    def apply(self, mails: Sequence[Judged]) -> Iterator[Receipt | Unapplied]:
        """Post each mail's verdict. Mails that a receiver in trouble did not take are `EffectUnreachable`.

        `EffectDenied`: the address or the secret is wrong. Raises `EnvironmentUnusable` for a wrong proxy or CA bundle.
        """
        suspects: list[tuple[MessageRef, EffectUnreachable, int]] = []  # with the deliveries before each
        in_a_row = 0
        end: EffectUnreachable | EffectDenied | None = None  # why nothing more is posted
        for mail in mails:
            if end is not None:
                yield Unapplied(mail.ref, self.name, end)
                continue
            try:
                self._deliver(_verdict(mail, include_body=self._include_body), _key(mail))
            except EffectUnreachable as error:
                suspects.append((mail.ref, error, self._delivered))
                in_a_row += 1
                if error.concerns_all or in_a_row == MOST_SUSPECTS:
                    end = error
            except EffectDenied as error:
                end = error
                yield Unapplied(mail.ref, self.name, error)
            except EffectRejected as error:
                yield Unapplied(mail.ref, self.name, error)
            else:
                in_a_row = 0
                yield _receipt(mail)
        for ref, trouble, delivered_before in suspects:
            if self._delivered > delivered_before:
                self._alone.add(ref)
            is_alone = ref in self._alone and not trouble.concerns_all
            yield Unapplied(
                ref, self.name, EffectRefused(str(trouble), reason="webhook_fails") if is_alone else trouble
            )

    def lost(self, receipts: Sequence[Receipt]) -> Iterator[Lost]:
        """Nothing: what the receiver has made of a verdict cannot be looked at."""
        yield from ()

    def presumed(self, mails: Sequence[Judged]) -> Iterator[Receipt]:
        """The verdict may have been posted. If it was not, the receiver is told to forget what it does not know."""
        yield from map(_receipt, mails)

    def undo(self, receipts: Sequence[Receipt]) -> Iterator[Undone | Unapplied]:
        """Tell the receiver that verdicts no longer hold: what it has made of them, only it can take back."""
        for receipt in receipts:
            key = str(receipt.detail.get("key", ""))
            event = {"event": "undone", **_address(receipt.ref), "undoes": key}
            try:
                self._deliver(event, hashlib.sha256(f"undone {key}".encode()).hexdigest()[:32])
            except EffectRejected as error:
                yield Unapplied(receipt.ref, self.name, error)
            else:
                yield Undone(receipt.ref, self.name)

    def traces(self, receipt: Receipt) -> tuple[str, ...]:
        return ("webhook call",)

    def foreseen(self, labels: Sequence[str]) -> tuple[Deed, ...]:
        return (Deed("make", "webhook call", "webhook call"),)

    def probe(self, inbox: MailboxKey | None) -> Iterator[Probe]:
        """Does the host answer? It is asked with HEAD and without the secret, so that nothing is delivered."""
        status = self._call("HEAD", None, {}).status
        yield Probe(self.name, State.OK, f"{self._client.host} answers (HTTP {status}); nothing was posted.")

    def close(self) -> None:
        self._client.close()

    def _deliver(self, document: dict[str, Any], key: str) -> None:
        """One POST. Raises the error that its answer means."""
        body = json.dumps(document).encode()
        reply = self._call("POST", body, {"Idempotency-Key": key, **self._secret})
        if 200 <= reply.status < 300:
            self._delivered += 1
            self._denied = 0
            return
        raise self._meaning(reply)

    def _call(self, method: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        try:
            return self._client.send(method, self._target, body, MAX_REPLY_BYTES, headers)
        except ReplyTooLarge as error:
            return Reply(error.http_status, {}, b"")
        except HostUnavailable as error:
            raise EffectUnreachable(f"webhook: {error}") from error

    def _meaning(self, reply: Reply) -> BackfillError:
        status, said = reply.status, f"The webhook at {self._client.host} answers with HTTP {reply.status}"
        if status in TROUBLED or status >= 500:
            wait_s = header_wait_s(reply.headers, self._clock.now())
            if status == 429 or wait_s is not None:
                patience = "asks for patience" if wait_s is None else f"asks to wait for {wait_s:.0f} s"
                return EffectThrottled(f"{said} and {patience}.", wait_s=wait_s)
            return EffectUnreachable(f"{said}.")
        if status in DENIED or status < 400:
            self._denied += 1
            if not self._delivered or self._denied >= MOST_DENIED:
                return EffectDenied(f"{said}; {_remedy(status)}.")
        else:
            self._denied = 0
        return EffectRejected(f"{said} to this mail.", reason=f"webhook_http_{status}")


def _checked(settings: WebhookSettings) -> Any:
    """The parts of the address. Messages name neither it nor the secret."""
    if settings.url is None:
        raise ConfigError("effects names webhook, but webhook.url is not set.")
    if not is_url(settings.url):
        raise ConfigError("webhook.url is not a URL.")
    parts = urlsplit(settings.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ConfigError("webhook.url must look like https://host/path, without user name and password.")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError("webhook.url would send verdicts unencrypted; use https://.")
    if settings.secret is not None and not is_header_value(settings.secret):
        raise ConfigError("The webhook's secret is empty, or has an odd character in it; copy it again.")
    return parts


def _header(settings: WebhookSettings) -> str:
    """The header's value. A secret of two words has its own scheme, e.g. `Basic …`."""
    secret = settings.secret or ""
    is_bare = settings.secret_header.lower() == "authorization" and " " not in secret
    return f"Bearer {secret}" if is_bare else secret


def _remedy(status: int) -> str:
    if status < 400:
        return "redirects are not followed, so put the final address into webhook.url"
    if status in (401, 403, 407):
        return "check webhook.secret_env and webhook.secret_header"
    return "check webhook.url"


def _receipt(mail: Judged) -> Receipt:
    detail = {"key": _key(mail), "of": _content_key(mail), "labels": list(mail.labels)}
    return Receipt(mail.ref, WebhookEffect.name, ReceiptState.APPLIED, detail)


def _key(mail: Judged) -> str:
    """The same after a crash. Another one where the same content is posted again after something else was."""
    key, previous = _content_key(mail), mail.previous or {}
    earlier = str(previous.get("key", key))
    if previous.get("of", earlier) == key:
        return earlier
    return hashlib.sha256(f"{key} after {earlier}".encode()).hexdigest()[:32]


def _content_key(mail: Judged) -> str:
    """The same for the same mail, verdict and labels, in every run and job."""
    told = _verdict(mail, include_body=False) | {"job": None}
    return hashlib.sha256(json.dumps([mail.verdict.id, told], sort_keys=True).encode()).hexdigest()[:32]


def _address(ref: MessageRef) -> dict[str, Any]:
    mailbox = ref.mailbox
    return {
        "account": mailbox.account,
        "folder": _sendable(mailbox.folder),
        "uidvalidity": mailbox.uidvalidity,
        "uid": ref.uid,
    }


def _verdict(mail: Judged, *, include_body: bool) -> dict[str, Any]:
    """What is posted. It has no time of its own, so that it is the same after a crash."""
    message, verdict = _message_of(mail), mail.verdict
    content, date = message.content, message.sent_at or message.received_at
    document = {
        "event": "verdict",
        **_address(mail.ref),
        "message_key": message.key,
        "message_id": _sendable(message.message_id),
        "date": None if date is None else date.isoformat(),
        "sender": _sendable(content.sender),
        "subject": _sendable(content.subject),
        "scores": dict(verdict.scores),
        "category": verdict.category,
        "reason": verdict.reason or None,
        "labels": list(mail.labels),
        "model": verdict.model,
        "source": verdict.source,
        "job": mail.job_id,
    }
    return document | ({"body": _sendable(content.body), "truncated": content.truncated} if include_body else {})


def _message_of(mail: Judged) -> Message:
    assert mail.message is not None, "the webhook needs the message"
    return mail.message


def _sendable(text: str) -> str:
    """Lone surrogates have no bytes in UTF-8, and many a receiver refuses them in JSON."""
    return text.encode("utf-8", "replace").decode()
