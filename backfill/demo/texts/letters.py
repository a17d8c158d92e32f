"""Mail that people write: news, questions with deadlines, and threads that carry their history along.

A letter is important when it asks its reader for something; news and mailing-list threads are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import format_datetime
from html import escape
from random import Random

from backfill.demo.compose import OWNER, Entity, Person, SampleMail, attachment, mail, message_id, multipart, text
from backfill.demo.texts.eastern import CHINESE, JAPANESE, POLISH, RUSSIAN
from backfill.demo.texts.tongue import Tongue
from backfill.demo.texts.western import DUTCH, ENGLISH, FRENCH, GERMAN, ITALIAN, SPANISH

#: English as often as in a mailbox that mostly holds English mail.
TONGUES = (
    *[ENGLISH] * 8,
    *[GERMAN, FRENCH, RUSSIAN, JAPANESE] * 2,
    *[SPANISH, ITALIAN, DUTCH, POLISH, CHINESE],
)

_DOMAINS = ("example.com", "example.net", "mail.example.com", "home.example.net", "studio.example")


def letter(rng: Random, when: datetime) -> SampleMail:
    """One letter from one person, in any of the languages."""
    tongue = rng.choice(TONGUES)
    (writer,), charset = _writers(rng, tongue, 1), rng.choice(tongue.charsets)
    asking = rng.random() < 0.5
    fill = {"you": "Robin", "matter": rng.choice(tongue.matters), "when": rng.choice(tongue.whens)}
    lines = rng.sample(tongue.news, rng.randint(1, 2 if asking else min(4, len(tongue.news))))
    if asking:
        lines.insert(rng.randint(0, len(lines)), rng.choice(tongue.asks))
    body = _letter(rng, tongue, lines, writer, fill)
    subject = rng.choice(tongue.ask_subjects if asking else tongue.chat_subjects).format(**fill)
    raw = mail(rng, when, _content(rng, body, charset), subject=_capital(subject), sender=writer, charset=charset)
    return SampleMail(raw, "personal", is_important=asking, is_spam=False)


def thread(rng: Random, when: datetime, length: int) -> Iterator[tuple[datetime, SampleMail]]:
    """A conversation of `length` mails, each with the history below; on a mailing list one time in three."""
    tongue = rng.choice(TONGUES)
    charset = rng.choice(tongue.charsets)
    people = _writers(rng, tongue, 3)
    is_list = rng.random() < 0.33
    group = Person("", f"{rng.choice(('friends', 'board', 'devel', 'choir'))}@lists.example.org")
    fill = {"you": "Robin", "matter": rng.choice(tongue.matters), "when": rng.choice(tongue.whens)}
    subject = _capital(rng.choice(tongue.ask_subjects).format(**fill))
    history, parents = "", list[str]()
    for turn in range(length):
        writer = people[turn % len(people)]
        asking = turn == 0 or turn == length - 1
        own = message_id(rng, writer.address.partition("@")[2])
        lines = [rng.choice(tongue.asks if asking else tongue.thoughts)]
        if rng.random() < 0.4:
            lines.append(rng.choice(tongue.thoughts))
        body = _letter(rng, tongue, lines, writer, fill)
        extra = [("Message-ID", own)]
        if parents:
            extra += [("In-Reply-To", parents[-1]), ("References", "\n\t".join(parents))]
        if is_list:
            name = group.address.replace("@", ".")
            extra += [("List-Id", f"<{name}>"), ("List-Unsubscribe", f"<mailto:{group.address}?subject=unsubscribe>")]
            extra.append(("Precedence", "list"))
        raw = mail(
            rng,
            when,
            text(body + history, charset=charset),
            subject=subject if turn == 0 else f"Re: {subject}",
            sender=writer,
            to=(group,) if is_list else (OWNER, *(person for person in people[:2] if person != writer)),
            charset=charset,
            extra=extra,
        )
        yield when, SampleMail(raw, "thread", is_important=asking and not is_list, is_spam=False)
        head = tongue.wrote.format(date=format_datetime(when)[5:22], who=writer.name)
        history = f"\n{head}\n{_quoted(body + history)}"
        parents.append(own)
        when += timedelta(minutes=rng.randint(7, 2_000))


def _writers(rng: Random, tongue: Tongue, most: int) -> list[Person]:
    names = rng.sample(tongue.names, min(most, len(tongue.names)))
    return [Person(name, f"{local}@{rng.choice(_DOMAINS)}") for name, local in names]


def _letter(rng: Random, tongue: Tongue, lines: list[str], writer: Person, fill: dict[str, str]) -> str:
    hello, bye = rng.choice(tongue.hello), rng.choice(tongue.bye)
    return "\n\n".join(line.format(**fill) for line in [hello, *lines]) + f"\n\n{bye}\n{writer.name}\n"


def _quoted(body: str) -> str:
    return "".join(f">{'' if line.startswith('>') else ' '}{line}\n" for line in body.splitlines())


def _content(rng: Random, body: str, charset: str) -> Entity:
    """Mostly plain; some HTML only, some both, some with a file."""
    encodings = ("7bit",) if charset.startswith("iso-2022") else ("quoted-printable", "base64", "8bit")
    plain = text(body, charset=charset, encoding=None if body.isascii() else rng.choice(encodings))
    page = "<html><body>" + "".join(f"<p>{escape(line)}</p>" for line in body.split("\n\n")) + "</body></html>"
    rich = text(page, subtype="html", charset=charset)
    draw = rng.random()
    if draw < 0.6:
        return plain
    if draw < 0.7:
        return rich
    if draw < 0.87:
        return multipart(rng, "alternative", plain, rich)
    files = (
        attachment(f"IMG_{rng.randrange(1000, 9999)}.jpg", "image/jpeg", rng.randbytes(600)),
        attachment("notes.csv", "text/csv", b"item,amount\nrope,2\ntent,1\n"),
        attachment("draft.pdf"),
    )
    return multipart(rng, "mixed", plain, rng.choice(files))


def _capital(subject: str) -> str:
    return subject[:1].upper() + subject[1:]
