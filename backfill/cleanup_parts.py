"""What `cleanup-flags` and its undo work with: the parts of any command, and a marker of their own."""

from __future__ import annotations

from backfill import wiring
from backfill.mail.marker import checked_keyword, search_key
from backfill.ports import MailMarker


class CleanupParts(wiring.Parts):
    """The parts of a cleanup; see `operations.cleanup.CleanupParts`."""

    def marker(self) -> MailMarker:
        return wiring.marker(self._settings, self.allowance)

    def bearing_key(self, keyword: str) -> str:
        return search_key(checked_keyword(keyword), gmail_labels=self._settings.imap.gmail_labels)

    @property
    def own_keywords(self) -> frozenset[str]:
        return frozenset({self._settings.imap.processed_tag, *self.rubric.keywords.values()})
