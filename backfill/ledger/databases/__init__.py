"""What differs between SQLite and PostgreSQL, and what both need around the tables: one file a concern."""
