"""`backfill demo`, as somebody sees it who has just installed it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backfill.demo import story
from backfill.errors import ConfigError

pytestmark = pytest.mark.timeout(180)


def demo(folder: Path) -> tuple[int, str]:
    told: list[str] = []
    return story.tell(folder, write=told.append), "\n".join(told)


def test_the_demo_survives_being_killed_and_can_be_played_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKFILL_IMAP__SERVER", "somewhere.else.invalid")  # an operator's own setting

    for _ in range(2):
        code, text = demo(tmp_path / "demo")

        assert "  ✗ " not in text
        assert text.count("  ✓ ") == 9
        assert "BACKFILL OPERATION COMPLETE" in text
        assert code == 0

    lines = (tmp_path / "demo/var/analytics.jsonl").read_text().splitlines()
    assert len({(line["folder"], line["uid"]) for line in map(json.loads, lines)}) == len(lines) == 320
    assert len(list((tmp_path / "demo/var/notes").rglob("*.md"))) == 320
    assert (tmp_path / "demo/var/reports/report.html").stat().st_size > 1000
    assert "password" not in (tmp_path / "demo/config/config.yaml").read_text()


def test_a_folder_that_is_not_a_demo_is_left_alone(tmp_path):
    (tmp_path / "letters.txt").write_text("mine")

    with pytest.raises(ConfigError, match="left alone"):
        demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_without_twisted_the_demo_says_what_to_install(tmp_path):
    (tmp_path / "twisted.py").write_text("raise ModuleNotFoundError('No module named twisted', name='twisted')")
    script = (
        "from pathlib import Path\nfrom backfill.demo import story\nfrom backfill.errors import ConfigError\n"
        "try:\n    story.tell(Path('demo'), write=print)\nexcept ConfigError as error:\n    print(error)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(story.__file__).parents[2])])

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )

    assert "pip install 'backfill[demo]'" in done.stdout
    assert not (tmp_path / "demo").exists()
