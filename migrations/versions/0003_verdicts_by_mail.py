"""Find the verdicts of all jobs about one mail by an index: one of them is the mail's current verdict."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    judged = sa.text("verdict_id IS NOT NULL")
    op.create_index(
        op.f("ix_item_judged"),
        "item",
        ["mailbox_id", "uid", "job_id"],
        sqlite_where=judged,
        postgresql_where=judged,
    )
