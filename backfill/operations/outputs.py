"""The outputs that a command works with one by one, by name: made when needed, patient while the mail server is away.

One odd mail or folder does not stop the rest: it gets an `Unapplied` for its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, TypeVar

from backfill.errors import (
    BackfillError,
    ConfigError,
    EffectDenied,
    EffectUnreachable,
    FolderUnknown,
    FolderUnusable,
    MailboxChanged,
    MessageGone,
    ServerTroubled,
    ServerUnavailable,
    Unexpected,
    around_one_mail,
)
from backfill.ledger.rows import Item, Job
from backfill.message import MailboxKey, Message, MessageRef
from backfill.operations.parts import Audience, Parts
from backfill.outputs import NAMES
from backfill.ports import Effect, Judged, Receipt, Unapplied
from backfill.rubric import Rubric

T = TypeVar("T", Receipt, Judged, MessageRef)
A = TypeVar("A")

#: While the mail server is away, try again after these seconds. Doing the same twice is harmless.
PAUSES_S: Final = (2.0, 5.0, 15.0, 60.0)


class Outputs:
    """The effects by name, made when first needed. They are closed with `opened`."""

    def __init__(self, parts: Parts, audience: Audience, opened: ExitStack) -> None:
        self._parts = parts
        self._audience = audience
        self._opened = opened
        self._made: dict[tuple[str, Rubric | None], Effect] = {}
        self._down: dict[str, BackfillError] = {}  # by effect; not asked again
        self._unusable: dict[tuple[str, MailboxKey], BackfillError] = {}  # by effect; not asked again

    def get(self, name: str, job: Job | None = None) -> Effect:
        """Raises `ConfigError` for a name that this version does not know.

        `job`: the effect is for what this job asks; None: for today's rubric.
        """
        key = name, None if job is None else self._parts.rubric_of(job)
        if key not in self._made:
            effect = self._parts.output(name, job)
            if effect is None:
                raise ConfigError(f"There is no output {name!r:.40}; there are {', '.join(NAMES)}.")
            self._opened.callback(effect.close)
            self._made[key] = effect
        return self._made[key]

    def traces(self, receipt: Receipt) -> tuple[str, ...]:
        """What the effect is to take back; () if this version does not know the effect."""
        try:
            return self.get(receipt.effect).traces(receipt)
        except ConfigError:  # it is named when its receipts are not taken back
            return ()

    def judged(
        self, effect: Effect, job: Job, given: Sequence[tuple[Item, Mapping[str, Any]]]
    ) -> tuple[list[Judged], list[Unapplied]]:
        """The mails of a job's items as the effect takes them; and the unreadable ones.

        `given`: each item with the detail of its mail's receipt.
        """
        messages: dict[MessageRef, Message] = {}
        unread: list[Unapplied] = []
        if effect.needs_message:
            fetch = partial(self._fetch, name=effect.name)
            for answer in self.answers(effect.name, [held.ref for held, _ in given], fetch):
                if isinstance(answer, Message):
                    messages[answer.ref] = answer
                else:
                    unread.append(answer)
        labels = self._parts.rubric_of(job).labels
        named = {each for message in messages.values() for each in message.ancestors}
        threads = self._parts.ledger.receipts.in_threads(self._parts.account, effect.name, named) if named else {}
        return [
            Judged(
                ref=held.ref,
                verdict=held.verdict,
                labels=labels(held.verdict),
                flags_before=held.flags_before,
                message=messages.get(held.ref),
                previous=previous,
                job_id=job.id,
                thread={each: threads[each] for each in _ancestors(messages.get(held.ref)) if each in threads},
            )
            for held, previous in given
            if held.verdict is not None and (held.ref in messages or not effect.needs_message)
        ], unread

    def _fetch(self, refs: Sequence[MessageRef], name: str) -> Iterator[Message | Unapplied]:
        for answer in self._parts.source.fetch(refs[0].mailbox, [ref.uid for ref in refs]):
            yield answer if isinstance(answer, Message) else Unapplied(answer.ref, name, answer.error)

    def answers(
        self, name: str, given: Sequence[T], work: Callable[[Sequence[T]], Iterable[A | Unapplied]]
    ) -> list[A | Unapplied]:
        """One answer for each of `given`, which lie in one mailbox. After an unexpected error, halve them."""
        if not given:
            return []
        mailbox = _ref(given[0]).mailbox
        error = self._down.get(name) or self._unusable.get((name, mailbox))
        if error is None:
            try:
                return list(self._patiently(given, work))
            except (FolderUnusable, MailboxChanged) as unusable:
                error = self._unusable[name, mailbox] = self._why(unusable, mailbox)
            except (EffectUnreachable, EffectDenied) as down:  # the other outputs go on
                error = self._down[name] = down
            except ServerTroubled as troubled:
                self._parts.source.list_folders()  # raises in an outage, which is not this folder's trouble
                error = self._unusable[name, mailbox] = troubled
            except Unexpected as unexpected:
                if len(given) > 1:
                    middle = len(given) // 2
                    halves = given[:middle], given[middle:]
                    return [answer for half in halves for answer in self.answers(name, half, work)]
                error = unexpected
        return [Unapplied(_ref(each), name, error) for each in given]

    def _why(self, error: FolderUnusable | MailboxChanged, mailbox: MailboxKey) -> BackfillError:
        """A folder that the server does not list is deleted, and its mails are gone."""
        if isinstance(error, FolderUnknown) and mailbox.folder not in {
            folder.name for folder in self._parts.source.list_folders()
        }:
            return MessageGone(f"The folder {mailbox.folder!r} is no longer on the server.")
        return error

    def _patiently(
        self, given: Sequence[T], work: Callable[[Sequence[T]], Iterable[A | Unapplied]]
    ) -> list[A | Unapplied]:
        """Work, and try again after a pause while the mail server is away."""
        for pause in PAUSES_S:
            try:
                return _worked(given, work)
            except ServerUnavailable as error:
                wait = error.wait_s or pause
                # A server that answers, and cannot work, may have trouble with this folder alone.
                longest = PAUSES_S[1] if isinstance(error, ServerTroubled) else PAUSES_S[-1]
                if wait > longest or self._audience.stop.is_set():
                    raise
                self._audience.observer.waiting(f"mail server unavailable, trying again in {wait:.0f} s")
                self._audience.clock.sleep(wait, self._audience.stop)
                self._audience.observer.waiting(None)
        return _worked(given, work)


def _ancestors(message: Message | None) -> tuple[str, ...]:
    return () if message is None else message.ancestors


def _worked(given: Sequence[T], work: Callable[[Sequence[T]], Iterable[A | Unapplied]]) -> list[A | Unapplied]:
    with around_one_mail():
        return list(work(given))


def _ref(given: Receipt | Judged | MessageRef) -> MessageRef:
    return given if isinstance(given, MessageRef) else given.ref
