"""What the rest of a job will take, and what limits it. Each file answers one such question. Nothing here writes."""
