"""What differs between SQLite and PostgreSQL, and what both need around the tables: one file for each concern.

`database` (connections and transactions) · `connect` · `migrate` · `soundness` (checks at the start) · `errors` ·
`bulk` (lists of rows in a statement) · `backup` · `filesystem` (where a SQLite file may lie).
"""
