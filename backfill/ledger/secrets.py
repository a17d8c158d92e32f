"""Random secrets of this ledger, such as the secret from which prompt delimiters are made.

They protect against the senders of mail. They do not protect against people who can read the ledger file.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, select

from backfill.ledger.databases.database import Database
from backfill.ledger.schema import fact


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets in the fact table."""

    database: Database

    def get(self, name: str) -> bytes:
        """32 random bytes, the same at every call for one name. Writes."""

        def work(connection: Connection) -> bytes:
            row = {"name": name, "value": secrets.token_hex(32)}
            connection.execute(self.database.insert(fact).on_conflict_do_nothing(), [row])
            return bytes.fromhex(connection.execute(select(fact.c.value).where(fact.c.name == name)).scalar_one())

        return self.database.write(work)
