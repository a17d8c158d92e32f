"""Say in each receipt of keywords which ones the mail did not bear before: `undo` removes these and no others.

Earlier versions kept the mail's flags with the item. If several jobs saw the mail, a keyword that one of them did not
see was set by us, or by nobody at that time.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

RECEIPTS = sa.text(
    "SELECT id, mailbox_id, uid, detail FROM receipt WHERE effect = 'flags' AND id > :after ORDER BY id LIMIT 1000"
)
BEFORE = sa.text(
    """SELECT flags_before FROM item
        WHERE mailbox_id = :mailbox AND uid = :uid AND verdict_id IS NOT NULL AND flags_before IS NOT NULL"""
)
UPDATE = sa.text("UPDATE receipt SET detail = :detail WHERE id = :id")


def upgrade() -> None:
    connection, after = op.get_bind(), 0
    while rows := connection.execute(RECEIPTS, {"after": after}).all():
        after = rows[-1].id
        for row in rows:
            detail = json.loads(row.detail)
            if "added" in detail:
                continue
            seen = connection.execute(BEFORE, {"mailbox": row.mailbox_id, "uid": row.uid}).scalars().all()
            flags = [{str(flag).casefold() for flag in json.loads(each)} for each in seen]
            before = set.intersection(*flags) if flags else set()
            detail["added"] = [word for word in detail.get("keywords", ()) if str(word).casefold() not in before]
            connection.execute(UPDATE, {"id": row.id, "detail": json.dumps(detail, sort_keys=True)})
