"""Let a reply find the receipt of the mail that it answers, by a number made of that mail's Message-ID.

Earlier receipts have none: their mails' Message-IDs were not kept.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("receipt", sa.Column("thread_key", sa.BigInteger))
    known = sa.text("thread_key IS NOT NULL")
    op.create_index(
        op.f("ix_receipt_thread"), "receipt", ["thread_key", "effect"], sqlite_where=known, postgresql_where=known
    )
