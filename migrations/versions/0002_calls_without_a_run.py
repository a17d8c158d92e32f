"""An attempt may belong to an API alone, with no item and no run: `evaluate` and `check` make such calls."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OUTCOME = (
    "outcome IN ('halted', 'late', 'ok', 'open', 'rate_limited', 'refused', 'unavailable', 'unknown', 'unsent', "
    "'unusable')"
)
ASKER = "(run_id IS NULL) = (item_id IS NULL) AND (run_id IS NULL) = (api IS NOT NULL)"


def upgrade() -> None:
    # On SQLite, alembic rebuilds the table. It does not read check constraints from SQLite, so name this one here.
    outcome = sa.CheckConstraint(OUTCOME, name=op.f("ck_attempt_outcome"))
    with op.batch_alter_table("attempt", table_args=(outcome,)) as table:
        table.alter_column("item_id", existing_type=sa.BigInteger(), nullable=True)
        table.alter_column("run_id", existing_type=sa.BigInteger(), nullable=True)
        table.add_column(sa.Column("api", sa.String(length=400), nullable=True))
        table.create_check_constraint(op.f("ck_attempt_asker"), ASKER)
