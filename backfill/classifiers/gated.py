"""The `gated` classifier: rules decide the certain mails, free of charge; a model is asked about the others.

Few mails are certain, on purpose: no model sees a mail that the rules decide. Two kinds are certain. One is mass mail
or automatic mail that passes DMARC and asks nothing of the owner. The other is mail with a very high spam score and
hard proof of deceit; the server's spam mark does not count towards that score. The rules never decide that a mail is
important, so no mail can pass for important by its own words.

The rules know the scores importance and spam, and one category: the one that the operator names for deceit. With
categories, mass mail goes to the model, since the rules cannot say which category it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Final

from backfill.classifiers.heuristic import HeuristicClassifier
from backfill.errors import Concession
from backfill.fingerprint import Fingerprint
from backfill.message import Message
from backfill.ports import Classifier
from backfill.rubric import Rubric
from backfill.verdict import Answer, Scores

SOURCE: Final = "gate"  # the source of a verdict without a call

#: With any of these signs a mail may ask for something, or may not be what it seems, so the model is asked.
_WANTS: Final = (
    "deadline", "invoice", "appointment", "official", "request", "security", "urgency", "credentials", "parcel",
    "calendar_attachment", "document_attachment", "dangerous_attachment", "page_attachment",
)  # fmt: skip
_LURES: Final = ("wallet", "crypto", "reward", "bait", "profit", "loan", "millions", "trust_me")
_LIES: Final = (
    "dmarc_fail", "marked_spam", "reply_to_elsewhere", "borrowed_brand", "named_unlike_domain", "cousin_domain",
    "other_address_in_name", "odd_sender_domain", "called_by_address", "misleading_link", "numeric_link", "odd_link",
    "links_astray", "free_host_link", "short_link", "bare_link", "mixed_scripts", "disguised_letters",
    "score_named", "forged_scores", "orders",
)  # fmt: skip
_DOUBTS: Final = (*_WANTS, *_LURES, *_LIES)


@dataclass(frozen=True, slots=True)
class Certainty:
    """When the rules' answer is final: with all signs of `all_of`, one of `any_of` (unless empty), none of `none_of`.

    The rules' scores must lie within the bounds, ends included.
    """

    name: str
    all_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    spam: tuple[int, int] = (0, 10)
    importance: tuple[int, int] = (0, 10)

    @property
    def is_deceit(self) -> bool:
        """Is it certain that the mail is unwanted, and not that it is wanted?"""
        return self.spam[0] > 5

    def holds(self, signs: frozenset[str], answer: Answer) -> bool:
        scores = answer.scores
        return (
            signs.issuperset(self.all_of)
            and (not self.any_of or not signs.isdisjoint(self.any_of))
            and signs.isdisjoint(self.none_of)
            and self.spam[0] <= scores["spam"] <= self.spam[1]
            and self.importance[0] <= scores["importance"] <= self.importance[1]
        )


#: Only a DMARC pass proves the domain of the From header. DKIM passes with a signature of any domain.
CERTAINTIES: Final = (
    Certainty("vouched-mass-mail", ("bulk", "dmarc_pass"), (), _DOUBTS, spam=(0, 1), importance=(0, 2)),
    Certainty("vouched-machine", ("automatic", "no_reply_sender", "dmarc_pass"), (), _DOUBTS, (0, 1), (0, 2)),
    Certainty(
        "proved-deceit",
        any_of=("dmarc_fail", "sender_without_domain", "numeric_link", "dangerous_attachment"),
        none_of=("reply", "list", "auth_pass"),
        spam=(9, 10),
    ),
    Certainty("brand-that-nobody-vouches-for", ("borrowed_brand", "nobody_vouches"), (), ("reply", "list"), (9, 10)),
)
IMPORTANCE_AND_SPAM: Final = Rubric.default()

#: The reason of a verdict, where one is asked for. Not in the table: its digest is part of fingerprints.
REASONS: Final[Mapping[str, str]] = {
    "vouched-mass-mail": "Mass mail of a sender whose domain is proved; it asks nothing of the owner.",
    "vouched-machine": "Automatic mail of a sender whose domain is proved; it asks nothing of the owner.",
    "proved-deceit": "The sender is forged, or a link or attachment is made to deceive.",
    "brand-that-nobody-vouches-for": "The sender goes by a brand's name, and no proof of its domain was found.",
}


class GatedClassifier:
    """Asks `gate` first, then `model`. Metered if the model is; a mail that the gate decides takes no slot and no call.

    The fingerprint covers both, so a changed rule makes another classifier. The rubric must ask nothing that is
    `beyond_the_rules`.
    """

    def __init__(self, gate: HeuristicClassifier, model: Classifier, rubric: Rubric = IMPORTANCE_AND_SPAM) -> None:
        self._gate = gate
        self._model = model
        self._rubric = rubric
        parts = {"certain": digest()} | ({"spam_category": rubric.spam_category} if rubric.categories else {})
        self._fingerprint = model.fingerprint.having(classifier="gated", gate=gate.fingerprint.having(**parts))

    @property
    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    @property
    def is_metered(self) -> bool:
        return self._model.is_metered

    def decide_free(self, message: Message) -> Answer | None:
        """The rules' answer, with the certainty's name before the rules' names; None when no certainty holds."""
        answer = self._gate.classify(message)
        signs = self._gate.signs(message)
        unmarked = self._gate.classify(_unmarked(message)) if "marked_spam" in signs else answer
        certain = next((known for known in CERTAINTIES if known.holds(signs, unmarked)), None)
        if certain is None or (self._rubric.categories and not certain.is_deceit):
            return None
        return replace(
            answer,
            scores=Scores({score.name: answer.scores[score.name] for score in self._rubric.scores}),
            category=self._rubric.spam_category if self._rubric.categories else None,
            reason=REASONS[certain.name] if self._rubric.reason else "",
            source=SOURCE,
            explanation=f"{certain.name}: {answer.explanation}",
        )

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        """Ask the model. The caller asks `decide_free` for the gate's answer before."""
        return self._model.classify(message, concession)

    def estimate_tokens(self, message: Message) -> int:
        """The model's estimate, also for a mail that the gate decides: a job's sum is rather too high than too low."""
        return self._model.estimate_tokens(message)

    def close(self) -> None:
        self._model.close()
        self._gate.close()


def _unmarked(message: Message) -> Message:
    """The mail without the server's spam mark: another filter's opinion must not make a score certain."""
    return replace(message, content=replace(message.content, marked_spam=None))


def digest(certainties: tuple[Certainty, ...] = CERTAINTIES) -> str:
    """SHA-256 (hex) of the table."""
    return sha256(repr([asdict(known) for known in certainties]).encode()).hexdigest()
