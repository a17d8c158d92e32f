"""Labelled mail: finds the files, and reads their labels from folder names or a CSV file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backfill.errors import ConfigError

MAX_MAIL_BYTES: Final = 2_000_000  # bytes that are read of a mail; attachments lie beyond


@dataclass(frozen=True, slots=True)
class Truth:
    """The label that a person gave a mail. None: the label does not say."""

    is_spam: bool | None = None
    is_important: bool | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A mail's first bytes (at most `MAX_MAIL_BYTES` of its `size`), with its label."""

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
    """Labelled files. `unlabelled`: how many files have no label and are left out."""

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

    Without `labels` the nearest folder whose name is a label decides: spam, junk, phishing; ham, good; important;
    plain, normal, other. `ham` says nothing about importance; where other mail of the set is labelled important, it
    means unimportant. Raises `ConfigError` where there is no mail, or no label.
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
    """By the nearest folder whose name is a label, from the file's own folder up to `place`."""
    inside = path.parent.relative_to(place).parts if place.is_dir() else ()
    for name in (*reversed(inside), place.resolve().name if place.is_dir() else path.resolve().parent.name):
        words = re.findall(r"[a-z]+", name.lower())
        if "spam" in words and {"not", "no", "non"} & set(words):
            return WORDS["ham"]
        for word in words:
            if word in WORDS:
                return WORDS[word]
    return None
