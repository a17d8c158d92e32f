"""The verdict as IMAP keywords on the mail itself.

A keyword counts as set only when the server, asked again, lists it. A mail that does not show it is reported as
refused, or as gone. The receipt names the keywords that the server does not keep. Labels' keywords are stored before
the processed keyword, so that a mail with the processed keyword has all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from backfill.errors import EffectRefused, KeywordRefused, MessageGone
from backfill.message import MailboxKey
from backfill.ports import Judged, Lost, MailMarker, Probe, Receipt, ReceiptState, State, Unapplied, Undone
from backfill.wording import Deed

NOT_KEPT = "the server keeps none of these keywords in this folder (PERMANENTFLAGS, RFC 9051 §7.1)"

NO_MORE_KEPT = "the folder takes no more keywords than it has (PERMANENTFLAGS, RFC 9051 §7.1)"
NOT_REMOVED = "The server does not remove the keyword {word} in {folder!r}."
NOT_WRITABLE = "The folder {folder!r} lets nobody remove the keyword {word}: it may be read-only."


class FlagsEffect:
    """Sets the processed keyword and one per label; removes its own keywords that are no longer called for.

    A keyword that the mail bore before it was first processed is never removed: its owner or another program had
    set it. The receipt's `added` names those that it did not bear. Only these are removed, by `apply` and `undo`, also
    when the configuration no longer names them. If the owner sets one of these by hand later, nothing tells it from
    ours. Keywords are compared without regard to case, as IMAP does (RFC 9051 §2.3.2). Owns `marker` and closes it.
    Used by one thread.
    """

    name = "flags"
    needs_message = False

    def __init__(self, marker: MailMarker, *, processed_tag: str, keywords: Mapping[str, str]) -> None:
        """`keywords`: of each label that has one."""
        self._marker = marker
        self._processed_tag = processed_tag
        self._keyword_of = keywords
        self._keywords = _distinct((*keywords.values(), processed_tag))
        self._kept: dict[MailboxKey, frozenset[str]] = {}  # case-folded; the server is asked once per epoch and run

    def holds(self, detail: Mapping[str, Any], labels: Sequence[str]) -> bool:
        """Do the keywords of the receipt, set or refused, follow from these labels, with none of ours beside them?"""
        wanted = {keyword.casefold() for keyword in self._keywords_for(labels)}
        said = {str(word).casefold() for key in ("keywords", "refused") for word in detail.get(key, ())}
        return said == wanted and {word.casefold() for word in _added(detail)} <= wanted

    def apply(self, mails: Sequence[Judged]) -> Iterator[Receipt | Unapplied]:
        """Takes two commands for each keyword that any of `mails` needs, whatever the number of mails."""
        if not mails:
            return
        mailbox = mails[0].ref.mailbox
        kept = self._kept_keywords(mailbox)
        wanted = {mail.ref.uid: self._wanted(mail) for mail in mails}
        ours = {mail.ref.uid: _added(mail.previous) for mail in mails}
        unproved: dict[int, list[str]] = {}
        refused: dict[int, dict[str, str]] = {}  # by UID, the keywords that the server will never store, and why

        # Keywords of an earlier configuration first: the processed keyword is written last.
        for keyword in _distinct((*(word for words in ours.values() for word in words), *self._keywords)):
            missing = [uid for uid, keywords in wanted.items() if keyword in keywords and keyword.casefold() in kept]
            stale = [uid for uid in wanted if _bears(ours[uid], keyword) and not _bears(wanted[uid], keyword)]
            proved: set[int] = set()
            for act, uids in ((self._marker.add, missing), (self._marker.remove, stale)):
                try:
                    proved |= act(mailbox, keyword, uids) if uids else frozenset()
                except KeywordRefused as refusal:
                    proved |= refusal.proved
                    for uid in set(uids) - refusal.proved:
                        refused.setdefault(uid, {})[keyword] = str(refusal)
            for uid in {*missing, *stale} - proved:
                if keyword not in refused.get(uid, {}):
                    unproved.setdefault(uid, []).append(keyword)

        present = self._marker.present(mailbox, unproved) if unproved else frozenset()
        if present:
            self._look_again(mailbox, unproved, refused)
        for mail in mails:
            if mail.ref.uid in unproved and mail.ref.uid not in present:  # expunged since it was judged
                yield Unapplied(mail.ref, self.name, MessageGone())
            elif mail.ref.uid in unproved:
                word = unproved[mail.ref.uid][0]
                sentence = f"The server accepted a change of the keyword {word}, but does not show it."
                yield Unapplied(mail.ref, self.name, EffectRefused(sentence))
            else:
                yield self._receipt(mail, wanted[mail.ref.uid], kept, refused.get(mail.ref.uid, {}))

    def _look_again(
        self, mailbox: MailboxKey, unproved: dict[int, list[str]], refused: dict[int, dict[str, str]]
    ) -> None:
        """Count keywords that the folder no longer takes as refused. Some folders take 26 different ones."""
        words = {word for each in unproved.values() for word in each}
        lost = words - self._marker.permitted(mailbox, words)
        self._kept[mailbox] -= {word.casefold() for word in lost}
        for uid, missing in list(unproved.items()):
            refused.setdefault(uid, {}).update(dict.fromkeys(lost & set(missing), NO_MORE_KEPT))
            if lost.issuperset(missing):
                del unproved[uid]

    def lost(self, receipts: Sequence[Receipt]) -> Iterator[Lost]:
        """A keyword that a receipt names and the mail does not bear, asked in a fresh session."""
        named: dict[str, list[int]] = {}
        for receipt in receipts:
            for word in receipt.detail.get("keywords", ()):
                named.setdefault(str(word), []).append(receipt.ref.uid)
        lacking: dict[int, str] = {}
        for word, uids in named.items():
            mailbox = receipts[0].ref.mailbox
            lacking.update(dict.fromkeys(set(uids) - self._marker.bearing(mailbox, word, sorted(uids)), word))
        there = self._marker.present(receipts[0].ref.mailbox, lacking) if lacking else frozenset()
        for receipt in receipts:
            if receipt.ref.uid in there:
                yield Lost(receipt.ref, f"the keyword {lacking[receipt.ref.uid]}")

    def presumed(self, mails: Sequence[Judged]) -> Iterator[Receipt]:
        for mail in mails:
            wanted, ours = self._wanted(mail), _added(mail.previous)
            added = [*ours, *(word for word in wanted if not _bears((*mail.flags_before, *ours), word))]
            detail = {"keywords": list(wanted), "added": added, "refused": []}
            yield Receipt(mail.ref, self.name, ReceiptState.APPLIED, detail)

    def undo(self, receipts: Sequence[Receipt]) -> Iterator[Undone | Unapplied]:
        """Remove the keywords that we added. Those that a mail bore before us are not in `added`, and stay."""
        if not receipts:
            return
        mailbox = receipts[0].ref.mailbox
        bearers: dict[str, list[int]] = {}
        spelt: dict[str, str] = {}
        for receipt in receipts:
            for keyword in self.traces(receipt):
                spelt[keyword.casefold()] = keyword
                bearers.setdefault(keyword.casefold(), []).append(receipt.ref.uid)
        standing: dict[int, str] = {}  # UID → the keyword that the server does not give up
        for folded, uids in bearers.items():
            try:
                proved = self._marker.remove(mailbox, spelt[folded], uids)
            except KeywordRefused as refusal:
                proved = refusal.proved
            standing.update(dict.fromkeys(set(uids) - proved, spelt[folded]))

        present = self._marker.present(mailbox, standing) if standing else frozenset()
        kept = self._marker.permitted(mailbox, set(standing.values())) if present else frozenset()
        for receipt in receipts:
            stays = standing.get(receipt.ref.uid)
            if stays is None:
                yield Undone(receipt.ref, self.name)
            elif receipt.ref.uid not in present:
                yield Unapplied(receipt.ref, self.name, MessageGone())
            else:
                sentence = NOT_REMOVED if stays in kept else NOT_WRITABLE
                yield Unapplied(
                    receipt.ref, self.name, EffectRefused(sentence.format(folder=mailbox.folder, word=stays))
                )

    def traces(self, receipt: Receipt) -> tuple[str, ...]:
        return _added(receipt.detail)

    def foreseen(self, labels: Sequence[str]) -> tuple[Deed, ...]:
        return tuple(Deed(f"set {word} on", "mail", word) for word in self._keywords_for(labels))

    def probe(self, inbox: MailboxKey | None) -> Iterator[Probe]:
        """Does the inbox keep the keywords? Other folders of the account mostly do as it does."""
        if inbox is None:
            return
        kept = self._kept_keywords(inbox)
        if missing := sorted(keyword for keyword in self._keywords if keyword.casefold() not in kept):
            yield Probe(
                "keywords",
                State.WARN,
                f"{inbox.folder} does not keep {', '.join(missing)} (PERMANENTFLAGS).",
                "Such mail gets no keyword and is reported as not applicable; verdicts and other outputs are not "
                f"affected. Leave {self.name} out of effects, or set imap.gmail_labels on Gmail.",
            )
        else:
            yield Probe("keywords", State.OK, f"{inbox.folder} keeps {', '.join(sorted(self._keywords))}")

    def close(self) -> None:
        self._marker.close()

    def _kept_keywords(self, mailbox: MailboxKey) -> frozenset[str]:
        if mailbox not in self._kept:
            permitted = self._marker.permitted(mailbox, self._keywords)
            self._kept[mailbox] = frozenset(keyword.casefold() for keyword in permitted)
        return self._kept[mailbox]

    def _wanted(self, mail: Judged) -> tuple[str, ...]:
        """The keywords that this mail is to bear, spelt as in `_keywords` and in their order."""
        return self._keywords_for(mail.labels)

    def _keywords_for(self, labels: Sequence[str]) -> tuple[str, ...]:
        tags = [*(self._keyword_of[label] for label in labels if label in self._keyword_of), self._processed_tag]
        return tuple(keyword for keyword in self._keywords if _bears(tags, keyword))

    def _receipt(
        self, mail: Judged, keywords: tuple[str, ...], kept: frozenset[str], why: Mapping[str, str]
    ) -> Receipt:
        """`why`: what the server said of keywords that it will never store on this mail."""
        added = [keyword for keyword in keywords if keyword.casefold() in kept and keyword not in why]
        refused = [keyword for keyword in keywords if keyword not in added]
        ours = _added(mail.previous)
        new = [keyword for keyword in added if _bears(ours, keyword) or not _bears(mail.flags_before, keyword)]
        # What is not kept any more, as in a folder that has become read-only, may still stand on the mail.
        left = [keyword for keyword in ours if not _bears(new, keyword) and _bears((*refused, *why), keyword)]
        detail: dict[str, object] = {"keywords": added, "added": [*new, *left], "refused": refused}
        if added and not why:
            return Receipt(mail.ref, self.name, ReceiptState.APPLIED, detail)
        detail["reason"] = next(iter(why.values()), NOT_KEPT)
        return Receipt(mail.ref, self.name, ReceiptState.APPLIED if added else ReceiptState.NOT_APPLICABLE, detail)


def _added(detail: Mapping[str, object] | None) -> tuple[str, ...]:
    """The keywords that we added to a mail, by its receipt: it did not bear them before."""
    added = (detail or {}).get("added")
    return _distinct(str(keyword) for keyword in added) if isinstance(added, list) else ()


def _bears(keywords: Iterable[str], keyword: str) -> bool:
    return keyword.casefold() in {other.casefold() for other in keywords}


def _distinct(keywords: Iterable[str]) -> tuple[str, ...]:
    """Each keyword once, in order, in its last spelling, at the place of its last mention."""
    latest: dict[str, str] = {}
    for keyword in keywords:
        latest.pop(keyword.casefold(), None)
        latest[keyword.casefold()] = keyword
    return tuple(latest.values())
