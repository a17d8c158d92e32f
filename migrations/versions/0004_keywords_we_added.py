"""Say in each receipt of keywords which ones the mail did not bear before: `undo` removes these and no others.

Earlier versions kept the mail's flags with the item. If several jobs saw the mail, a keyword that one of them did not
see was set by us, or by nobody at that time.
"""

import json
from functools import lru_cache
from itertools import groupby

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PAGE = 5000
#: Each receipt of the page, once for each job that saw its mail.
RECEIPTS = sa.text(
    """SELECT t.id, t.detail, i.flags_before
         FROM (SELECT id, mailbox_id, uid, detail FROM receipt WHERE effect = 'flags' AND id > :after
                ORDER BY id LIMIT :page) t
         LEFT JOIN item i ON i.mailbox_id = t.mailbox_id AND i.uid = t.uid AND i.verdict_id IS NOT NULL
                         AND i.flags_before IS NOT NULL
        ORDER BY t.id"""
)
UPDATE = sa.text("UPDATE receipt SET detail = :detail WHERE id = :id")


def upgrade() -> None:
    connection, after = op.get_bind(), 0
    while rows := connection.execute(RECEIPTS, {"after": after, "page": PAGE}).all():
        after = rows[-1].id
        changed = []
        for number, seen in groupby(rows, key=lambda row: row.id):
            first, *others = seen
            detail = json.loads(first.detail)
            if "added" in detail:
                continue
            flags = [_folded(row.flags_before) for row in (first, *others) if row.flags_before is not None]
            before = frozenset.intersection(*flags) if flags else frozenset()
            detail["added"] = [word for word in detail.get("keywords", ()) if str(word).casefold() not in before]
            changed.append({"id": number, "detail": json.dumps(detail, sort_keys=True)})
        if changed:
            connection.execute(UPDATE, changed)


@lru_cache(maxsize=1000)  # most mails bear the same few flags
def _folded(flags: str) -> frozenset[str]:
    return frozenset(str(flag).casefold() for flag in json.loads(flags))
