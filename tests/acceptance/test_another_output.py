"""A further output is one file in `effects/` and one line in `wiring`: every command knows it by then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Mailbox
from tests.support.project import Project, letter

ROOT = Path(__file__).parents[2]
BELL = '''
"""Rings a bell for each mail: a file with a line per mail."""

from pathlib import Path

from backfill.ports import Probe, Receipt, ReceiptState, State, Undone


class Bell:
    name = "bell"
    needs_message = False

    def __init__(self, settings, allowance, clock):
        self.folder = Path(settings.project_dir, "bells")

    def holds(self, detail, labels):
        return True

    def apply(self, mails):
        for mail in mails:
            self.folder.mkdir(exist_ok=True)
            (self.folder / str(mail.ref.uid)).touch()
            yield Receipt(mail.ref, self.name, ReceiptState.APPLIED)

    def lost(self, receipts):
        return iter(())

    def presumed(self, mails):
        return (Receipt(mail.ref, self.name, ReceiptState.APPLIED) for mail in mails)

    def undo(self, receipts):
        for receipt in receipts:
            (self.folder / str(receipt.ref.uid)).unlink(missing_ok=True)
            yield Undone(receipt.ref, self.name)

    def traces(self, receipt):
        return ("bell",)

    def foreseen(self, labels):
        return ()

    def probe(self, inbox):
        yield Probe(self.name, State.OK, "It rings.")

    def close(self):
        pass
'''
LINE = 'EFFECTS: Final = {"bell": __import__("backfill.effects.bell", fromlist=["Bell"]).Bell, '


@pytest.fixture
def house(tmp_path: Path) -> dict[str, str]:
    """The environment in which a copy of the code with the new output runs."""
    for folder in ("backfill", "migrations", "config"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "backfill/effects/bell.py").write_text(BELL)
    wiring = tmp_path / "backfill/wiring.py"
    before = wiring.read_text("utf-8")
    assert before.count("EFFECTS: Final = {") == 1
    wiring.write_text(before.replace("EFFECTS: Final = {", LINE))
    return {"PYTHONPATH": str(tmp_path)}


def test_every_command_knows_it(project: Project, mailbox: Mailbox, house: dict[str, str]) -> None:
    mailbox.holds(letter(1), letter(2))
    project.configure(effects=["bell", "flags"], classifier="heuristic")
    bells = project.folder / "bells"

    def command(*words: str) -> str:
        done = project.run(*words, environment=house)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "It rings." in command("check", "--no-call")
    command("run", "--yes")
    assert sorted(path.name for path in bells.iterdir()) == ["1", "2"]
    assert json.loads(command("report", "--format", "json"))["effects"]["bell"] == 2
    assert "bell 2" in command("report")
    command("verify")
    command("undo", "--only", "bell", "--yes")
    assert list(bells.iterdir()) == []
    command("apply", "--yes")
    assert sorted(path.name for path in bells.iterdir()) == ["1", "2"]


def test_a_name_that_is_none_is_refused_with_those_there_are(project: Project, house: dict[str, str]) -> None:
    project.configure(effects=["belly"])

    done = project.run("run", "--yes", environment=house)

    assert done.returncode == 2
    assert "'bell', 'flags', 'notes' or 'webhook'" in done.stderr
