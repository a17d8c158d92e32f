"""The options that commands share, and the `Selection` and `GivenLimits` that are made of them.

Dates and numbers are checked here, before anything is opened. An error is one line that says what would be right.
"""

from dataclasses import astuple, dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from backfill.errors import ConfigError
from backfill.files import expanded
from backfill.hours import Hours
from backfill.limits import OPTIONS, Concurrency, GivenLimits, refusal
from backfill.selection import DateField, Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token

    from backfill.folders import FolderPatterns

SELECTION = Group("Selection", sort_key=1)
LIMITS = Group("Limits", sort_key=2)
GENERAL = Group("Everywhere", sort_key=9)


def whole(_: object, tokens: "Sequence[Token]") -> int:
    """A whole number. Raises `ValueError` for 2.5, which cyclopts itself would round to 2."""
    return int(tokens[0].value)


def path_as_typed(_: object, tokens: "Sequence[Token]") -> Path:
    """A path. A leading `~` or `~user` is a home folder, also where the shell leaves it as it is, as in quotes."""
    return expanded(Path(tokens[0].value))


def whole_or_auto(_: object, tokens: "Sequence[Token]") -> Concurrency:
    """As `whole`, or the word auto."""
    return "auto" if tokens[0].value == "auto" else int(tokens[0].value)


@Parameter(name="*", group=SELECTION)
@dataclass(frozen=True)
class SelectionOptions:
    """Which mail. Without any of these options: the unfinished job, or else the INBOX."""

    folder: Annotated[
        list[str] | None,
        Parameter(help="A folder, or a pattern with * and ?; may be given several times. [default: INBOX]"),
    ] = None
    all_folders: Annotated[
        bool | None, Parameter(help="Every folder but junk, trash and drafts; on Gmail All Mail, once.")
    ] = None
    exclude: Annotated[
        list[str] | None,
        Parameter(help="Leave these folders out of patterns or --all-folders; may be given several times."),
    ] = None
    start_date: Annotated[str | None, Parameter(help="First day, YYYY-MM-DD, included.")] = None
    end_date: Annotated[str | None, Parameter(help="Last day, YYYY-MM-DD, included.")] = None
    date_field: Annotated[
        Literal["sent", "received"] | None,
        Parameter(help="Which date of a mail counts; without a sent date, the received one does. [default: sent]"),
    ] = None
    search: Annotated[
        str | None, Parameter(help="More IMAP criteria, e.g. 'FROM bob LARGER 1000'. [default: imap.query]")
    ] = None
    force_reprocess: Annotated[
        bool | None,
        Parameter(
            help="Process mail again that bears the processed keyword already. [default: yes]",
            negative="--no-force-reprocess",
        ),
    ] = None

    @property
    def patterns(self) -> "FolderPatterns":
        """The folders as the operator wrote them, patterns unresolved."""
        from backfill.folders import FolderPatterns  # start-up: brings the ports, which only a command needs

        names = tuple(self.folder or (() if self.all_folders else ("INBOX",)))
        return FolderPatterns(names, bool(self.all_folders), tuple(self.exclude or ()))

    def selection(self, default_search: str | None) -> Selection | None:
        """The selection, or None when no option was given. Raises `ConfigError`."""
        if all(value is None for value in astuple(self)):
            return None
        if self.all_folders and self.folder:
            raise ConfigError(
                "--all-folders takes every folder; leave out --folder, or leave folders out by --exclude."
            )
        if self.exclude and not self.all_folders and not any(set("*?") & set(name) for name in self.folder or ()):
            raise ConfigError("--exclude leaves folders out of --all-folders or of a pattern such as --folder 'Work*'.")
        return Selection(
            folders=tuple(dict.fromkeys(self.folder or ("INBOX",))),
            start_date=_day("--start-date", self.start_date),
            end_date=_day("--end-date", self.end_date),
            date_field=DateField(self.date_field or DateField.SENT),
            search=self.search if self.search is not None else default_search,
            force_reprocess=self.force_reprocess is not False,
        )


@Parameter(name="*", group=SELECTION)
@dataclass(frozen=True)
class JobOptions:
    """Which job, where the selection alone does not say."""

    dry_run: Annotated[bool, Parameter(help="Classify and report; write no note, no keyword, no analytics.")] = False
    job: Annotated[int | None, Parameter(converter=whole, help="Go on with this job; `backfill jobs` lists them.")] = (
        None
    )
    new_job: Annotated[
        bool,
        Parameter(
            help="Begin a new job although another one has the same mail: an unfinished one with another classifier, "
            "or one that was cancelled or undone."
        ),
    ] = False
    as_planned: Annotated[bool, Parameter(help="Go on with the model and prompt that the job was planned with.")] = (
        False
    )
    ask_again: Annotated[bool, Parameter(help="Pay again for verdicts that are known already.")] = False


@Parameter(name="*", group=LIMITS)
@dataclass(frozen=True)
class LimitOptions:
    """What this run may do."""

    max_emails: Annotated[
        int | None, Parameter(converter=whole, help="Take at most this number of mails that are not done yet.")
    ] = None
    calls_per_minute: Annotated[
        float | None, Parameter(help="Pace of the calls to the API; replaces a pace that `backfill pace` has set.")
    ] = None
    tokens_per_minute: Annotated[float | None, Parameter(help="Pace of the tokens that the calls take.")] = None
    concurrency: Annotated[
        int | Literal["auto"] | None,
        Parameter(converter=whole_or_auto, help="Calls under way at the same time; auto: as many as the pace needs."),
    ] = None
    max_cost: Annotated[
        Decimal | None, Parameter(help="Spend at most this number of US dollars on this job, over all its runs.")
    ] = None
    max_cost_per_day: Annotated[
        Decimal | None, Parameter(help="Spend at most this number of US dollars a day (UTC), over all jobs.")
    ] = None
    max_per_day: Annotated[
        int | None,
        Parameter(converter=whole, help="Make at most this number of calls to the API a day (UTC), then wait."),
    ] = None
    between: Annotated[
        str | None, Parameter(help="Call only between these times of the day, e.g. 22:00-07:00; wait outside of them.")
    ] = None

    def given(self) -> GivenLimits:
        """The limits that were given. Raises `ConfigError`, which names the option."""
        given: dict[str, Any] = {}
        for name, option in OPTIONS.items():
            given[name] = getattr(self, option.removeprefix("--").replace("-", "_"))
            if reason := refusal(name, given[name]):
                raise ConfigError(f"{option} {reason}.")
        return GivenLimits(**given | {"between": self._hours()})

    def _hours(self) -> Hours | None:
        try:
            return None if self.between is None else Hours.parse(self.between)
        except ValueError as error:
            raise ConfigError(f"--between {error}, not {self.between!r:.40}.") from None


@Parameter(name="*", group=GENERAL)
@dataclass(frozen=True)
class GeneralOptions:
    """Where the configuration is, and how much is shown."""

    config: Annotated[
        Path | None,
        Parameter(help="The configuration file. [default: config/config.yaml]", env_var="BACKFILL_CONFIG"),
    ] = None
    quiet: Annotated[bool, Parameter(help="Say nothing but the result and errors.")] = False
    verbose: Annotated[bool, Parameter(help="Say more, here and in the log.")] = False

    @property
    def config_path(self) -> Path:
        return self.config or Path("config/config.yaml")


Json = Annotated[bool, Parameter(name="--json", help="For machines: JSON on standard output.", group=GENERAL)]
Yes = Annotated[bool, Parameter(help="Go ahead without asking.", group=LIMITS)]
JobNumber = Annotated[
    int | None, Parameter(converter=whole, help="The job's number. [default: the job of the latest run]")
]
EVERYWHERE = GeneralOptions()


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} takes a day as YYYY-MM-DD, e.g. 2024-12-31, not {text!r:.40}.") from None
