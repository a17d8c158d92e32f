"""A ledger's disk that is full: the real command says what it costs, and goes on when there is room."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer, Call, Response, scores_for, verdict
from tests.support.project import Project, complaints, letter
from tests.support.small_disk import needs_root, small_disk

MAILS = 60
THREADS = 4


@needs_root
def test_a_run_on_a_full_disk_says_how_many_answers_will_be_paid_for_again(
    project: Project, mailbox: Mailbox, api: ApiServer, tmp_path: Path
) -> None:
    mailbox.holds(*map(letter, range(MAILS)))
    with small_disk(tmp_path / "disk", "20m") as disk:
        ledger = disk.folder / "ledger.db"
        project.configure(processing={"concurrency": THREADS}, paths={"ledger_url": f"sqlite:///{ledger}"})
        together, is_full = threading.Barrier(THREADS, action=disk.fill), threading.Event()

        def answer(call: Call) -> Response:
            if api.call_count > MAILS // 2 and not is_full.is_set():
                together.wait(30)
                is_full.set()
            return verdict(*scores_for(call.mail))

        api.answer_with(answer)
        stopped = project.run("run", "--yes")
        disk.make_room()
        went_on = project.run("run", "--yes")
        with closing(sqlite3.connect(ledger)) as connection:
            statuses = connection.execute("SELECT status, COUNT(*) FROM item GROUP BY status").fetchall()

    again = sum(count - 1 for count in Counter(call.subject for call in api.calls).values())
    assert 0 < again <= THREADS
    assert (stopped.returncode, went_on.returncode) == (74, 0), stopped.stderr + went_on.stderr
    said = f"The disk is full; make room and run again. {again} answer"
    assert said in complaints(stopped.stderr)[0]
    assert said in project.log()
    assert "othing is lost" not in stopped.stderr + stopped.stdout
    assert statuses == [("done", MAILS)]
