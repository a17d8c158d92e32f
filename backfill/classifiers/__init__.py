"""The classifiers: each judges one mail at a time, by a rubric, or with an error that says what to do.

`chat` asks an OpenAI-compatible API. `heuristic` applies rules: heuristic_rules · heuristic_signs · heuristic_names ·
heuristic_phrases. `gated` asks the rules first.

For the API: `questions` (the rubric as text and schema) · `prompt` (the mail) · `endpoint` and `streamed` (the call) ·
`replies`, `answers`, `failures`, `meanings`, `rate_headers` and `untrusted` (what a reply means) · `addresses` (wrong
URLs) · `service` (models, prices, credit).
"""
