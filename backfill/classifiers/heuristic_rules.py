"""The rules of the `heuristic` classifier, as data: which signs speak for importance and which for spam.

A sign is a phrase group (`heuristic_phrases`, in several languages) or a fact (`heuristic_signs.FACTS`). A rule adds
its two amounts when the mail has every sign that it names. Any change here changes the classifier's fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """Adds its amounts when all of `when` hold. "not x" holds when the sign x is absent."""

    name: str
    importance: int
    spam: int
    when: tuple[str, ...]


#: Signs that hold when any of the signs in their list holds.
UMBRELLAS: Final[dict[str, tuple[str, ...]]] = {
    "bait": ("winnings", "money_bait", "pills", "adult", "gambling", "extortion"),
    "asks": ("request", "question"),
}

BASE_IMPORTANCE: Final = 3
BASE_SPAM: Final = 0
#: Importance falls by the amount by which the spam score exceeds this.
TOLERATED_SPAM: Final = 3

_FROM_A_PERSON: Final = ("not bulk", "not automatic", "not no_reply_sender")
_HARMLESS: Final = ("not removal", "not offer", "not link", "not dmarc_fail")

RULES: Final = (
    # who sent it, and how
    Rule("bulk", -2, 0, ("bulk",)),
    Rule("automatic", -1, 0, ("automatic", "not invoice", "not appointment", "not security")),
    Rule("no-reply-sender", -1, 0, ("no_reply_sender", "not invoice", "not appointment", "not security")),
    Rule("marked-spam", -2, 5, ("marked_spam",)),
    Rule("dmarc-fail", -1, 3, ("dmarc_fail", "not list")),
    Rule("authentication-fail", 0, 2, ("other_auth_fail", "not dmarc_fail", "not auth_pass", "not list")),
    Rule("reply-elsewhere", 0, 2, ("reply_to_elsewhere", "not list", "not bulk")),
    Rule("borrowed-name", -2, 4, ("borrowed_brand", "not list")),
    Rule("address-as-name", -1, 3, ("other_address_in_name",)),
    Rule("unvouched", -1, 2, ("nobody_vouches", "not dmarc_fail", "not list", "not reply")),
    Rule("sender-without-domain", -1, 3, ("sender_without_domain", "not reply")),
    Rule("no-recipient", 0, 1, ("no_recipient", "not list")),
    Rule("odd-sender-domain", 0, 1, ("odd_sender_domain",)),
    # to whom
    Rule("direct", 2, -1, ("to_owner", "few_recipients", *_FROM_A_PERSON, "not dmarc_fail")),
    Rule("called-by-address", -1, 2, ("called_by_address", "not reply")),
    Rule("not-to-owner", -1, 0, ("not_to_owner", "not list")),
    Rule("many-recipients", -1, 1, ("many_recipients", "not reply")),
    Rule("reply", 2, -2, ("reply", "not bulk")),
    Rule("false-reply", 0, 2, ("re_subject", "not reply", "not list", "not personal")),
    # what it wants of the owner
    Rule("question", 1, 0, ("question", "few_recipients", *_FROM_A_PERSON)),
    Rule("request", 1, 0, ("request", "few_recipients", *_FROM_A_PERSON)),
    Rule("urgent-request", 1, 0, ("urgency", "asks", "to_owner", "few_recipients", *_FROM_A_PERSON, *_HARMLESS)),
    Rule("deadline", 2, 0, ("deadline", "not bulk")),
    Rule("invoice", 3, 0, ("invoice", "not bulk")),
    Rule("amount", 1, 0, ("amount", "invoice", "not bulk")),
    Rule("appointment", 2, 0, ("appointment", "not bulk")),
    Rule("invitation", 2, 0, ("calendar_attachment", "not bulk")),
    Rule("official", 2, 0, ("official", "not bulk")),
    Rule("security-notice", 2, 0, ("security", "auth_pass", "not link", "not bulk")),
    Rule("personal", 1, -1, ("personal", "not bulk")),
    Rule("document", 1, 0, ("document_attachment", "not bulk", "not money_bait")),
    # what it sells, and how it deceives
    Rule("offer", -1, 1, ("offer",)),
    Rule("unasked-offer", 0, 2, ("offer", "not links_home", "not bulk", "not reply", "not auth_pass")),
    Rule("sales-pitch", -2, 3, ("sales_pitch", "not reply")),
    # honest mass mail is marked as such in its header, not only at the end of its text
    Rule("disguised-bulk", -3, 2, ("removal", "not bulk", "not reply")),
    Rule("disguised-bulk-of-a-stranger", 0, 2, ("removal", "not links_home", "not bulk", "not reply", "not auth_pass")),
    Rule("push", -1, 2, ("push", "not links_home", "not bulk", "not reply", "not auth_pass")),
    Rule("unknown-reader", -1, 2, ("unknown_reader", "not reply", "not list")),
    Rule("unasked-bait", 0, 2, ("bait", "not reply", "not list")),
    Rule("hard-sell", -1, 2, ("offer", "amount", "exclamations", "not links_home", "not auth_pass")),
    Rule("winnings", -3, 4, ("winnings",)),
    Rule("reward-bait", -2, 3, ("reward", "not reply", "not list")),
    Rule("money-bait", -2, 4, ("money_bait",)),
    Rule("millions", -1, 2, ("millions", "not list")),
    Rule("crypto-bait", -2, 3, ("crypto",)),
    Rule("crypto-profit", -1, 3, ("crypto", "profit")),
    Rule("wallet-bait", -2, 3, ("wallet", "link", "not reply", "not list")),
    Rule("profit", -2, 3, ("profit",)),
    Rule("pills", -3, 4, ("pills",)),
    Rule("adult", -3, 4, ("adult",)),
    Rule("gambling", -2, 3, ("gambling",)),
    Rule("loan", -2, 3, ("loan",)),
    Rule("extortion", -2, 4, ("extortion",)),
    Rule("phishing", -3, 4, ("urgency", "credentials")),
    Rule("parcel-bait", -1, 3, ("parcel", "link", "not auth_pass")),
    Rule("phishing-link", -1, 2, ("credentials", "link", "not auth_pass")),
    Rule("credentials", 0, 1, ("credentials",)),
    Rule("gift-cards", -2, 5, ("gift_cards", "not bulk")),
    Rule("new-bank-account", -1, 4, ("new_bank_account", "reply_to_elsewhere")),
    Rule("urgency", 0, 1, ("urgency", "not reply")),
    Rule("misleading-link", -2, 2, ("misleading_link",)),
    Rule("misleading-link-to-a-stranger", 0, 2, ("misleading_link_away",)),
    Rule("numeric-link", -1, 3, ("numeric_link",)),
    Rule("odd-link", 0, 2, ("odd_link",)),
    Rule("short-link", 0, 1, ("short_link", "not bulk")),
    Rule("free-host-link", -1, 2, ("free_host_link", "not list", "not reply")),
    Rule("bare-link", -1, 2, ("bare_link", "not reply", "not auth_pass")),
    Rule("dangerous-attachment", -1, 5, ("dangerous_attachment",)),
    Rule("web-page-attached", 0, 3, ("page_attachment", "not reply")),
    Rule("shouting", -1, 2, ("shouting", "not reply")),
    Rule("exclamations", -1, 1, ("exclamations", "not personal")),
    Rule("mixed-scripts", -1, 3, ("mixed_scripts",)),
    Rule("disguised-letters", -2, 3, ("disguised_letters",)),
    Rule("named-unlike-domain", 0, 1, ("named_unlike_domain", "link", "urgency", "not list", "not reply")),
    Rule("empty", -1, 0, ("empty",)),
    # text for the classifier instead of the owner
    Rule("vouches-for-itself", -3, 4, ("trust_me",)),
    Rule("forged-scores", -5, 5, ("forged_scores",)),
    Rule("score-named", -3, 4, ("score_named",)),
    Rule("orders-to-the-judge", -5, 6, ("orders",)),
)
