"""Keep the answers to any rubric: scores by name, a category, a reason; and with each job, what it asks.

A verdict of before has the scores importance and spam. A job without a rubric asks for these two.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UPDATE = """UPDATE verdict SET reason = '',
       scores = '{"importance":' || CAST(importance AS TEXT) || ',"spam":' || CAST(spam AS TEXT) || '}'"""
COPY = """INSERT INTO verdict_next (id, message_key, fingerprint, generation, scores, category, reason, source, model,
                                  explanation, truncated, created_at)
   SELECT id, message_key, fingerprint, generation, '{"importance":' || importance || ',"spam":' || spam || '}', NULL,
          '', source, model, explanation, truncated, created_at FROM verdict"""


def upgrade() -> None:
    op.add_column("job", sa.Column("rubric", sa.Text(), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_verdict()
    else:
        op.add_column("verdict", sa.Column("scores", sa.Text(), nullable=True))
        op.add_column("verdict", sa.Column("category", sa.String(length=40), nullable=True))
        op.add_column("verdict", sa.Column("reason", sa.Text(), nullable=True))
        op.execute(sa.text(UPDATE.replace(":", "\\:")))
        op.alter_column("verdict", "scores", nullable=False)
        op.alter_column("verdict", "reason", nullable=False)
        op.drop_constraint("ck_verdict_scores", "verdict")
        op.drop_column("verdict", "importance")
        op.drop_column("verdict", "spam")
    with op.batch_alter_table("outcome") as table:
        table.alter_column("labels", existing_type=sa.String(length=100), type_=sa.Text(), existing_nullable=False)


def _rebuild_verdict() -> None:
    """One pass over the rows. Alembic's own rebuilding would need one to add columns and another to drop them."""
    op.create_table(
        "verdict_next",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("message_key", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("scores", sa.Text(), nullable=False),
        sa.Column("category", sa.String(length=40), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
        sa.UniqueConstraint(
            "message_key", "fingerprint", "generation", name=op.f("uq_verdict_message_key_fingerprint_generation")
        ),
    )
    op.execute(sa.text(COPY.replace(":", "\\:")))
    op.drop_table("verdict")
    op.rename_table("verdict_next", "verdict")
