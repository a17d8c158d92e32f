"""The reading stage: claims items that are due, fetches their mails, and passes them on to be judged.

It finds out when nothing is left, when the cap is reached, and when the rest is due later. One thread, one mail
connection. If the mail server is away, it waits, visibly; an outage never fails a mail.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from loguru import logger

from backfill.clock import Clock
from backfill.errors import (
    FolderTroubled,
    FolderUnusable,
    MailThrottled,
    ServerUnavailable,
    Unexpected,
    around_one_mail,
)
from backfill.executor.flow import Ended, Flow
from backfill.executor.results import Judgment, Task, Troubled
from backfill.ledger import Ledger
from backfill.ledger.receipts import Kept
from backfill.ledger.results import Needs
from backfill.ledger.rows import Item
from backfill.ledger.verdicts import Reused
from backfill.lifecycle import ItemStatus, RunOutcome
from backfill.message import Message
from backfill.ports import MailSource, Unfetched
from backfill.throttle.calls import Throttler
from backfill.throttle.mail import MailAllowance

# A run waits at most an hour for items that are due later. For a longer wait it ends, and names the time.
LONGEST_WAIT_S = 3600.0
# If a mail server is away for longer than ten minutes without a break, the run ends with "unreachable".
SERVER_PATIENCE_S = 600.0
# If the trouble is one folder's, the run goes on with the other folders after two minutes.
FOLDER_PATIENCE_S = 120.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
# If a mail server asks for patience for a day and delivers no mail, the run ends and says so.
ASKED_PATIENCE_S = 86_400.0


@dataclass(slots=True)
class Reader:
    """One run's reading stage."""

    flow: Flow
    ledger: Ledger
    source: MailSource
    needs: Needs
    throttler: Throttler | None
    clock: Clock
    allowance: MailAllowance | None = None

    def read_all(self) -> None:
        """Read until nothing is left, the cap is reached, or a stop is asked for. `Flow.ended` says why it ends."""
        flow = self.flow
        while flow.ended is None and not flow.stop.is_set():
            if not self._passes_gates() or self._is_blocked() or self._is_capped():
                continue
            room = flow.window.room(self._wanted(), flow.stop)
            items = self._claim(room) if room else []
            if items:
                self._take(items)
            elif not flow.stop.is_set():
                self._wait_for_work()

    def _claim(self, limit: int, *, alone: bool = False, only: Collection[int] = ()) -> list[Item]:
        return self.ledger.items.claim(
            self.flow.run,
            limit,
            alone=alone,
            only_retried=self.flow.only_retried,
            only=only,
            left_out=self.flow.left_out,
        )

    def _wanted(self) -> int:
        return self.flow.cap.room(self.flow.window.size // 2)

    def _is_capped(self) -> bool:
        """Has the run taken as many mails as it may? Then it tries the postponed ones of them again, and then ends."""
        if self._wanted() > 0:
            return False
        due = self.flow.cap.next_due()
        if due is not None and due > self.clock.now():
            self._wait((due - self.clock.now()).total_seconds(), f"a mail is tried again at {due:%H:%M:%S} UTC")
        elif due is not None:
            numbers = self.flow.cap.take_due(self.clock.now())
            items = self._claim(len(numbers), only=numbers)
            self._take(items)
            for number in {*numbers} - {item.id for item in items}:
                self._take_alone(only=[number])
        elif self.flow.window.inside:
            self.flow.window.wait_for_change(0.2)
        else:
            self.flow.ended = Ended(RunOutcome.CAPPED)
        return True

    def _take(self, items: list[Item]) -> None:
        self.flow.cap.takes({item.id for item in items})
        self.flow.window.enter(len(items))
        for _, of_mailbox in groupby(items, key=lambda item: item.mailbox_id):
            self._hand_on(list(of_mailbox))

    def _hand_on(self, items: list[Item]) -> None:
        judged = [item for item in items if item.status is ItemStatus.CLASSIFIED]
        receipts = self.ledger.receipts.kept(judged) if judged else {}
        superseded = self.ledger.current.superseded(judged) if judged else ()
        to_fetch = []
        for item in items:
            if item.verdict is None or (
                item.id not in superseded and self.needs.message_of(item.verdict, receipts.get(item.id, {}))
            ):
                to_fetch.append(item)
            else:
                self._pass_on(item, None, receipts.get(item.id, {}))
        tasks = []
        for item, message in self._fetch(to_fetch):
            if item.verdict is None:
                tasks.append(Task(item, message))
            else:
                self._pass_on(item, message, receipts.get(item.id, {}))
        self._ask_or_reuse(tasks)

    def _pass_on(self, item: Item, message: Message | None, receipts: Mapping[str, Kept]) -> None:
        if item.verdict is not None:
            judgment = Judgment(item, message, item.verdict, item.flags_before, receipts)
            self.flow.hand(self.flow.judgments, judgment)
            self.flow.window.leave()

    def _fetch(self, items: list[Item]) -> Iterable[tuple[Item, Message]]:
        """Fetch mails of one mailbox. Returns those that came.

        The others go to the writer with their error, are given back, or stay claimed if a stop came first.
        """
        if not items:
            return []
        waiting = {item.ref.uid: item for item in items}
        messages: list[tuple[Item, Message]] = []
        waited, pause, asked_s = 0.0, FIRST_PAUSE_S, 0.0
        most = len(waiting)
        while waiting and not self.flow.stop.is_set():
            together = sorted(waiting)[:most]
            self.ledger.items.begin(self.flow.run, [waiting[uid] for uid in together])
            try:
                with around_one_mail():
                    for fetched in self.source.fetch(items[0].ref.mailbox, together):
                        item = waiting.pop(fetched.ref.uid)
                        if isinstance(fetched, Unfetched):
                            self.flow.results.put(Troubled(item, fetched.error))
                        else:
                            messages.append((item, fetched))
                        waited, pause, asked_s = 0.0, FIRST_PAUSE_S, 0.0
                    if unanswered := waiting.keys() & together:
                        raise LookupError(f"{len(unanswered)} mails were asked for and not answered")
                most = 2 * most
            except Unexpected as error:  # halve the batch until the mail at fault is alone
                left = waiting.keys() & together
                most = max(1, len(left) // 2)
                if left and len(together) == 1:
                    self.flow.results.put(Troubled(waiting.pop(together[0]), error))
            except FolderUnusable as error:
                self.flow.leave_out(items[0].mailbox_id, error)
                self._give_back(list(waiting.values()))
                break
            except MailThrottled as error:  # the ledger already holds the block, for every run that reads this account
                self.ledger.items.rest(self.flow.run, list(waiting.values()))  # no loss if the run dies during the wait
                asked_s += error.wait_s or pause
                reason = str(error) if self.allowance is None else self.allowance.reason()
                self._wait(asked_s if asked_s > ASKED_PATIENCE_S else error.wait_s or pause, reason)
                if self.flow.ended is not None:
                    self._give_back(list(waiting.values()))
                    break
            except ServerUnavailable as error:
                pause = error.wait_s or pause
                is_long = waited + pause > FOLDER_PATIENCE_S
                if isinstance(error, FolderTroubled) and is_long and self._has_other_folders():
                    self.flow.leave_out(items[0].mailbox_id, error)
                    self._give_back(list(waiting.values()))
                    break
                if waited + pause > max(SERVER_PATIENCE_S, error.wait_s or 0) or pause > LONGEST_WAIT_S:
                    raise
                self.ledger.items.rest(self.flow.run, list(waiting.values()))
                logger.warning("mail server unavailable, trying again in {:.0f} s: {}", pause, error)
                self.flow.observer.waiting(f"mail server unavailable, trying again in {pause:.0f} s")
                self.clock.sleep(pause, self.flow.stop)
                self.flow.observer.waiting(None)
                waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE_S)
        if self.throttler is not None:  # the beginning of a metered call is recorded when its attempt is opened
            self.ledger.items.rest(self.flow.run, [item for item, _ in messages])
        return messages

    def _has_other_folders(self) -> bool:
        return len(self.flow.left_out) + 1 < len(self.flow.job.selection.folders)

    def _give_back(self, items: list[Item]) -> None:
        self.ledger.items.release(self.flow.run, items)
        for item in items:
            self.flow.cap.gives_back(item.id)
            self.flow.window.leave()

    def _ask_or_reuse(self, tasks: list[Task]) -> None:
        """Ask each question once: reuse a known verdict, and let copies of a question wait for its answer.

        This adds a key to `asking` before it reads the ledger. The writer removes the key after the verdict is
        committed. So a question that is neither in `asking` nor in the ledger was not asked.
        """
        leading: list[Task] = []
        keys = {task.item.id: task.message.key for task in tasks}
        with self.flow.asking_lock:
            for task in tasks:
                waiting = self.flow.asking.get(keys[task.item.id])
                if waiting is None:
                    self.flow.asking[keys[task.item.id]] = []
                    leading.append(task)
                else:
                    waiting.append(task)
        job = self.flow.job
        known = self.ledger.verdicts.known(job.fingerprint, job.generation, (keys[task.item.id] for task in leading))
        for task in leading:
            verdict = known.get(keys[task.item.id])
            if verdict is not None:
                self.flow.results.put(Reused(task.item, task.message, verdict))
            else:
                self.flow.hand(self.flow.tasks, task)

    def _wait_for_work(self) -> None:
        """Nothing could be claimed: wait until an item is due, or find out that this run has nothing left to do."""
        flow, open_items, scope = self.flow, self.ledger.open_items, self._scope()
        if flow.window.inside:
            flow.window.wait_for_change(0.2)
        elif self._count_open() == 0:
            flow.ended = self._finished()
        elif self._take_alone():
            pass
        elif due := open_items.next_due(flow.job.id, retried_by=scope, left_out=flow.left_out):
            seconds = (due - self.clock.now()).total_seconds()
            self._wait(seconds, f"the next mail is due at {due:%Y-%m-%d %H:%M:%S} UTC")
        else:  # the rest is on its way to the effects, or other runs hold it
            self.clock.sleep(0.2, flow.stop)

    def _take_alone(self, only: Collection[int] = ()) -> bool:
        """Process one mail with two losses, after all other mails of this run. False: no such mail is due."""
        alone = self._claim(1, alone=True, only=only)
        if alone:
            self._await_all()
            self._take(alone)
            self._await_all()
        return bool(alone)

    def _await_all(self) -> None:
        while self.flow.window.inside and not self.flow.stop.is_set():
            self.flow.window.wait_for_change(0.2)

    def _passes_gates(self) -> bool:
        """Wait until the gates are open, and say whether they are. If nothing is left to claim, do not wait: end."""
        flow = self.flow
        if flow.gates.are_open():
            return True
        if flow.window.inside or self.ledger.open_items.count_held(flow.run.id):
            self.clock.sleep(1.0, flow.stop)
            return False
        if self._count_open() == 0:
            flow.ended = self._finished()
        elif self._wanted() == 0 and flow.cap.next_due() is None:
            flow.ended = Ended(RunOutcome.CAPPED)
        else:
            return flow.gates.pass_through()
        return False

    def _count_open(self) -> int:
        scope = self._scope()
        return self.ledger.open_items.count(self.flow.job.id, retried_by=scope, left_out=self.flow.left_out)

    def _finished(self) -> Ended:
        """How the run ends when it can work on nothing more."""
        left = self.ledger.open_items.count(self.flow.job.id, retried_by=self._scope()) if self.flow.left_out else 0
        if not left:
            return Ended(RunOutcome.FINISHED)
        errors = list(self.flow.left_out.values())
        if len(errors) >= len(self.flow.job.selection.folders):  # no folder could be worked on
            self.flow.fail(errors[0])
        mails = "1 mail waits" if left == 1 else f"{left:,} mails wait"
        return Ended(RunOutcome.INTERRUPTED, f"{mails} for a folder: {' '.join(map(str, errors))}")

    def _scope(self) -> int | None:
        """The run whose retried items are the only ones that count; None: every item counts."""
        return self.flow.run.id if self.flow.only_retried else None

    def _is_blocked(self) -> bool:
        """Is the API or the mail account blocked? If so, waits for the end of the block, or ends the run."""
        for gate in (self.throttler, self.allowance):
            seconds = 0.0 if gate is None else gate.blocked_for()
            if gate is not None and seconds > 0:
                self._wait(seconds, gate.reason())
                return True
        return False

    def _wait(self, seconds: float, reason: str) -> None:
        """Wait visibly for at most an hour. If the wait is longer, end the run with the reason."""
        if seconds > LONGEST_WAIT_S:
            self.flow.ended = Ended(RunOutcome.INTERRUPTED, reason)
            return
        if seconds > 1:
            logger.info("waiting {:.0f} s: {}", seconds, reason)
            self.flow.observer.waiting(reason)
        self.clock.sleep(seconds, self.flow.stop)
        self.flow.observer.waiting(None)
