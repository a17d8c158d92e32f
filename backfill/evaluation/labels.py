"""Labelled mail: finds the files, and reads their labels from folder names or a CSV file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from backfill.errors import ConfigError
from backfill.names import folded
from backfill.rubric import Rubric
from backfill.wording import printable

MAX_MAIL_BYTES: Final = 2_000_000  # bytes that are read of a mail; attachments lie beyond


@dataclass(frozen=True, slots=True)
class Truth:
    """What a person says of a mail. `scores`: does the score's label hold? A score that it does not name is not known.

    `category` None: not known.
    """

    scores: Mapping[str, bool]
    category: str | None = None

    @classmethod
    def of(cls, category: str | None = None, **scores: bool | None) -> Truth:
        """None: the score is not known."""
        return cls({name: holds for name, holds in scores.items() if holds is not None}, category)

    def about(self, rubric: Rubric) -> Truth | None:
        """What it says of this rubric's questions; None: nothing."""
        asked = {name: holds for name, holds in self.scores.items() if rubric.score(name) is not None}
        return Truth(asked, self.category) if asked or self.category is not None else None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A mail's first bytes (at most `MAX_MAIL_BYTES` of its `size`), with its label."""

    raw: bytes
    size: int
    truth: Truth


WORDS: Final[Mapping[str, Truth]] = {
    **dict.fromkeys(("spam", "junk", "phishing"), Truth.of(spam=True, importance=False)),
    **dict.fromkeys(("ham", "good"), Truth.of(spam=False)),
    **dict.fromkeys(("important", "urgent"), Truth.of(spam=False, importance=True)),
    **dict.fromkeys(("unimportant", "normal", "plain", "other"), Truth.of(spam=False, importance=False)),
}


YES_OR_NO: Final = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False, "": None}

#: Files that mail programs keep beside mails.
_NO_MAIL = re.compile(r"\..*|dovecot.*|maildirfolder|subscriptions|cmds|.*\.(?:csv|json|md|txt\.gz)", re.IGNORECASE)
_NOTHING: Final = Truth(MappingProxyType({}))


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


def find_mails(place: Path, rubric: Rubric, labels: Path | None = None) -> MailSet:
    """The mails of a folder of files or Maildirs, or one file, with their labels.

    Without `labels` the nearest folder whose name is a label decides: the name of a category or of a score; spam, junk,
    phishing; ham, good; important; plain, normal, other. Where a folder is named after a score, the score holds for no
    mail of the other folders. Raises `ConfigError` where there is no mail, or no label.
    """
    if not place.exists():
        raise ConfigError(f"There is no {place}; name a folder of labelled mails.")
    paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if _is_mail(path))
    if not paths:
        raise ConfigError(f"There is no mail in {place}; it should hold .eml files, or be a Maildir.")
    names = _Names.of(rubric)
    told = None if labels is None else read_labels(labels, rubric)
    found = [(path, _by_folder(path, place, names) if told is None else told.get(path.resolve())) for path in paths]
    files = tuple((path, truth) for path, truth in found if truth is not None)
    if not files:
        raise ConfigError(
            f"No mail in {place} has a label; put the mails into folders named {names.shown()}, or use --labels FILE."
        )
    if told is None:
        sorted_by = {name for _, truth in files for name, holds in truth.scores.items() if holds}
        others = dict.fromkeys(sorted_by, False)
        files = tuple((path, replace(truth, scores=others | dict(truth.scores))) for path, truth in files)
    return MailSet(files, len(found) - len(files))


def read_labels(path: Path, rubric: Rubric) -> dict[Path, Truth]:
    """A CSV file's labels by absolute path, from a column `file` and at least one of the others.

    `label`: one word, as a folder's name. `category`: one of the rubric's. A score's name or label: yes, no or empty.
    Files are named relative to the CSV file's folder. Raises `ConfigError` with the line that is wrong.
    """
    names = _Names.of(rubric)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            columns = {name: name.strip().casefold() for name in table.fieldnames or ()}
            asked = {"label", *(("category",) if names.categories else ()), *names.columns}
            if "file" not in columns.values() or asked.isdisjoint(columns.values()):
                raise ConfigError(
                    f"{path} needs a first line with file and at least one of {_shown(sorted(asked))}, between commas."
                )
            return {
                (path.parent / row["file"]).resolve(): truth
                for row in ({columns[key]: value for key, value in row.items() if key in columns} for row in table)
                if (truth := _told(row, names, f"{path}:{table.line_num}")) is not None
            }
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a CSV file in UTF-8.") from error


@dataclass(frozen=True, slots=True)
class _Names:
    """The names that a label may have, each in small letters; `scores` has them by name and by label."""

    rubric: Rubric
    scores: Mapping[str, str]
    categories: Mapping[str, str]

    @classmethod
    def of(cls, rubric: Rubric) -> _Names:
        return cls(
            rubric,
            {folded(word): score.name for score in rubric.scores for word in (score.name, score.label)},
            {folded(category.name): category.name for category in rubric.categories},
        )

    @property
    def columns(self) -> frozenset[str]:
        """The columns of scores in a CSV file. A score may have the name of a column that says something else."""
        return frozenset(self.scores) - {"file", "label"}

    def truth_of(self, word: str) -> Truth | None:
        """What a label says; None: it is no label, or says nothing of what the rubric asks for.

        A category may have the name of a word, such as `Other`; then it says nothing of the scores, unless it says that
        one of them holds.
        """
        word = folded(word)
        category = self.categories.get(word)
        scores = dict(WORDS.get(word, _NOTHING).scores)
        if category is not None and True not in scores.values():
            scores = {}
        if (score := self.scores.get(word)) is not None:
            scores[score] = True
        return Truth(scores, category).about(self.rubric)

    def shown(self) -> str:
        return _shown([*self.categories.values(), *(score.label for score in self.rubric.scores), *WORDS])


def _told(row: Mapping[str, Any], names: _Names, place: str) -> Truth | None:
    words = {name: str(value or "").strip() for name, value in row.items()}
    if word := words.get("label", ""):
        truth = names.truth_of(word)
        if truth is None and word.casefold() not in WORDS:
            raise ConfigError(f"{place}: a label is one of {names.shown()}.")
    else:
        truth = None
    scores = dict(truth.scores) if truth else {}
    for column in names.columns & words.keys():
        if words[column].casefold() not in YES_OR_NO:
            raise ConfigError(f"{place}: {printable(column)} is yes, no or empty.")
        holds = YES_OR_NO[words[column].casefold()]
        if holds is not None:
            scores[names.scores[column]] = holds
    category = truth.category if truth else None
    if word := words.get("category", "") if names.categories else "":
        if folded(word) not in names.categories:
            raise ConfigError(f"{place}: a category is one of {_shown(names.categories.values())}.")
        category = names.categories[folded(word)]
    return Truth(scores, category).about(names.rubric)


def _shown(names: Iterable[str]) -> str:
    """The names in a sentence: each once, whatever its letters' case."""
    once: dict[str, str] = {}
    for name in names:
        once.setdefault(name.casefold(), name)
    return ", ".join(map(printable, once.values()))


def _is_mail(path: Path) -> bool:
    return path.is_file() and path.parent.name != "tmp" and not _NO_MAIL.fullmatch(path.name)


def _by_folder(path: Path, place: Path, names: _Names) -> Truth | None:
    """By the nearest folder whose name is a label, from the file's own folder up to `place`."""
    inside = path.parent.relative_to(place).parts if place.is_dir() else ()
    for name in (*reversed(inside), place.resolve().name if place.is_dir() else path.resolve().parent.name):
        for word in (name, name.rpartition(".")[2]):  # a Maildir's folder is called .Archive.Invoices
            if word and (truth := names.truth_of(word)) is not None:
                return truth
        words = re.findall(r"[a-z]+", name.lower())
        if "spam" in words and {"not", "no", "non"} & set(words):
            words = ["ham"]
        for word in words:
            if word in WORDS and (truth := WORDS[word].about(names.rubric)) is not None:
                return truth
    return None
