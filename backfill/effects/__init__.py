"""Verdicts brought into the world: one output a file."""
