"""The ledger's tables.

Status and claim are separate columns. Times are integer microseconds UTC. Money is integer nano-dollars (10^-9 USD; a
token of a cheap model costs 20 of them). A migrated database equals this metadata; a test checks it. A partial index
serves only a statement that contains the index's predicate as literals: the constants below are these predicates.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from backfill.lifecycle import FINAL, OPEN, AttemptOutcome, ItemStatus, JobState, RunOutcome

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives out row numbers only in a column that is declared INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")


def one_of(column: str, values: Iterable[StrEnum]) -> str:
    """`column IN ('a', 'b')` with the values as literals, in a fixed order."""
    literals = ", ".join(f"'{value}'" for value in sorted(values))
    return f"{column} IN ({literals})"


#: The literal predicates of the partial indexes. A statement uses the index only if it contains this text.
ITEM_OPEN = one_of("status", OPEN)
ITEM_CLAIMABLE = f"claimed_by IS NULL AND {ITEM_OPEN}"
ITEM_RETRIED = "retried_by IS NOT NULL"
ITEM_CLAIMED = "claimed_by IS NOT NULL"
ITEM_FAILED = "status = 'failed'"
ITEM_LEFT_OUT = one_of("status", frozenset({ItemStatus.SKIPPED, ItemStatus.VANISHED}))
#: Judged items, by mail: whose verdict is the mail's current one? See `current`.
ITEM_JUDGED = "verdict_id IS NOT NULL"
ATTEMPT_OPEN = "outcome = 'open'"
ATTEMPT_COST = "cost_nano IS NOT NULL"
#: An attempt belongs either to a run and an item, or to an API alone.
ATTEMPT_ASKER = "(run_id IS NULL) = (item_id IS NULL) AND (run_id IS NULL) = (api IS NOT NULL)"
#: A receipt counts if its effect is applied and does not have to be applied again.
RECEIPT_CURRENT = "undone_at IS NULL AND NOT stale"


def _id() -> Column[int]:
    return Column("id", Id, primary_key=True)


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


mailbox = Table(
    "mailbox",
    metadata,
    _id(),
    Column("account", String(320), nullable=False),
    Column("folder", String(1000), nullable=False),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("closed_at", BigInteger),  # when another UIDVALIDITY was seen
    UniqueConstraint("account", "folder", "uidvalidity"),
)

job = Table(
    "job",
    metadata,
    _id(),
    Column("key", String(64), nullable=False, unique=True),
    Column("account", String(320), nullable=False),
    Column("selection", Text, nullable=False),  # canonical JSON
    Column("fingerprint", String(64), nullable=False),
    Column("fingerprint_parts", Text, nullable=False),  # canonical JSON, to show how two fingerprints differ
    Column("prompt", Text, nullable=False),  # whole
    Column("rubric", Text),  # whole, as JSON; NULL: importance and spam, of a job that is older than rubrics
    Column("dry_run", Boolean, nullable=False),
    Column("generation", Integer, nullable=False, server_default="0"),  # > 0: --ask-again
    Column("state", String(10), nullable=False),
    Column("state_reason", Text),
    Column("pace", Float),  # calls a minute, set by `backfill pace`; NULL: as configured
    Column("steered_at", BigInteger),  # when it was last paused, resumed, cancelled or given a pace
    Column("consented_at", BigInteger),  # when the operator agreed to the first metered call
    Column("created_at", BigInteger, nullable=False),
    Column("done_at", BigInteger),
    CheckConstraint(one_of("state", JobState), name="state"),
)

plan_range = Table(
    "plan_range",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    Column("mailbox_id", ForeignKey("mailbox.id"), primary_key=True),
    Column("high_uid", BigInteger, nullable=False),  # the highest UID of the plan, frozen when it was made
    Column("next_uid", BigInteger, nullable=False),  # UIDs below this one are planned
    Column("planned", BigInteger, nullable=False, server_default="0"),  # how many items were inserted
    CheckConstraint("next_uid <= high_uid + 1", name="window"),
)

run = Table(
    "run",
    metadata,
    _id(),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("job_id", ForeignKey("job.id"), nullable=False),
    Column("command", String(20), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", String(40), nullable=False),
    Column("parameters", Text, nullable=False),  # JSON, see `RunParameters`
    Column("started_at", BigInteger, nullable=False),
    Column("heartbeat_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("outcome", String(20)),
    Column("outcome_reason", Text),
    Column("running_us", BigInteger, nullable=False, server_default="0"),
    Column("waiting_for", Text),  # for people; NULL: it works
    CheckConstraint(f"outcome IS NULL OR {one_of('outcome', RunOutcome)}", name="outcome"),
    CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="ended"),
    Index("ix_run_job_id", "job_id"),
    _partial("ix_run_alive", "id", where="ended_at IS NULL"),
)

message = Table(
    "message",
    metadata,
    Column("message_key", String(64), primary_key=True),
    Column("sent_at", BigInteger),
    Column("received_at", BigInteger),
    Column("from_addr", String(320), nullable=False),
    Column("list_id", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
)

verdict = Table(
    "verdict",
    metadata,
    _id(),
    Column("message_key", String(64), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("scores", Text, nullable=False),  # JSON, by the rubric's names and in its order
    Column("category", String(40)),  # NULL: none was asked for
    Column("reason", Text, nullable=False),  # the model's own words, cleaned
    Column("source", String(40), nullable=False),
    Column("model", String(200)),
    Column("explanation", Text, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("message_key", "fingerprint", "generation"),
)

item = Table(
    "item",
    metadata,
    _id(),
    Column("job_id", ForeignKey("job.id"), nullable=False),
    Column("mailbox_id", ForeignKey("mailbox.id"), nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("status", String(10), nullable=False),
    Column("due_at", BigInteger, nullable=False, server_default="0"),  # not to be claimed before this time
    Column("due_set_at", BigInteger, nullable=False, server_default="0"),  # when `due_at` was set
    Column("rank", BigInteger, nullable=False),  # the order of due items: by mailbox, then by UID
    Column("claimed_by", ForeignKey("run.id")),
    Column("claim_no", Integer, nullable=False, server_default="0"),  # the fencing number
    Column("begun", Boolean, nullable=False, server_default=text("FALSE")),  # its parsing or its call is under way
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("losses", Integer, nullable=False, server_default="0"),  # dead runs and unexpected errors while begun
    Column("message_key", String(64)),
    Column("verdict_id", ForeignKey("verdict.id")),
    Column("reused", Boolean, nullable=False, server_default=text("FALSE")),  # its verdict was already known
    Column("flags_before", Text),  # JSON: the mail's flags before our first STORE
    Column("reason", Text),
    Column("retried_by", ForeignKey("run.id")),  # the run that took it up again and works only on such items
    Column("final_at", BigInteger),
    UniqueConstraint("job_id", "mailbox_id", "uid"),
    CheckConstraint(one_of("status", ItemStatus), name="status"),
    CheckConstraint(f"({one_of('status', FINAL)}) = (final_at IS NOT NULL)", name="final"),
    CheckConstraint("claimed_by IS NULL OR final_at IS NULL", name="claim"),
    CheckConstraint("status NOT IN ('classified', 'done') OR verdict_id IS NOT NULL", name="judged"),
    _partial("ix_item_claimable", "job_id", "due_at", "rank", where=ITEM_CLAIMABLE),
    # For a run that works only on retried mails, while many other mails are pending.
    _partial("ix_item_retried", "retried_by", "due_at", "rank", where=f"{ITEM_RETRIED} AND {ITEM_CLAIMABLE}"),
    _partial("ix_item_claimed", "claimed_by", where=ITEM_CLAIMED),
    _partial("ix_item_judged", "mailbox_id", "uid", "job_id", where=ITEM_JUDGED),
    _partial("ix_item_failed", "job_id", where=ITEM_FAILED),
    _partial("ix_item_left_out", "job_id", "status", where=ITEM_LEFT_OUT),
)

attempt = Table(
    "attempt",
    metadata,
    _id(),
    Column("item_id", ForeignKey("item.id")),
    Column("run_id", ForeignKey("run.id")),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("outcome", String(20), nullable=False, server_default="open"),
    Column("http_status", Integer),
    Column("tokens_in", Integer),
    Column("tokens_out", Integer),
    Column("tokens_cached", Integer),
    Column("cost_nano", BigInteger),  # NULL: not known; 0: it cost nothing
    Column("estimate_nano", BigInteger),  # what it set aside; NULL: its cost had no limit
    Column("request_id", String(200)),
    Column("question", String(32)),  # digest of message key, fingerprint and generation; NULL: not known
    Column("api", String(400)),  # the throttle of a call that belongs to no run; else the run says it
    CheckConstraint(one_of("outcome", AttemptOutcome), name="outcome"),
    CheckConstraint(ATTEMPT_ASKER, name="asker"),
    Index("ix_attempt_item_id", "item_id"),
    Index("ix_attempt_started_at", "started_at"),  # for the cost and the number of a day's calls
    _partial("ix_attempt_open", "run_id", where=ATTEMPT_OPEN),
    # The cost of a job is summed from this index alone; `status --watch` asks for it every second.
    _partial("ix_attempt_cost", "run_id", "cost_nano", where=ATTEMPT_COST),
    # Two runs never ask the same question at the same time. Rows without a question never conflict.
    _partial("uq_attempt_question_open", "question", where=ATTEMPT_OPEN, unique=True),
)

receipt = Table(
    "receipt",
    metadata,
    _id(),
    Column("mailbox_id", ForeignKey("mailbox.id"), nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("effect", String(40), nullable=False),
    Column("verdict_id", ForeignKey("verdict.id"), nullable=False),
    Column("state", String(20), nullable=False),
    Column("detail", Text, nullable=False),  # JSON: keywords; path and hash; the server's reason
    Column("applied_at", BigInteger, nullable=False),
    Column("stale", Boolean, nullable=False, server_default=text("FALSE")),  # the effect must be applied again
    Column("undone_at", BigInteger),
    Column("thread_key", BigInteger),  # of the mail's Message-ID, by which replies find the receipt
    UniqueConstraint("mailbox_id", "uid", "effect"),
    _partial("ix_receipt_thread", "thread_key", "effect", where="thread_key IS NOT NULL"),
)

#: Keywords of older systems that `cleanup-flags` removed: the mail bore the keyword when the row was written, which is
#: before it was removed. So it is a receipt, of any number of keywords on a mail.
removal = Table(
    "removal",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    Column("mailbox_id", ForeignKey("mailbox.id"), primary_key=True),
    Column("keyword", String(50), primary_key=True),
    Column("uid", BigInteger, primary_key=True),
    Column("undone_at", BigInteger),
)

#: The items that became final, in order; append-only. `analytics.jsonl` is made from these rows.
outcome = Table(
    "outcome",
    metadata,
    _id(),
    Column("item_id", ForeignKey("item.id"), nullable=False),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("status", String(10), nullable=False),
    Column("verdict_id", ForeignKey("verdict.id")),
    Column("reason", Text),
    Column("labels", Text, nullable=False),  # comma-separated, by the thresholds at that time
    Column("supersedes", Boolean, nullable=False),  # the item was final before: this outcome replaces an earlier one
    Column("at", BigInteger, nullable=False),
    Index("ix_outcome_item_id", "item_id"),
)

sink = Table(
    "sink",
    metadata,
    _id(),
    Column("host", String(255), nullable=False),
    Column("path", Text, nullable=False),
    Column("committed_bytes", BigInteger, nullable=False, server_default="0"),
    Column("last_outcome_id", BigInteger, nullable=False, server_default="0"),
    Column("rotated_outcome_id", BigInteger, nullable=False, server_default="0"),  # 0: no file was rotated from it
    UniqueConstraint("host", "path"),
)

throttle = Table(
    "throttle",
    metadata,
    Column("name", String(400), primary_key=True),  # e.g. calls:https://openrouter.ai/api/v1
    Column("arrival_us", BigInteger, nullable=False, server_default="0"),  # GCRA's theoretical arrival time
    Column("reserved_at_us", BigInteger, nullable=False, server_default="0"),  # when `arrival_us` was set
    Column("interval_us", BigInteger, nullable=False),
    Column("burst_us", BigInteger, nullable=False, server_default="0"),
    Column("blocked_until_us", BigInteger, nullable=False, server_default="0"),
    Column("blocked_at_us", BigInteger, nullable=False, server_default="0"),  # when the block was set
    Column("is_guess", Boolean, nullable=False, server_default=text("FALSE")),  # the service named no end of the block
    Column("reason", Text),
    Column("slowed_to", Integer, nullable=False, server_default="1000"),  # thousandths of the rate, at slowed_at_us
    Column("slowed_at_us", BigInteger, nullable=False, server_default="0"),  # when a refused call last set `slowed_to`
    Column("announced_us", BigInteger, nullable=False, server_default="0"),  # the service's own interval; 0: none
    Column("announced_at_us", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("interval_us > 0", name="interval"),
    CheckConstraint("slowed_to BETWEEN 1 AND 1000", name="slowed_to"),
)

#: PostgreSQL only: the number of each writing process's latest commit. If the answer to a commit is lost with the
#: connection, this says whether the commit took place.
commit_mark = Table(
    "commit_mark",
    metadata,
    Column("writer", String(36), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)

#: What is spent or set aside: the money of a job over its life, the money of a day, or the calls to an API on a day.
purse = Table(
    "purse",
    metadata,
    Column("name", String(440), primary_key=True),
    Column("spent", BigInteger, nullable=False),  # nano-dollars, or calls
)

#: Facts about this ledger itself, e.g. the secret from which prompt delimiters are made.
fact = Table("fact", metadata, Column("name", String(40), primary_key=True), Column("value", Text, nullable=False))
