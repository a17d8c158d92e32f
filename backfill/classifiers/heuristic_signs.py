"""Find the signs in a mail that the rules of the `heuristic` classifier name.

A sign is a phrase group that occurs in the mail (`heuristic_phrases`), or a fact that holds. Pure; never raises.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from backfill.classifiers.heuristic_names import (
    BRANDS,
    DANGEROUS_FILES,
    DOCUMENT_FILES,
    FREE_HOSTS,
    ODD_ENDINGS,
    PAGE_FILES,
    SHORTENERS,
)
from backfill.classifiers.heuristic_phrases import PHRASES
from backfill.classifiers.heuristic_rules import UMBRELLAS
from backfill.message import Content
from backfill.sites import are_one_site, site_of


@dataclass(frozen=True, slots=True)
class Reading:
    """A mail, prepared once for all signs."""

    content: Content
    name: str  # the sender's display name
    address: str  # the sender's address, in lower case
    domain: str
    body: str
    text: str  # subject and body, folded by `_fold`
    hosts: tuple[str, ...]
    names: tuple[str, ...]  # of attachments, in lower case

    @classmethod
    def of(cls, content: Content, max_body_chars: int) -> Reading:
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
    """The words in lower case without accents, with single blanks between them and a blank at either end."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(char for char in decomposed if not unicodedata.combining(char))
    words = re.findall(r"\w+", text.casefold())
    return f" {' '.join(words)} "


def _mailbox(sender: str) -> tuple[str, str]:
    """Display name and address. `email.utils` cannot read it: the decoded name may have bare commas."""
    name, bracket, rest = sender.rpartition("<")
    if not bracket:
        return ("", sender.strip().lower()) if "@" in sender else (sender.strip(), "")
    return name.strip(' "'), rest.partition(">")[0].strip().lower()


def _domain(address: str) -> str:
    """The address's domain; "" when there is no address."""
    return address.rpartition("@")[2] if "@" in address else ""


_BULK: Final = frozenset({"bulk", "list", "junk"})

_ANY_PASS: Final = (("spf", "dkim", "dmarc"), ("pass", "bestguesspass"))
_NO_REPLY: Final = re.compile(
    r"no[-_.]?reply|do[-_.]?not[-_.]?reply|nepasrepondre|notifications?|mailer-daemon|postmaster|newsletter|marketing|promo"
)
_ADDRESS: Final = re.compile(r"[\w.+-]{1,64}@([\w-]{1,63}(?:\.[\w-]{1,63})+)")
_RE_SUBJECT: Final = re.compile(r"\s*(?:re|aw|sv|antw|rif|отв)\s*:", re.IGNORECASE)
_QUESTION: Final = re.compile(r"[?？؟](?=[\s\"')»“”]|$)")
#: A digit behind or before a currency. It begins with the digit, since the search for a single class is fast.
_AMOUNT: Final = re.compile(
    r"\d(?:(?<=[€$£₽]\d)|(?<=[€$£₽]\s\d)|\s?(?:€|£|₽|eur\b|usd\b|gbp\b|chf\b|euros?\b|руб))", re.IGNORECASE
)
_IP_HOST: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_SCORE: Final = re.compile(
    r"\b(?:importance|spam)(?:[ _-]?score)?[\"']?\s{0,3}(?:[:=]|\bis\b|\bto\b)\s{0,3}[\"']?\d", re.IGNORECASE
)
#: A Latin letter next to a Greek or Cyrillic one.
_MIXED: Final = re.compile(r"[A-Za-z][\u0370-\u03ff\u0400-\u04ff]|[\u0370-\u03ff\u0400-\u04ff][A-Za-z]")
#: Letters and digits as mathematical, enclosed or full-width characters.
_DISGUISED: Final = re.compile(r"[\U0001d400-\U0001d7ff\u2460-\u24ff\uff21-\uff3a\uff41-\uff5a]")


def _auth(reading: Reading, methods: tuple[str, ...], results: tuple[str, ...]) -> bool:
    return any(method in methods and result in results for method, result in reading.content.authentication)


def _recipients(reading: Reading) -> int:
    return len(reading.content.to) + len(reading.content.cc)


def _is_reply_to_elsewhere(reading: Reading) -> bool:
    answers_to = _domain(_mailbox(reading.content.reply_to)[1])
    return bool(answers_to and reading.domain) and not are_one_site(answers_to, reading.domain)


_BRANDS_AS_WORDS: Final = tuple((f" {brand} ", brand.replace(" ", "")) for brand in BRANDS)
_LONG_BRANDS: Final = tuple(brand for brand in BRANDS if len(brand) >= 4)


def _has_borrowed_brand(reading: Reading) -> bool:
    name = _fold(reading.name)
    borrowed = [joined for words, joined in _BRANDS_AS_WORDS if words in name]
    domain = re.sub(r"[^\w]", "", reading.domain) if borrowed else ""
    return any(joined not in domain for joined in borrowed)


def _has_cousin_domain(reading: Reading) -> bool:
    """The sender's domain is a brand's name with more around it: `paypal-help.example` instead of `paypal.example`."""
    label = site_of(reading.domain).partition(".")[0]
    return any(brand in label and brand != label for brand in _LONG_BRANDS)


def _is_named_unlike_its_domain(reading: Reading) -> bool:
    """No word of the display name, nor its initials, occurs in the domain: `Some Wallet <info@town.example>`."""
    words = _fold(reading.name).split()
    domain = re.sub(r"[\W_]", "", _fold(reading.domain))
    told = [word for word in words if len(word) >= 3 or not word.isascii()]
    initials = "".join(word[0] for word in words)
    return bool(told) and not any(word in domain for word in told) and not (len(initials) > 2 and initials in domain)


def _calls_owner_by_address(reading: Reading) -> bool:
    subject = reading.content.subject.lower()
    return any("@" in to and _mailbox(to)[1] in subject for to in reading.content.to)


def _is_below(host: str, names: tuple[str, ...]) -> bool:
    return any(host == name or host.endswith(f".{name}") for name in names)


def _has_other_address_in_name(reading: Reading) -> bool:
    return any(not are_one_site(domain, reading.domain) for domain in _ADDRESS.findall(reading.name))


def _is_shouting(reading: Reading) -> bool:
    return _is_mostly_upper(reading.content.subject, 10, 0.8) or _is_mostly_upper(reading.body[:1000], 60, 0.6)


def _is_mostly_upper(text: str, at_least: int, share: float) -> bool:
    upper, lower = sum(map(str.isupper, text)), sum(map(str.islower, text))
    return upper + lower >= at_least and upper >= share * (upper + lower)


def _mixes_scripts(reading: Reading) -> bool:
    """Words mix Latin with Greek or Cyrillic letters, which look alike. A body may do so up to three times (jargon)."""
    if _MIXED.search(reading.content.subject) or _MIXED.search(reading.name):
        return True
    return not reading.body.isascii() and len(_MIXED.findall(reading.body)) >= 4


def _names_a_score(reading: Reading) -> bool:
    if "pam" not in reading.text and "mportance" not in reading.text:  # the pattern is slow; it takes ı for i, ſ for s
        return False
    return bool(_SCORE.search(reading.content.subject) or _SCORE.search(reading.body))


def _links_home(reading: Reading) -> bool:
    """At least one link leads to the sender's own site."""
    return bool(reading.domain) and any(are_one_site(host, reading.domain) for host in reading.hosts)


def _misleads_away(reading: Reading) -> bool:
    """A misleading link leads to another site than the sender's. Links to the sender's own click counter are common."""
    return any(not are_one_site(link.real_host, reading.domain) for link in reading.content.misleading_links)


def _has_link(reading: Reading) -> bool:
    return bool(reading.hosts) or "http://" in reading.body or "https://" in reading.body


#: The facts that a rule may name besides phrase groups.
FACTS: Final[dict[str, Callable[[Reading], bool]]] = {
    "bulk": lambda r: r.content.has_unsubscribe or bool(r.content.list_id) or r.content.precedence in _BULK,
    "list": lambda r: bool(r.content.list_id),
    "automatic": lambda r: r.content.auto_submitted not in ("", "no"),
    "no_reply_sender": lambda r: bool(_NO_REPLY.search(r.address.rpartition("@")[0])),
    "marked_spam": lambda r: r.content.marked_spam is True,
    "dmarc_fail": lambda r: _auth(r, ("dmarc",), ("fail",)),
    "other_auth_fail": lambda r: _auth(r, ("spf", "dkim", "compauth"), ("fail", "softfail", "permerror")),
    "dmarc_pass": lambda r: _auth(r, ("dmarc",), ("pass",)),
    "nobody_vouches": lambda r: bool(r.content.authentication) and not _auth(r, *_ANY_PASS),
    "auth_pass": lambda r: _auth(r, ("dmarc", "dkim"), ("pass",)) and not _auth(r, ("dmarc",), ("fail",)),
    "reply_to_elsewhere": _is_reply_to_elsewhere,
    "borrowed_brand": _has_borrowed_brand,
    "other_address_in_name": _has_other_address_in_name,
    "cousin_domain": _has_cousin_domain,
    "named_unlike_domain": _is_named_unlike_its_domain,
    "sender_without_domain": lambda r: bool(r.content.sender) and "." not in r.domain,
    "odd_sender_domain": lambda r: r.domain.endswith(ODD_ENDINGS),
    "to_owner": lambda r: r.content.addressed_to_owner is True,
    "not_to_owner": lambda r: r.content.addressed_to_owner is False,
    "no_recipient": lambda r: _recipients(r) == 0,
    "few_recipients": lambda r: 1 <= _recipients(r) <= 3,
    "called_by_address": _calls_owner_by_address,
    "many_recipients": lambda r: _recipients(r) > 10,
    "reply": lambda r: r.content.is_reply,
    "re_subject": lambda r: bool(_RE_SUBJECT.match(r.content.subject)),
    "question": lambda r: bool(_QUESTION.search(r.body, 0, 2000)),
    "amount": lambda r: bool(_AMOUNT.search(r.body)),
    "link": _has_link,
    "links_home": _links_home,
    "links_astray": lambda r: bool(r.hosts) and not _links_home(r),
    "misleading_link": lambda r: bool(r.content.misleading_links),
    "misleading_link_away": _misleads_away,
    "numeric_link": lambda r: any(_IP_HOST.fullmatch(host) for host in r.hosts),
    "odd_link": lambda r: any(host.endswith(ODD_ENDINGS) or "xn--" in host for host in r.hosts),
    "short_link": lambda r: any(_is_below(host, SHORTENERS) for host in r.hosts),
    "free_host_link": lambda r: any(_is_below(host, FREE_HOSTS) for host in r.hosts),
    "bare_link": lambda r: _has_link(r) and len(r.body) < 160,
    "dangerous_attachment": lambda r: any(name.endswith(DANGEROUS_FILES) for name in r.names),
    "page_attachment": lambda r: any(name.endswith(PAGE_FILES) for name in r.names),
    "document_attachment": lambda r: any(name.endswith(DOCUMENT_FILES) for name in r.names),
    "calendar_attachment": lambda r: any(x.content_type == "text/calendar" for x in r.content.attachments),
    "score_named": _names_a_score,
    "shouting": _is_shouting,
    "exclamations": lambda r: "!!" in r.content.subject or r.body.count("!") >= 5,
    "mixed_scripts": _mixes_scripts,
    "disguised_letters": lambda r: len(_DISGUISED.findall(f"{r.name} {r.content.subject}")) >= 4,
    "empty": lambda r: not r.body.strip() and not r.names,
}

#: The phrases by their only word, or by their first two words: a mail has few such pairs.
_PHRASES_BY_BEGINNING: Final[dict[object, list[tuple[str, str]]]] = {}
for _sign, _phrases in PHRASES.items():
    for _phrase in map(_fold, _phrases):
        _word, *_others = _phrase.split()
        _PHRASES_BY_BEGINNING.setdefault((_word, _others[0]) if _others else _word, []).append((_sign, _phrase))


def signs_of(reading: Reading) -> frozenset[str]:
    """All signs of the mail: phrase groups that occur in it, facts that hold, and umbrella signs."""
    words = reading.text.split()
    beginnings = _PHRASES_BY_BEGINNING.keys() & {*words, *pairwise(words)}
    said = {
        sign for beginning in beginnings for sign, phrase in _PHRASES_BY_BEGINNING[beginning] if phrase in reading.text
    }
    told = said | {sign for sign, is_true in FACTS.items() if is_true(reading)}
    return frozenset(told | {sign for sign, any_of in UMBRELLAS.items() if not told.isdisjoint(any_of)})
