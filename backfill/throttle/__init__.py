"""Everything that a run waits for: one file for each limit (calls, budget, mail account, hours)."""
