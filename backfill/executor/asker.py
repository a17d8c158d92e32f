"""The asking stage: each of a run's asking threads takes mails and asks the classifier about them."""

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
    """Takes tasks, and passes answers and errors on to the writer."""

    flow: Flow
    calls: MeteredCalls

    def ask_all(self) -> None:
        """Ask until the tasks end, or until this thread is not needed any more.

        A thread may take its next task before its answer is saved. But the writer opens the next call only together
        with that answer or later. So a crash loses at most one paid answer for each thread.
        """
        while self.flow.threads.goes_on():
            task = self.flow.tasks.get()
            if task is None:
                return
            # Add it before `stop` is read: then after a stop, `_drain` sees this call, or the call is not made.
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
            except BaseException:  # a bug: this will never be committed, so `_drain` must not wait for it
                self.flow.calling.discard(task.item.id)
                raise
            else:
                self.flow.results.put(Answered(task.item, task.message, answer, attempt_id))

    def opener(self, task: Task) -> Open:
        """A function that lets the writer open an attempt about a mail. It may raise `ClaimLost`, `AskedElsewhere`."""
        question = Question.about(self.flow.job, task.message.key)

        def open_attempt(reservation: Reservation | None) -> int:
            return self.flow.open_attempt(Call(task.item, reservation, question))

        return open_attempt
