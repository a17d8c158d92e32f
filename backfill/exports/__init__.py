"""Verdicts in forms for other programs, one form a file: `jsonl` · `csv_form` · `parquet`.

`columns` names what a row holds; the forms share it. `forms` finds a form by its name or by the name of a file.
`target` is what they write to.
"""
