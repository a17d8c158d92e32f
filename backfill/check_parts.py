"""Makes what `backfill check` probes, each part when it is asked for, so that each fault is found by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from backfill import wiring
from backfill.operations.check import Facts
from backfill.operations.parts import Audience
from backfill.ports import Effect, MailSource, Service
from backfill.settings import Settings, env_file


class CheckParts(wiring.Parts):
    """The parts of a run, and beside them those that only `check` asks for. `close` closes the former."""

    def __init__(self, settings: Settings, audience: Audience) -> None:
        super().__init__(settings, audience)
        self.facts = _facts(settings)

    def prove_ledger(self) -> str:
        """Open the ledger and write to it; its name."""
        self.ledger.secrets.get(wiring.PROMPT_SECRET)  # writes on first use
        return str(self.ledger.database)

    def probed_outputs(self, *, is_counted: bool) -> Iterator[tuple[str, Callable[[], Effect]]]:
        yield from wiring.outputs(self._settings, self.allowance if is_counted else None, self._audience.clock)

    def probed_source(self, *, is_counted: bool) -> MailSource:
        return wiring.mail_source(self._settings, self.allowance if is_counted else None)

    def service(self) -> Service:
        return wiring.service(self._settings, self._audience.clock)


def _facts(settings: Settings) -> Facts:
    return Facts(
        config_path=settings.config_path,
        env_path=settings.env_path,
        doubts=() if settings.env_path is None else tuple(env_file.doubts(settings.env_path)),
        prompt_file=settings.paths.prompt_file,
        response_format=settings.llm.response_format,
        has_api=settings.classifier != "heuristic",
    )
