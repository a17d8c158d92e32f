"""Alembic's environment: migrations run on the connection of `migrate.py`, inside its transaction."""

from alembic import context

from backfill.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters tables by rebuilding them
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
