"""What each command does, without a terminal: one file a command, and the steps that commands share.

Commands: `plan` · `run` · `retry` · `apply` · `undo` · `cleanup` (cleanup-flags) · `verify` · `check` · `evaluate` ·
`export` · `scaffold` (init). Steps: `parts` (what a command works with) · `request` (which job is meant) · `consent`
(the question before money is spent) · `calls` (calls for no job, and budgets) · `earlier` (signs of an earlier ledger)
· `lost` (outputs that are gone or outdated) · `outputs` (each output by its name, patiently) · `apply_preview` and
`undo_preview` (what they would do) · `foresight` (what a real run would do after a dry run). Nothing here prints, reads
standard input or exits: sentences and questions go through `parts.Audience`.
"""
