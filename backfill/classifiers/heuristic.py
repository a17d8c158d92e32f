"""The `heuristic` classifier: judges mail by rules, offline, free of charge and the same way every time.

Its rules are data (`heuristic_rules`); here is how a mail is read for the signs that they name. An answer's
explanation lists the rules that applied. Nothing in a mail can add to its scores by naming scores: such text
speaks for spam.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Final

from backfill.classifiers.heuristic_phrases import BRANDS, PHRASES
from backfill.classifiers.heuristic_rules import BASE_IMPORTANCE, BASE_SPAM, RULES, TOLERATED_SPAM, Rule
from backfill.errors import Concession
from backfill.message import Content, Message
from backfill.ports import Fingerprint
from backfill.sites import are_one_site
from backfill.verdict import HIGHEST, LOWEST, Answer, Scores

#: Part of the fingerprint: raise it when a fact below, or the sum in `judge`, is worked out in another way.
READING: Final = 2


class HeuristicClassifier:
    """Judges mail by rules. Thread-safe, and never raises: any mail has a verdict."""

    is_metered: Final = False

    def __init__(self, *, max_body_chars: int) -> None:
        self._max_body_chars = max_body_chars
        parts = {"classifier": "heuristic", "rules": rules_digest(), "max_body_chars": max_body_chars}
        self._fingerprint = Fingerprint(parts=parts)

    @property
    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    def decide_free(self, message: Message) -> Answer:
        """As `classify`: rules cost nothing."""
        return self.classify(message)

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        """The scores, with the names of the rules that made them."""
        scores, rules = judge(message.content, self._max_body_chars)
        return Answer(scores, source="heuristic", explanation=", ".join(rules))

    def signs(self, message: Message) -> frozenset[str]:
        """What the rules see in the mail: phrase groups that occur in it, facts that hold."""
        return _signs(_Reading.of(message.content, self._max_body_chars))

    def estimate_tokens(self, message: Message) -> int:
        """None are sent."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


def judge(content: Content, max_body_chars: int) -> tuple[Scores, tuple[str, ...]]:
    """Scores, and the names of the rules that applied, in the table's order."""
    signs = _signs(_Reading.of(content, max_body_chars))
    applied = [rule for rule in RULES if all(_holds(sign, signs) for sign in rule.when)]
    spam = _bounded(BASE_SPAM + sum(rule.spam for rule in applied))
    importance = BASE_IMPORTANCE + sum(rule.importance for rule in applied) - max(0, spam - TOLERATED_SPAM)
    return Scores(_bounded(importance), spam), tuple(rule.name for rule in applied)


def rules_digest(rules: Iterable[Rule] = RULES) -> str:
    """SHA-256 (hex) of the tables: any changed rule, phrase or amount is another classifier."""
    table = [asdict(rule) for rule in rules]
    tables = [READING, BASE_IMPORTANCE, BASE_SPAM, TOLERATED_SPAM, table, PHRASES, BRANDS]
    return hashlib.sha256(json.dumps(tables, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _holds(sign: str, signs: frozenset[str]) -> bool:
    absent = sign.removeprefix("not ")
    return sign in signs if absent == sign else absent not in signs


def _bounded(score: int) -> int:
    return min(max(score, LOWEST), HIGHEST)


# ── how a mail is read ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Reading:
    """A mail, prepared once for all facts."""

    content: Content
    name: str  # the sender's display name
    address: str  # the sender's address, in lower case
    domain: str
    body: str
    text: str  # subject and body as `_fold` makes them
    hosts: tuple[str, ...]
    names: tuple[str, ...]  # of attachments, in lower case

    @classmethod
    def of(cls, content: Content, max_body_chars: int) -> _Reading:
        name, address = _mailbox(content.sender)
        body = content.body[:max_body_chars]
        return cls(
            content=content,
            name=name,
            address=address,
            domain=_domain(address),
            body=body,
            text=_fold(f"{content.subject} . {body}"),
            hosts=tuple(host.lower() for host in content.link_hosts),
            names=tuple(attachment.name.lower().strip() for attachment in content.attachments),
        )


def _fold(text: str) -> str:
    """Words in lower case without accents, parted by single blanks, with a blank at either end."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(char for char in decomposed if not unicodedata.combining(char))
    words = re.findall(r"\w+", text.casefold())
    return f" {' '.join(words)} "


def _mailbox(sender: str) -> tuple[str, str]:
    """Display name and address. Not `email.utils`: the name is decoded, so it may hold bare commas."""
    name, bracket, rest = sender.rpartition("<")
    if not bracket:
        return "", sender.strip().lower()
    return name.strip(' "'), rest.partition(">")[0].strip().lower()


def _domain(address: str) -> str:
    """ "" where there is no address: a name alone says nothing of a host."""
    return address.rpartition("@")[2] if "@" in address else ""


_PHRASES_BY_FIRST_WORD: Final[dict[str, list[tuple[str, str]]]] = {}
for _sign, _phrases in PHRASES.items():
    for _phrase in map(_fold, _phrases):
        _PHRASES_BY_FIRST_WORD.setdefault(_phrase.split()[0], []).append((_sign, _phrase))


def _signs(reading: _Reading) -> frozenset[str]:
    """Every sign that the mail bears: phrase groups that occur in it, facts that hold."""
    said = {
        sign
        for word in _PHRASES_BY_FIRST_WORD.keys() & set(reading.text.split())
        for sign, phrase in _PHRASES_BY_FIRST_WORD[word]
        if phrase in reading.text
    }
    return frozenset(said | {sign for sign, is_true in FACTS.items() if is_true(reading)})


# ── the facts ────────────────────────────────────────────────────────────────────────────────────────────

_BULK: Final = frozenset({"bulk", "list", "junk"})
_SHORTENERS: Final = frozenset(
    {"bit.ly", "tinyurl.com", "t.co", "goo.gl", "is.gd", "cutt.ly", "ow.ly", "rb.gy", "t.ly"}
)
_ODD_ENDINGS: Final = (
    ".top", ".xyz", ".icu", ".click", ".buzz", ".cyou", ".rest", ".cfd", ".sbs", ".quest", ".bond", ".zip", ".mov",
    ".tk", ".ml", ".ga", ".gq",
)  # fmt: skip
_DANGEROUS: Final = (
    ".exe", ".scr", ".pif", ".com", ".bat", ".cmd", ".vbs", ".vbe", ".js", ".jse", ".wsf", ".hta", ".lnk", ".ps1",
    ".jar", ".msi", ".iso", ".img", ".vhd", ".docm", ".xlsm", ".pptm",
)  # fmt: skip
_DOCUMENTS: Final = (".pdf", ".doc", ".docx", ".odt", ".xls", ".xlsx", ".ods")
_PAGES: Final = (".htm", ".html", ".shtml", ".svg")

_NO_REPLY: Final = re.compile(
    r"no[-_.]?reply|do[-_.]?not[-_.]?reply|nepasrepondre|notifications?|mailer-daemon|postmaster|newsletter|marketing|promo"
)
_ADDRESS: Final = re.compile(r"[\w.+-]{1,64}@([\w-]{1,63}(?:\.[\w-]{1,63})+)")
_RE_SUBJECT: Final = re.compile(r"\s*(?:re|aw|sv|antw|rif|отв)\s*:", re.IGNORECASE)
_QUESTION: Final = re.compile(r"[?？؟](?=[\s\"')»“”]|$)")
_AMOUNT: Final = re.compile(r"[€$£₽]\s?\d|\d\s?(?:€|£|₽|eur\b|usd\b|gbp\b|chf\b|euros?\b|руб)", re.IGNORECASE)
_IP_HOST: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_SCORE: Final = re.compile(
    r"\b(?:importance|spam)(?:[ _-]?score)?[\"']?\s{0,3}(?:[:=]|\bis\b|\bto\b)\s{0,3}[\"']?\d", re.IGNORECASE
)
_MIXED: Final = re.compile(r"[A-Za-z][\u0400-\u04ff]|[\u0400-\u04ff][A-Za-z]")


def _auth(reading: _Reading, methods: tuple[str, ...], results: tuple[str, ...]) -> bool:
    return any(method in methods and result in results for method, result in reading.content.authentication)


def _recipients(reading: _Reading) -> int:
    return len(reading.content.to) + len(reading.content.cc)


def _is_reply_to_elsewhere(reading: _Reading) -> bool:
    answers_to = _domain(_mailbox(reading.content.reply_to)[1])
    return bool(answers_to and reading.domain) and not are_one_site(answers_to, reading.domain)


def _has_borrowed_brand(reading: _Reading) -> bool:
    name = _fold(reading.name)
    domain = re.sub(r"[^\w]", "", reading.domain)
    return any(f" {brand} " in name and brand.replace(" ", "") not in domain for brand in BRANDS)


def _has_other_address_in_name(reading: _Reading) -> bool:
    return any(not are_one_site(domain, reading.domain) for domain in _ADDRESS.findall(reading.name))


def _is_shouting(reading: _Reading) -> bool:
    return _is_mostly_upper(reading.content.subject, 10, 0.8) or _is_mostly_upper(reading.body[:1000], 60, 0.6)


def _is_mostly_upper(text: str, at_least: int, share: float) -> bool:
    upper, lower = sum(map(str.isupper, text)), sum(map(str.islower, text))
    return upper + lower >= at_least and upper >= share * (upper + lower)


def _mixes_scripts(reading: _Reading) -> bool:
    """Latin and Cyrillic letters in one word: look-alikes. Jargon does it now and then in a body."""
    if _MIXED.search(reading.content.subject) or _MIXED.search(reading.name):
        return True
    return len(_MIXED.findall(reading.body)) >= 4


def _has_link(reading: _Reading) -> bool:
    return bool(reading.hosts) or "http://" in reading.body or "https://" in reading.body


#: What a rule may name besides a phrase group.
FACTS: Final[dict[str, Callable[[_Reading], bool]]] = {
    "bulk": lambda r: r.content.has_unsubscribe or bool(r.content.list_id) or r.content.precedence in _BULK,
    "list": lambda r: bool(r.content.list_id),
    "automatic": lambda r: r.content.auto_submitted not in ("", "no"),
    "no_reply_sender": lambda r: bool(_NO_REPLY.search(r.address.rpartition("@")[0])),
    "marked_spam": lambda r: r.content.marked_spam is True,
    "dmarc_fail": lambda r: _auth(r, ("dmarc",), ("fail",)),
    "other_auth_fail": lambda r: _auth(r, ("spf", "dkim"), ("fail", "permerror")),
    "auth_pass": lambda r: _auth(r, ("dmarc", "dkim"), ("pass",)) and not _auth(r, ("dmarc",), ("fail",)),
    "reply_to_elsewhere": _is_reply_to_elsewhere,
    "borrowed_brand": _has_borrowed_brand,
    "other_address_in_name": _has_other_address_in_name,
    "odd_sender_domain": lambda r: r.domain.endswith(_ODD_ENDINGS),
    "to_owner": lambda r: r.content.addressed_to_owner is True,
    "not_to_owner": lambda r: r.content.addressed_to_owner is False,
    "no_recipient": lambda r: _recipients(r) == 0,
    "few_recipients": lambda r: 1 <= _recipients(r) <= 3,
    "many_recipients": lambda r: _recipients(r) > 10,
    "reply": lambda r: r.content.is_reply,
    "re_subject": lambda r: bool(_RE_SUBJECT.match(r.content.subject)),
    "question": lambda r: bool(_QUESTION.search(r.body, 0, 2000)),
    "amount": lambda r: bool(_AMOUNT.search(r.body)),
    "link": _has_link,
    "misleading_link": lambda r: bool(r.content.misleading_links),
    "numeric_link": lambda r: any(_IP_HOST.fullmatch(host) for host in r.hosts),
    "odd_link": lambda r: any(host.endswith(_ODD_ENDINGS) or "xn--" in host for host in r.hosts),
    "short_link": lambda r: any(host in _SHORTENERS for host in r.hosts),
    "bare_link": lambda r: _has_link(r) and len(r.body) < 160,
    "dangerous_attachment": lambda r: any(name.endswith(_DANGEROUS) for name in r.names),
    "page_attachment": lambda r: any(name.endswith(_PAGES) for name in r.names),
    "document_attachment": lambda r: any(name.endswith(_DOCUMENTS) for name in r.names),
    "calendar_attachment": lambda r: any(x.content_type == "text/calendar" for x in r.content.attachments),
    "score_named": lambda r: bool(_SCORE.search(r.content.subject) or _SCORE.search(r.body)),
    "shouting": _is_shouting,
    "exclamations": lambda r: "!!" in r.content.subject or r.body.count("!") >= 5,
    "mixed_scripts": _mixes_scripts,
    "empty": lambda r: not r.body.strip() and not r.names,
}
