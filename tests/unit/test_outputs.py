"""An output is one file in `effects/` and one line in `wiring`; no other code tells outputs apart by their names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from backfill import outputs, wiring

PACKAGE = Path(wiring.__file__).parent


def test_every_file_of_the_folder_is_wired_under_its_name():
    assert sorted(wiring.EFFECTS) == list(outputs.NAMES)


@pytest.mark.parametrize("name", outputs.NAMES)
def test_no_other_module_tells_outputs_apart_by_name(name):
    comparing = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Compare | ast.MatchValue)
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and each.value == name
    }

    theirs = ("effects/", "demo/")  # the demo's mail server has flags of its own
    assert {path for path in comparing - {"wiring.py"} if not path.startswith(theirs)} == set()
