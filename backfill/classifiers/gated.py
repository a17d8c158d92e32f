"""The `gated` classifier: rules decide what is certain, free of charge; a model is asked about the rest.

Certain is little, on purpose: a mail that the gate decides is seen by nobody else. It is mass mail that its sender's
domain vouches for and that wants nothing of the owner, or mail that bears hard proof of deceit besides a very high
score, which it must reach without the server's spam mark. A mail cannot talk itself through the gate as important:
nothing is ever decided to be that here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Final

from backfill.classifiers.heuristic import HeuristicClassifier
from backfill.errors import Concession
from backfill.fingerprint import Fingerprint
from backfill.message import Message
from backfill.ports import Classifier
from backfill.verdict import Answer

SOURCE: Final = "gate"  # of a verdict that took no call

#: A sign of any of these, and the mail may want something, or not be what it seems: the model is to look at it.
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
    """When the rules' answer stands: all signs of `all_of`, one of `any_of` if there are any, none of `none_of`.

    The scores by the rules must lie within the bounds, ends included.
    """

    name: str
    all_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    spam: tuple[int, int] = (0, 10)
    importance: tuple[int, int] = (0, 10)

    def holds(self, signs: frozenset[str], answer: Answer) -> bool:
        scores = answer.scores
        return (
            signs.issuperset(self.all_of)
            and (not self.any_of or not signs.isdisjoint(self.any_of))
            and signs.isdisjoint(self.none_of)
            and self.spam[0] <= scores.spam <= self.spam[1]
            and self.importance[0] <= scores.importance <= self.importance[1]
        )


#: Only DMARC says that the domain of the From header vouches: any domain's DKIM signature passes.
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


class GatedClassifier:
    """Asks the gate first, then `model`. Metered where the model is: what the gate decides takes no slot and no call.

    The fingerprint covers both, so a changed rule is another classifier.
    """

    def __init__(self, gate: HeuristicClassifier, model: Classifier) -> None:
        self._gate = gate
        self._model = model
        self._fingerprint = model.fingerprint.having(classifier="gated", gate=gate.fingerprint.having(certain=digest()))

    @property
    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    @property
    def is_metered(self) -> bool:
        return self._model.is_metered

    def decide_free(self, message: Message) -> Answer | None:
        """The rules' answer with the certainty's name before theirs; None where nothing is certain."""
        answer = self._gate.classify(message)
        signs = self._gate.signs(message)
        unmarked = self._gate.classify(_unmarked(message)) if "marked_spam" in signs else answer
        certain = next((known for known in CERTAINTIES if known.holds(signs, unmarked)), None)
        if certain is None:
            return None
        return replace(answer, source=SOURCE, explanation=f"{certain.name}: {answer.explanation}")

    def classify(self, message: Message, concession: Concession | None = None) -> Answer:
        """Ask the model; whoever wants the gate's answer asks for the free one first."""
        return self._model.classify(message, concession)

    def estimate_tokens(self, message: Message) -> int:
        """As the model's, also for a mail that the gate decides: for the sum of a job that errs on the safe side."""
        return self._model.estimate_tokens(message)

    def close(self) -> None:
        self._model.close()
        self._gate.close()


def _unmarked(message: Message) -> Message:
    """The mail without the server's word that it is spam: a filter's opinion may not make the score a certain one."""
    return replace(message, content=replace(message.content, marked_spam=None))


def digest(certainties: tuple[Certainty, ...] = CERTAINTIES) -> str:
    """SHA-256 (hex) of what is certain."""
    return sha256(repr([asdict(known) for known in certainties]).encode()).hexdigest()
