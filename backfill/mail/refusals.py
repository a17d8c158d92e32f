"""What a mail server's refusal asks for: to wait, for how many seconds, or an action of the user.

IMAP has response codes for reasons (RFC 9051 §7.1, RFC 5530). Servers without codes have used the same texts for years.
This module reads both. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from backfill.errors import MailThrottled
from backfill.redaction import redacted

#: Refusals that name no time, and the seconds to wait. Gmail suspends an account for up to a day; one login an hour
#: does no harm.
_THROTTLED = (
    (re.compile(r"\[OVERQUOTA\b|exceeded command or bandwidth", re.I), 3600.0),
    (
        re.compile(
            r"\[(?:THROTTLED|LIMIT)\b|request is throttled|rate limit|too many (?:\w+ )?(?:requests|commands)"
            r"|requests too frequent",
            re.I,
        ),
        300.0,
    ),
    (
        re.compile(
            r"\[INUSE\b|too many (?:[\w-]+ ){0,3}(?:connections|sessions|clients)"
            r"|too many (?:simultaneous|concurrent) \w+"
            r"|maximum (?:number|amount) of (?:[\w-]+ ){0,3}(?:connections|sessions)"
            r"|(?:connection|session)s? limit|(?:connections|sessions) (?:limit )?exceeded|mail_max_userip_connections",
            re.I,
        ),
        60.0,
    ),
)
_BACKOFF = re.compile(r"Suggested Backoff Time: (\d+) milliseconds", re.I)  # Exchange
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
#: "try again in 15 minutes", "locked for 1 hour", "wait 30 seconds", "retry after 5 min"
_NAMED = re.compile(
    r"(?:\b(?:again|retry|wait|back|resets?)\b[^.;\d]{0,40}?"
    r"|\b(?:locked|blocked|suspended|disabled|unavailable|throttled)(?: \w+)? for (?:\w+ ){0,2}?)"
    r"\b(?:(?P<number>\d{1,6})|(?P<one>an?|one)|(?P<few>(?:a )?few|some|several))"
    r"[ -]?(?P<unit>seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?)\b",
    re.I,
)
#: A lock without a time. Each failed login counts against the account, so the wait is longer.
_LOCKED = re.compile(
    r"temporar(?:y|ily) (?:\w+ )?(?:locked|blocked|suspended|disabled|lock\b)"
    r"|(?:locked|blocked|suspended|disabled) (?:\w+ )?temporarily"
    r"|too many (?:[\w-]+ ){0,4}(?:attempts|failures|logins|tries|log-?ins|errors)",
    re.I,
)
_LOCKED_S = 900.0
#: The server names a trouble of its own, or says that a later try may work.
_TRANSIENT = re.compile(
    r"\[(?:UNAVAILABLE|SERVERBUG|INUSE)\b"
    r"|\btemporar(?:y|ily)\b(?! password)|\btransient\b"
    r"|\b(?:try|retry|come back|log ?in) (?:again )?(?:later|shortly|soon|in a (?:moment|while))\b"
    r"|\bauthenticated but not connected\b"
    r"|\b(?:system|internal(?: server)?|backend|database|storage|i/o|unexpected(?: server)?|server(?: internal)?) "
    r"(?:error|failure|problem)\b"
    r"|\b(?:server|service|backend|system|database|mailbox|mail ?store|storage|host|proxy|folder)s? "
    r"(?:(?:is|are|was|not|currently|too|now|at the moment) )*"
    r"(?:unavailable|busy|down|overloaded|available|unreachable|ready|responding|shutting down|offline|locked)\b"
    r"|\b(?:timed? ?out|timeout|time-out|overload(?:ed)?|shutting down|maintenance|being migrated|failover)\b"
    r"|\bconnect(?:ion)? (?:failed|refused|reset|lost)\b|\bcannot connect\b|\bserver unavailable\b",
    re.I,
)

_PACE = re.compile(
    r"bandwidth|throttl|\brate\b|too many (?:[\w-]+ ){0,3}(?:requests|commands|connections|sessions|operations)"
    r"|\bper (?:second|minute|hour|day)\b|too (?:fast|quickly|frequent)|slow down",
    re.I,
)
_FULL = re.compile(
    r"\[OVERQUOTA\b|\bquota\b|(?:disk|mailbox|storage|account|volume|device) (?:is )?full\b"
    r"|(?:not enough|insufficient|out of) (?:disk |free |storage )*(?:space|quota|storage|room)"
    r"|no space left|read-only file",
    re.I,
)
#: RFC 5530's example: `NO [LIMIT] At most 32 flags in one mailbox supported`.
_FOR_GOOD = re.compile(
    r"\[(?:LIMIT|CANNOT|NOPERM|PERM)\b|permission denied|not (?:permitted|allowed|supported|authori[sz]ed)|read[- ]only"
    r"|too (?:many|long) (?:[\w-]+ ){0,2}(?:keyword|flag|label)s?\b"
    r"|(?:keyword|flag|label)s? (?:is |are )?too (?:many|long)"
    r"|(?:keyword|flag|label)s? (?:limit|table)|at most \d+ (?:[\w-]+ ){0,2}(?:keyword|flag|label)s?"
    r"|(?:maximum|limit)\b.{0,20}\b(?:keyword|flag|label)s?|(?:invalid|illegal|unknown|bad) (?:keyword|flag|label)",
    re.I,
)

_OF_FOLDER = re.compile(r"\[(?:INUSE|LIMIT)\]", re.I)

_UNSAFE_LOGIN = re.compile(r"unsafe login", re.I)
ALLOW_PROGRAMS: Final = "allow IMAP programs in the provider's settings, and use the code given there as the password"

#: What a mail server requires before a login, and the remedy; the first match counts.
_REMEDIES = (
    (
        re.compile(r"\[PRIVACYREQUIRED\b|\bencrypt|\bplain ?text (?:auth|login|password)|requires? (?:ssl|tls)", re.I),
        "set imap.security to tls or starttls, which the server asks for",
    ),
    (
        re.compile(
            r"\[EXPIRED\b|\b(?:password|account|credential|token|passphrase)s? (?:has |have |is )?expired", re.I
        ),
        "the password or the account has expired: set a new password with the provider, then change it here",
    ),
    (
        re.compile(r"\[CONTACTADMIN\b|contact (?:your|the) (?:\w+ )?admin|administrator", re.I),
        "ask the administrator of the mail server: only the administrator can change this",
    ),
    (
        re.compile(
            r"app(?:lication)?[- ]specific|app(?:lication)? password|authorization code|two-?(?:factor|step)", re.I
        ),
        "make an app password with the provider and use it instead of the password",
    ),
    (
        re.compile(r"\[WEBALERT\b|web ?browser|web ?mail|web login|sign in (?:at|via|on) |https?://", re.I),
        "do what the server says (most often in a web browser), then run again",
    ),
    (_UNSAFE_LOGIN, ALLOW_PROGRAMS),
    (
        re.compile(r"(?:imap|protocol)\b.*\b(?:disabled|not (?:\w+ )?(?:enabled|allowed|permitted))|enable imap", re.I),
        "switch IMAP on in the provider's settings",
    ),
    (
        re.compile(
            r"LOGINDISABLED"
            r"|\b(?:basic auth\w*|login|authenticate|logon|password auth\w*) (?:is |command |has been )*disabled",
            re.I,
        ),
        "the server takes no password: set imap.auth to xoauth2 or oauthbearer, with a token",
    ),
)


def throttling(text: str) -> MailThrottled | None:
    """The error with the wait that a server's text asks for; None when it asks for none."""
    wait_s = next((wait_s for pattern, wait_s in _THROTTLED if pattern.search(text)), None)
    if backoff := _BACKOFF.search(text):
        wait_s = int(backoff[1][:9]) / 1000
    elif (named := _named(text)) is not None:
        wait_s = named
    elif wait_s is None and _LOCKED.search(text):
        wait_s = _LOCKED_S
    if wait_s is None:
        return None
    return MailThrottled(f"The mail server asks for patience ({wait_s:.0f} s): {one_line(text)}", wait_s=wait_s)


def is_about_the_folder(text: str) -> bool:
    """Does a refused SELECT or EXAMINE concern this folder only: in use, or beyond a limit of the server (RFC 5530)?"""
    rest = _OF_FOLDER.sub("", text)
    is_of_account = _PACE.search(rest) or _BACKOFF.search(rest) or any(each.search(rest) for each, _ in _THROTTLED)
    return rest != text and not is_of_account


def is_about_the_pace(text: str) -> bool:
    """Does the server complain of too many commands or too much bandwidth?"""
    return _PACE.search(text) is not None or _BACKOFF.search(text) is not None or _named(text) is not None


def is_full(text: str) -> bool:
    """Does a refused STORE say that there is no room?"""
    return _FULL.search(text) is not None


def is_for_good(text: str) -> bool:
    """Does a refused STORE say that every later try will be refused, too?"""
    return _FOR_GOOD.search(text) is not None


def _named(text: str) -> float | None:
    """The wait that the text names, in seconds; "a few" counts as 5. None when it names none."""
    if (found := _NAMED.search(text)) is None:
        return None
    number = float(found["number"]) if found["number"] else 1.0 if found["one"] else 5.0
    return number * _UNITS[found["unit"][0].lower()]


def is_transient(text: str) -> bool:
    """Does the server name a trouble of its own, or say that a later try may work?"""
    return _TRANSIENT.search(text) is not None


def is_unsafe_login(text: str) -> bool:
    """Is it NetEase's refusal to open a folder because the user has not allowed IMAP programs?"""
    return _UNSAFE_LOGIN.search(text) is not None


def remedy(text: str) -> str | None:
    """What the user must do after a refused login, beyond correcting the password; None when the text names nothing."""
    return next((remedy for pattern, remedy in _REMEDIES if pattern.search(text)), None)


#: Characters of a text that are searched for secrets, before it is cut to the length that is shown.
MAX_READ: Final = 100_000


def one_line(text: str) -> str:
    """A server's words for a log or a terminal: printable, on one line, at most 300 characters, without secrets."""
    return " ".join("".join(c if c.isprintable() else " " for c in redacted(text[:MAX_READ])[:1000]).split())[:300]
