"""Everything that a run waits at: one file a limit (calls, budget, mail account, hours)."""
