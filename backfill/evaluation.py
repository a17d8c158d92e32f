"""Measures a classifier by mails that a person has labelled.

Labels come from folder names or from a CSV file; what has none is left out and counted. Each mail is asked about once,
at the pace of all calls; patience with a service that is away is short, since nothing here is remembered.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from backfill.clock import StopRequest
from backfill.errors import AnswerUnusable, ConfigError, MessageRefused, RateLimited, ServiceUnavailable
from backfill.ledger.pace import Slot
from backfill.message import Message
from backfill.ports import Classifier
from backfill.throttle import Throttler
from backfill.verdict import Answer, Thresholds, Usage

MAX_MAIL_BYTES: Final = 2_000_000  # what is beyond is attachments
TRIES: Final = 3
PAUSE_S: Final = 15.0  # after a failed call for which the service named no wait


# ── what a person says ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Truth:
    """What a person says of a mail; None: nothing."""

    is_spam: bool | None = None
    is_important: bool | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A mail's bytes (at most `MAX_MAIL_BYTES`, of `size`) with what a person says of it."""

    raw: bytes
    size: int
    truth: Truth


WORDS: Final = {
    **dict.fromkeys(("spam", "junk", "phishing"), Truth(is_spam=True, is_important=False)),
    **dict.fromkeys(("ham", "good"), Truth(is_spam=False)),
    **dict.fromkeys(("important", "urgent"), Truth(is_spam=False, is_important=True)),
    **dict.fromkeys(("unimportant", "normal", "plain", "other"), Truth(is_spam=False, is_important=False)),
}
YES_OR_NO: Final = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False, "": None}
#: Files that mail programs keep beside mails.
_NO_MAIL = re.compile(r"\..*|dovecot.*|maildirfolder|subscriptions|cmds|.*\.(?:csv|json|md|txt\.gz)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MailSet:
    """Labelled files; `unlabelled` counts those of which nobody says anything."""

    files: tuple[tuple[Path, Truth], ...]
    unlabelled: int = 0

    def __iter__(self) -> Iterator[Labelled]:
        """The mails, read one by one. Raises `ConfigError` for a file that cannot be read."""
        for path, truth in self.files:
            try:
                with path.open("rb") as file:
                    yield Labelled(file.read(MAX_MAIL_BYTES), path.stat().st_size, truth)
            except OSError as error:
                raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def find_mails(place: Path, labels: Path | None = None) -> MailSet:
    """The mails of a folder of files or Maildirs, or one file, with their labels.

    Without `labels` the nearest folder with a telling name decides: spam, junk, phishing; ham, good; important;
    plain, normal, other. Ham says nothing of importance unless there is important mail elsewhere in the set.
    """
    if not place.exists():
        raise ConfigError(f"There is no {place}; name a folder of labelled mails.")
    paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if _is_mail(path))
    if not paths:
        raise ConfigError(f"There is no mail in {place}; it should hold .eml files, or be a Maildir.")
    told = None if labels is None else read_labels(labels)
    found = [(path, _truth_of(path, place) if told is None else told.get(path.resolve())) for path in paths]
    if not any(truth for _, truth in found):
        raise ConfigError(
            f"No mail in {place} has a label; put the mails into folders spam, ham or important, or use --labels FILE."
        )
    has_important = any(truth is not None and truth.is_important for _, truth in found)
    files = tuple(
        (path, Truth(False, False) if has_important and truth == WORDS["ham"] and told is None else truth)
        for path, truth in found
        if truth is not None
    )
    return MailSet(files, len(found) - len(files))


def read_labels(path: Path) -> dict[Path, Truth]:
    """A CSV file's labels by absolute path: columns `file` and `label`, or `file`, `spam` and `important` (yes, no).

    Files are named relative to the CSV file's folder. Raises `ConfigError` with the line that is wrong.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            columns = set(table.fieldnames or ())
            if "file" not in columns or not columns & {"label", "spam", "important"}:
                raise ConfigError(f"{path} needs a first line with file,label or file,spam,important.")
            return {(path.parent / row["file"]).resolve(): _told(row, f"{path}:{table.line_num}") for row in table}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a CSV file in UTF-8.") from error


def _told(row: dict[str, Any], place: str) -> Truth:
    words = {name: str(row.get(name) or "").strip().lower() for name in ("label", "spam", "important")}
    if words["label"]:
        if words["label"] not in WORDS:
            raise ConfigError(f"{place}: a label is one of {', '.join(WORDS)}.")
        return WORDS[words["label"]]
    if not {words["spam"], words["important"]} <= YES_OR_NO.keys():
        raise ConfigError(f"{place}: spam and important are yes, no or empty.")
    return Truth(YES_OR_NO[words["spam"]], YES_OR_NO[words["important"]])


def _is_mail(path: Path) -> bool:
    return path.is_file() and path.parent.name != "tmp" and not _NO_MAIL.fullmatch(path.name)


def _truth_of(path: Path, place: Path) -> Truth | None:
    """By the nearest folder with a telling name, from the file's own up to the one that was named."""
    inside = path.parent.relative_to(place).parts if place.is_dir() else ()
    for name in (*reversed(inside), place.resolve().name if place.is_dir() else path.resolve().parent.name):
        words = re.findall(r"[a-z]+", name.lower())
        if "spam" in words and {"not", "no", "non"} & set(words):
            return WORDS["ham"]
        for word in words:
            if word in WORDS:
                return WORDS[word]
    return None


# ── what the classifier says ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Judged:
    """A truth with the classifier's answer; None: it gave none. `was_called`: it took a call."""

    truth: Truth
    answer: Answer | None
    was_called: bool = False
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """Asks about one mail after the other. `throttler` None: the classifier is unmetered."""

    classifier: Classifier
    throttler: Throttler | None
    stop: StopRequest

    def judge(self, mails: Iterable[tuple[Message, Truth]]) -> Iterator[Judged]:
        """Each mail once; ends early when a stop is asked for.

        Raises the `ClassifierError` that concerns more than one mail.
        """
        for message, truth in mails:
            if self.stop.is_set():
                return
            answer = self.classifier.decide_free(message)
            if answer is not None:
                yield Judged(truth, answer)
            else:
                yield self._called(message, truth)

    def _called(self, message: Message, truth: Truth) -> Judged:
        for remaining in reversed(range(TRIES)):
            slot = self._turn(message)
            if self.throttler is not None and slot is None:
                break
            try:
                answer = self.classifier.classify(message)
            except (AnswerUnusable, MessageRefused) as error:
                self._settle(slot, error.usage)
                return Judged(truth, None, True, error.usage.cost_usd if error.usage else None)
            except (RateLimited, ServiceUnavailable) as error:
                if not remaining or self.throttler is None:
                    raise
                self.throttler.block(error.wait_s if error.wait_s is not None else PAUSE_S, error.reason)
            else:
                self._settle(slot, answer.usage)
                return Judged(truth, answer, True, answer.usage.cost_usd)
        return Judged(truth, None)

    def _turn(self, message: Message) -> Slot | None:
        """The slot of a call; None when a stop came first, or none is needed."""
        if self.throttler is None:
            return None
        tokens = self.classifier.estimate_tokens(message) + self.throttler.answer_tokens
        return self.throttler.wait(self.stop, tokens=tokens)

    def _settle(self, slot: Slot | None, usage: Usage | None) -> None:
        if self.throttler is None or slot is None or usage is None:
            return
        if usage.tokens_in is not None and usage.tokens_out is not None:
            self.throttler.settle(slot, usage.tokens_in + usage.tokens_out)


# ── how well they agree ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one of the two scores agrees with what people say. Shares are None where there is nothing to share."""

    threshold: int
    auc: float | None  # chance that a positive mail has a higher score than a negative one; ties count half
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def mails(self) -> int:
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives

    @property
    def precision(self) -> float | None:
        """Of those that reach the threshold, how many rightly."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """Of those that should reach the threshold, how many do."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one set of mails. `cost_usd` None: unknown, or nothing that costs was asked."""

    mails: int
    unanswered: int
    calls: int
    gated: int
    cost_usd: Decimal | None
    spam: Agreement
    importance: Agreement


def evaluate(judged: Sequence[Judged], thresholds: Thresholds) -> Evaluation:
    """The figures. Mails without an answer count as unanswered and nowhere else."""
    costs = [each.cost_usd for each in judged if each.cost_usd is not None]
    answered = [(each.truth, each.answer) for each in judged if each.answer is not None]
    return Evaluation(
        mails=len(judged),
        unanswered=len(judged) - len(answered),
        calls=sum(each.was_called for each in judged),
        gated=sum(answer.source == "gate" for _, answer in answered),
        cost_usd=sum(costs, Decimal(0)) if costs else None,
        spam=agreement([(a.scores.spam, t.is_spam) for t, a in answered], thresholds.spam),
        importance=agreement([(a.scores.importance, t.is_important) for t, a in answered], thresholds.importance),
    )


def agreement(pairs: Iterable[tuple[int, bool | None]], threshold: int) -> Agreement:
    """Scores against truths; what nobody says anything of is left out."""
    known = [(score, truth) for score, truth in pairs if truth is not None]

    def count(is_reached: bool, truth: bool) -> int:
        return sum((score >= threshold) is is_reached and told is truth for score, told in known)

    return Agreement(
        threshold=threshold,
        auc=roc_auc(known),
        true_positives=count(True, True),
        false_positives=count(True, False),
        false_negatives=count(False, True),
        true_negatives=count(False, False),
    )


def roc_auc(pairs: Iterable[tuple[float, bool]]) -> float | None:
    """Area under the ROC curve by ranks (Mann-Whitney), ties at their mean rank; None without both kinds."""
    ordered = sorted(pairs)
    positives = sum(truth for _, truth in ordered)
    negatives = len(ordered) - positives
    if not positives or not negatives:
        return None
    rank_sum, place = 0.0, 0
    while place < len(ordered):
        end = place
        while end < len(ordered) and ordered[end][0] == ordered[place][0]:
            end += 1
        rank_sum += (place + end + 1) / 2 * sum(truth for _, truth in ordered[place:end])
        place = end
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
