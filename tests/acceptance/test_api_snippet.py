"""The README's snippet for programs, run to the letter."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.project import PROCESSED, Project, letter

README = Path(__file__).parents[2] / "README.md"


def test_the_snippet_in_the_readme_works_as_it_stands(
    project: Project, mailbox: Mailbox, api: ApiServer, tmp_path: Path
) -> None:
    mailbox.holds(
        letter(1, date="Sun, 31 Dec 2023 23:59:59 +0000"),
        letter(2, date="Mon, 01 Jan 2024 00:00:00 +0000"),
        letter(3, date="Tue, 31 Dec 2024 23:59:59 +0000"),
    )
    (snippet,) = re.findall(r"<!-- snippet: api -->\n```python\n(.*?)^```$", README.read_text(), re.M | re.S)
    program = tmp_path / "program.py"
    program.write_text(snippet)

    done = subprocess.run([sys.executable, str(program)], cwd=project.folder, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    total, processed, failed, skipped, rate, *times = done.stdout.split()
    assert (total, processed, failed, skipped, rate) == ("2", "2", "0", "0", "100.0")
    assert len(times) == 6  # two durations and two moments of two words
    assert sorted(call.subject for call in api.calls) == ["Letter 2", "Letter 3"]
    assert [PROCESSED in flags for flags in project.flags().values()] == [False, True, True]
    assert len(project.notes()) == len(project.analytics()) == 2
