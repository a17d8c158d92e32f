"""What `backfill apply` says at its end."""

from __future__ import annotations

from backfill.cli.apply import _lines
from backfill.executor import Ended
from backfill.lifecycle import RunOutcome
from backfill.operations.apply import Applied
from backfill.operations.apply_preview import Expected
from tests.support.summaries import COMPLETE
from tests.unit.test_report_status import JOB


def test_an_apply_that_was_stopped_while_it_compared_does_not_say_that_nothing_differs():
    stopped = Applied(JOB, Expected(), COMPLETE, ended=Ended(RunOutcome.INTERRUPTED, "SIGINT"))

    (line,) = [line for line in _lines(stopped) if line.startswith("Job")]

    assert "nothing differs" not in line
    assert "not every mail was compared" in line


def test_an_apply_that_found_nothing_to_do_says_so():
    ended = Applied(JOB, Expected(), COMPLETE, ended=Ended(RunOutcome.FINISHED))

    assert "nothing differs" in _lines(ended)[0]
