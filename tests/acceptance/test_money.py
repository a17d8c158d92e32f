"""What a plan says a job will cost, and what a budget does about it, at the command line."""

from __future__ import annotations

import json
import signal

from tests.conftest import Mailbox
from tests.support.api_server import ApiServer
from tests.support.project import Project, complaints, end, letter, wait_until

#: A call sets aside some 1,700 characters and 200 tokens at these prices: about 0.0037 USD.
PRICES = {"prompt": "0.000001", "completion": "0.00001"}


def test_a_budget_stops_the_run_before_it_is_exceeded_and_a_higher_one_goes_on(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(1, 31)))
    api.offer("/models", {"data": [{"id": "test/model-1", "pricing": PRICES}]})

    stopped = project.run("run", "--yes", "--max-cost", "0.005")
    spent = project.report()["cost_usd"]
    ended = project.run("run", "--yes", "--max-cost", "1")

    assert stopped.returncode == 5
    assert "budget of $0.005" in complaints(stopped.stderr)[0]
    assert "go on with: backfill run --job 1 --max-cost 0.005\n" in stopped.stderr
    assert stopped.stdout == ""
    assert 0 < spent <= 0.005
    assert ended.returncode == 0
    assert project.report()["counts"]["done"] == 30
    assert api.call_count == 30


def test_a_budget_that_will_not_last_is_named_while_the_run_works(
    project: Project, mailbox: Mailbox, api: ApiServer
) -> None:
    mailbox.holds(*(letter(number) for number in range(1, 61)))
    api.offer("/models", {"data": [{"id": "test/model-1", "pricing": PRICES}]})

    with project.start(
        "run", "--yes", "--max-cost", "0.006", "--calls-per-minute", "30", "--concurrency", "1"
    ) as child:
        wait_until(lambda: project.count("item WHERE status = 'done'") >= 2, child)
        status = project.run("status").stdout
        end(child, signal.SIGTERM)

    assert "; the budget lasts for about " in status


def test_a_limit_where_nobody_knows_the_price_is_refused(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(letter(1))

    refused = project.run("run", "--yes", "--max-cost", "5")

    assert refused.returncode == 2
    assert "not known" in complaints(refused.stderr)[0]
    assert api.call_count == 0


def test_a_plan_says_what_it_will_take_without_a_call(project: Project, mailbox: Mailbox, api: ApiServer) -> None:
    mailbox.holds(*(letter(number) for number in range(1, 31)))
    api.offer("/models", {"data": [{"id": "test/model-1", "pricing": PRICES}]})

    told = project.run("plan")
    forecast = json.loads(project.run("plan", "--json").stdout)["forecast"]

    assert "30 mails to do: about 30 calls" in told.stdout
    assert forecast["calls"] == 30
    assert forecast["cost_usd"] > 0
    assert api.call_count == 0
