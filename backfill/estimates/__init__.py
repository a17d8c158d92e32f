"""What the rest of a job will take, and what limits it. Each file answers one such question. Nothing here writes.

`forecast` (calls, cost and hours, from a sample) · `outlook` (when it will be done) · `bottleneck` (what limits its
speed).
"""
