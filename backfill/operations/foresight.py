"""What a real run would do about the mails that a dry run has judged, counted for people. Writes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from backfill.errors import BackfillError
from backfill.operations.parts import Audience, Parts
from backfill.summary import Summary
from backfill.wording import Deed


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Something that an output would do, and to how many mails."""

    output: str
    deed: Deed
    mails: int


def foresee(parts: Parts, audience: Audience, summary: Summary) -> tuple[Foreseen, ...]:
    """What the configured outputs would do about the mails of a job that are done.

    An output that cannot be made, for example since its template is broken, is named to the audience and left out.
    """
    found: list[Foreseen] = []
    for name in parts.effect_names:
        try:
            effect = parts.output(name)
        except BackfillError as error:
            audience.tell(f"What {name} would do is not known: {error}")
            continue
        if effect is None:
            continue
        always = effect.foreseen(())
        mails = Counter(dict.fromkeys(always, summary.counts.done))
        for label, labelled in summary.labels:
            mails.update({deed: labelled for deed in effect.foreseen((label,)) if deed not in always})
        effect.close()
        found += [Foreseen(name, deed, count) for deed, count in mails.items() if count]
    return tuple(found)


def sentence(foreseen: tuple[Foreseen, ...]) -> str:
    """A dry run: a real run would set Spam on 5 mails and write 17 notes."""
    deeds = [each.deed.times(each.mails) for each in foreseen]
    return f"Dry run: a real run would {', '.join(deeds) or 'write nothing'}."
