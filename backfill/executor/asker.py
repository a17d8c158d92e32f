"""The asking stage: what each of a run's asking threads does with the mails that are to be judged."""

from __future__ import annotations

from dataclasses import dataclass

from backfill.errors import BackfillError
from backfill.executor.flow import Flow
from backfill.executor.results import Task, Troubled
from backfill.ledger.attempts import Call, Question
from backfill.ledger.budgets import Reservation
from backfill.ledger.verdicts import Answered
from backfill.metered import MeteredCalls, Open, Stopped


@dataclass(slots=True)
class Asker:
    """Takes tasks, hands on answers and troubles."""

    flow: Flow
    calls: MeteredCalls

    def ask_all(self) -> None:
        """Ask until the tasks end, or until there are threads enough.

        A thread may look for its next task while its answer is not saved yet, but its next call is opened only
        together with that or later: so no more answers that cost something are ever lost than there are threads.
        """
        while self.flow.threads.goes_on():
            task = self.flow.tasks.get()
            if task is None:
                return
            # Before the look at `stop`: who drains after one sees this call, or it is not made.
            self.flow.calling.add(task.item.id)
            if self.flow.stop.is_set():
                self.flow.calling.discard(task.item.id)
                return
            try:
                answer, attempt_id = self.calls.ask(task.message, self.opener(task))
            except Stopped:
                self.flow.calling.discard(task.item.id)
            except BackfillError as error:
                self.flow.results.put(Troubled(task.item, error, task.message.key, was_asked=True))
            except BaseException:  # a bug: nobody will commit this, so nobody is to wait for it
                self.flow.calling.discard(task.item.id)
                raise
            else:
                self.flow.results.put(Answered(task.item, task.message, answer, attempt_id))

    def opener(self, task: Task) -> Open:
        """Has the writer note the calls about a mail. They raise `ClaimLost` and `AskedElsewhere` as well."""
        question = Question.about(self.flow.job, task.message.key)

        def open_attempt(reservation: Reservation | None) -> int:
            return self.flow.open_attempt(Call(task.item, reservation, question))

        return open_attempt
