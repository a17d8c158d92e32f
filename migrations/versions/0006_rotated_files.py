"""An append-only file may be rotated: the ledger knows with which outcome the files before it end."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sink", sa.Column("rotated_outcome_id", sa.BigInteger(), server_default="0", nullable=False))
