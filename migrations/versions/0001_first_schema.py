"""The ledger's first schema: all its tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "commit_mark",
        sa.Column("writer", sa.String(length=36), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("writer", name=op.f("pk_commit_mark")),
    )
    op.create_table(
        "fact",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_fact")),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=320), nullable=False),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("fingerprint_parts", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("pace", sa.Float(), nullable=True),
        sa.Column("steered_at", sa.BigInteger(), nullable=True),
        sa.Column("consented_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('cancelled', 'done', 'open', 'paused', 'planning', 'undone')", name=op.f("ck_job_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("key", name=op.f("uq_job_key")),
    )
    op.create_table(
        "mailbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account", sa.String(length=320), nullable=False),
        sa.Column("folder", sa.String(length=1000), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailbox")),
        sa.UniqueConstraint("account", "folder", "uidvalidity", name=op.f("uq_mailbox_account_folder_uidvalidity")),
    )
    op.create_table(
        "message",
        sa.Column("message_key", sa.String(length=64), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=True),
        sa.Column("from_addr", sa.String(length=320), nullable=False),
        sa.Column("list_id", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("message_key", name=op.f("pk_message")),
    )
    op.create_table(
        "purse",
        sa.Column("name", sa.String(length=440), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_purse")),
    )
    op.create_table(
        "sink",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("committed_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_outcome_id", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sink")),
        sa.UniqueConstraint("host", "path", name=op.f("uq_sink_host_path")),
    )
    op.create_table(
        "throttle",
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.Column("arrival_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reserved_at_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("interval_us", sa.BigInteger(), nullable=False),
        sa.Column("burst_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("blocked_until_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("blocked_at_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("is_guess", sa.Boolean(), server_default=sa.text("FALSE"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("slowed_to", sa.Integer(), server_default="1000", nullable=False),
        sa.Column("slowed_at_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("announced_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("announced_at_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("interval_us > 0", name=op.f("ck_throttle_interval")),
        sa.CheckConstraint("slowed_to BETWEEN 1 AND 1000", name=op.f("ck_throttle_slowed_to")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_throttle")),
    )
    op.create_table(
        "verdict",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("message_key", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("importance", sa.Integer(), nullable=False),
        sa.Column("spam", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("importance BETWEEN 0 AND 10 AND spam BETWEEN 0 AND 10", name=op.f("ck_verdict_scores")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
        sa.UniqueConstraint(
            "message_key", "fingerprint", "generation", name=op.f("uq_verdict_message_key_fingerprint_generation")
        ),
    )
    op.create_table(
        "plan_range",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mailbox_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("high_uid", sa.BigInteger(), nullable=False),
        sa.Column("next_uid", sa.BigInteger(), nullable=False),
        sa.Column("planned", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("next_uid <= high_uid + 1", name=op.f("ck_plan_range_window")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_plan_range_job_id_job")),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_plan_range_mailbox_id_mailbox")),
        sa.PrimaryKeyConstraint("job_id", "mailbox_id", name=op.f("pk_plan_range")),
    )
    op.create_table(
        "receipt",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mailbox_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("effect", sa.String(length=40), nullable=False),
        sa.Column("verdict_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("applied_at", sa.BigInteger(), nullable=False),
        sa.Column("stale", sa.Boolean(), server_default=sa.text("FALSE"), nullable=False),
        sa.Column("undone_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_receipt_mailbox_id_mailbox")),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdict.id"], name=op.f("fk_receipt_verdict_id_verdict")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipt")),
        sa.UniqueConstraint("mailbox_id", "uid", "effect", name=op.f("uq_receipt_mailbox_id_uid_effect")),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("command", sa.String(length=20), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.Column("outcome_reason", sa.Text(), nullable=True),
        sa.Column("running_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("waiting_for", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('capped', 'finished', 'halted', 'interrupted', 'lost')",
            name=op.f("ck_run_outcome"),
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name=op.f("ck_run_ended")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_run_job_id_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("uuid", name=op.f("uq_run_uuid")),
    )
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.create_index(
            "ix_run_alive",
            ["id"],
            unique=False,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )
        batch_op.create_index("ix_run_job_id", ["job_id"], unique=False)

    op.create_table(
        "item",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("mailbox_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("due_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("due_set_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("claimed_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("claim_no", sa.Integer(), server_default="0", nullable=False),
        sa.Column("begun", sa.Boolean(), server_default=sa.text("FALSE"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("message_key", sa.String(length=64), nullable=True),
        sa.Column("verdict_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("reused", sa.Boolean(), server_default=sa.text("FALSE"), nullable=False),
        sa.Column("flags_before", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("retried_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("final_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(status IN ('done', 'failed', 'skipped', 'vanished')) = (final_at IS NOT NULL)", name=op.f("ck_item_final")
        ),
        sa.CheckConstraint(
            "status IN ('classified', 'done', 'failed', 'pending', 'skipped', 'vanished')", name=op.f("ck_item_status")
        ),
        sa.CheckConstraint(
            "status NOT IN ('classified', 'done') OR verdict_id IS NOT NULL", name=op.f("ck_item_judged")
        ),
        sa.CheckConstraint("claimed_by IS NULL OR final_at IS NULL", name=op.f("ck_item_claim")),
        sa.ForeignKeyConstraint(["claimed_by"], ["run.id"], name=op.f("fk_item_claimed_by_run")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_item_job_id_job")),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_item_mailbox_id_mailbox")),
        sa.ForeignKeyConstraint(["retried_by"], ["run.id"], name=op.f("fk_item_retried_by_run")),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdict.id"], name=op.f("fk_item_verdict_id_verdict")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item")),
        sa.UniqueConstraint("job_id", "mailbox_id", "uid", name=op.f("uq_item_job_id_mailbox_id_uid")),
    )
    with op.batch_alter_table("item", schema=None) as batch_op:
        batch_op.create_index(
            "ix_item_claimable",
            ["job_id", "due_at", "rank"],
            unique=False,
            sqlite_where=sa.text("claimed_by IS NULL AND status IN ('classified', 'pending')"),
            postgresql_where=sa.text("claimed_by IS NULL AND status IN ('classified', 'pending')"),
        )
        batch_op.create_index(
            "ix_item_retried",
            ["retried_by", "due_at", "rank"],
            unique=False,
            sqlite_where=sa.text(
                "retried_by IS NOT NULL AND claimed_by IS NULL AND status IN ('classified', 'pending')"
            ),
            postgresql_where=sa.text(
                "retried_by IS NOT NULL AND claimed_by IS NULL AND status IN ('classified', 'pending')"
            ),
        )
        batch_op.create_index(
            "ix_item_claimed",
            ["claimed_by"],
            unique=False,
            sqlite_where=sa.text("claimed_by IS NOT NULL"),
            postgresql_where=sa.text("claimed_by IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_item_failed",
            ["job_id"],
            unique=False,
            sqlite_where=sa.text("status = 'failed'"),
            postgresql_where=sa.text("status = 'failed'"),
        )
        batch_op.create_index(
            "ix_item_left_out",
            ["job_id", "status"],
            unique=False,
            sqlite_where=sa.text("status IN ('skipped', 'vanished')"),
            postgresql_where=sa.text("status IN ('skipped', 'vanished')"),
        )

    op.create_table(
        "attempt",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(length=20), server_default="open", nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("tokens_in", sa.Integer(), nullable=True),
        sa.Column("tokens_out", sa.Integer(), nullable=True),
        sa.Column("tokens_cached", sa.Integer(), nullable=True),
        sa.Column("cost_nano", sa.BigInteger(), nullable=True),
        sa.Column("estimate_nano", sa.BigInteger(), nullable=True),
        sa.Column("request_id", sa.String(length=200), nullable=True),
        sa.Column("question", sa.String(length=32), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('halted', 'late', 'ok', 'open', 'rate_limited', 'refused', "
            "'unavailable', 'unknown', 'unsent', 'unusable')",
            name=op.f("ck_attempt_outcome"),
        ),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_attempt_item_id_item")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_attempt_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
    )
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.create_index("ix_attempt_item_id", ["item_id"], unique=False)
        batch_op.create_index("ix_attempt_started_at", ["started_at"], unique=False)
        batch_op.create_index(
            "ix_attempt_open",
            ["run_id"],
            unique=False,
            sqlite_where=sa.text("outcome = 'open'"),
            postgresql_where=sa.text("outcome = 'open'"),
        )
        batch_op.create_index(
            "ix_attempt_cost",
            ["run_id", "cost_nano"],
            unique=False,
            sqlite_where=sa.text("cost_nano IS NOT NULL"),
            postgresql_where=sa.text("cost_nano IS NOT NULL"),
        )
        batch_op.create_index(
            "uq_attempt_question_open",
            ["question"],
            unique=True,
            sqlite_where=sa.text("outcome = 'open'"),
            postgresql_where=sa.text("outcome = 'open'"),
        )

    op.create_table(
        "outcome",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("item_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("verdict_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("labels", sa.String(length=100), nullable=False),
        sa.Column("supersedes", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_outcome_item_id_item")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_outcome_run_id_run")),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdict.id"], name=op.f("fk_outcome_verdict_id_verdict")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outcome")),
    )
    with op.batch_alter_table("outcome", schema=None) as batch_op:
        batch_op.create_index("ix_outcome_item_id", ["item_id"], unique=False)
