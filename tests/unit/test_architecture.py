"""The walls of the house, held by reading every module's imports: who may know whom, and which library lives where.

A rule yields what breaks it. Each rule is tried on the whole code, and on a breach of its own that it must notice.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The house.

VALUES = {"message", "selection", "verdict", "lifecycle", "errors", "clock", "hours", "ports", "limits", "wording"}
VALUES |= {
    "fingerprint",
    "rubric",
    "markdown",
    "summary",
    "hosts",
    "keywords",
    "names",
    "redaction",
    "ledger_url",
    "shortages",
}
ADAPTERS = {"mail", "classifiers", "effects"}
STORY = {"folders", "planner", "throttle", "metered", "estimates", "executor", "analytics", "exports", "report"}
STORY |= {"evaluation"}
FACES = {"processor", "engines", "settings", "wiring", "check_parts", "progress", "logs", "demo", "cli"}
FACES |= {"cleanup_parts", "__init__", "__main__"}

#: From the ground up: a module imports from its own floor and from those below.
FLOORS = (
    VALUES,
    {"resources", "files", "sites", "outputs", "http"},
    {"ledger"} | ADAPTERS,
    STORY,
    {"operations"},
    FACES,
)
#: Set before the package imports anything.
VERSION = "backfill.__version__"
#: The only ones who know the adapters: the composition root, and the faces that put up and tear down what they show.
KNOW_THE_ADAPTERS = {"wiring", "cleanup_parts", "demo", "cli"}

#: Libraries with one home; whoever else needs one asks the home's own names.
HOMES = {
    "sqlalchemy": {"ledger", "migrations"},
    "alembic": {"ledger", "migrations"},
    "sqlite3": {"ledger"},
    "psycopg": {"ledger"},
    "imapclient": {"mail"},
    "imaplib": {"mail"},
    "requests": {"http"},
    "urllib3": {"http"},
    "backoff": {"metered"},
    "cyclopts": {"cli"},
    "twisted": {"demo"},
    "zope": {"demo"},
    "pydantic": {"settings"},
    "pydantic_settings": {"settings"},
    "yaml": {"settings"},
    "dotenv": {"settings"},
    "publicsuffixlist": {"sites"},
    "pyarrow": {"exports"},
}
#: What opens, sends or starts something: not for values and rules.
IO_MODULES = {"os", "io", "pathlib", "shutil", "tempfile", "socket", "ssl", "subprocess", "urllib", "http", "logging"}

#: What only `clock.py` may ask.
CLOCK = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}

MAX_LINES = 350


@dataclass(frozen=True)
class Import:
    """One imported name, e.g. `backfill.ledger.schema.item` or `time.sleep`."""

    name: str
    line: int
    in_function: bool
    comment: str

    @property
    def library(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Module:
    """A source file, as the rules see it."""

    path: str  # relative to the checkout, with /
    source: str

    @property
    def house(self) -> str:
        """The module or package directly below `backfill/`, or the folder for what lies outside."""
        first, *rest = Path(self.path).with_suffix("").parts
        return rest[0] if first == "backfill" else first

    @property
    def name(self) -> str:
        return ".".join(Path(self.path).with_suffix("").parts).removesuffix(".__init__")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.path)

    @cached_property
    def imports(self) -> list[Import]:
        inside = {
            id(child)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.walk(node)
        }
        lines = self.source.splitlines()
        return [
            Import(name, node.lineno, id(node) in inside, " ".join(lines[node.lineno - 1 : node.end_lineno]))
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in self._names(node)
        ]

    def _names(self, node: ast.Import | ast.ImportFrom) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        package = self.name.split(".") if self.path.endswith("__init__.py") else self.name.split(".")[:-1]
        base = package[: len(package) - node.level + 1] if node.level else []
        return [".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names]

    def houses_imported(self) -> Iterator[tuple[Import, str]]:
        """Our own houses that are imported, other than the module's own."""
        for imported in self.imports:
            if imported.library == "backfill" and imported.name != VERSION:
                second = [*imported.name.split("."), "__init__"][1]
                house = second if second in set().union(*FLOORS) else "__init__"
                if house != self.house:
                    yield imported, house


Rule = Callable[[Module], Iterator[str]]

#: Calls whose text says how another text is built.
TAKES_APART = {"compile", "match", "fullmatch", "search", "sub", "split", "partition", "rpartition"}
TAKES_APART |= {"startswith", "endswith", "removeprefix", "removesuffix"}
#: Nothing but letters and $ and the like, as in IMAP keywords.
KEYWORD_CLASS = re.compile(r"\^?\[[^\]]*(A-Z|a-z|\\w)[^\]]*\$[^\]]*\]([+*]|\{[\d,]+\})\$?")
#: A comment that is a line, or that has one around it.
BANNER = re.compile(r"\s*#[\s#]*([─━═=*_-]{3,}|[─━═]{2,}|#{5,})")
LEDGER_SCHEME = re.compile(r"\W*(sqlite|postgres)[\w|]*\W*:")
READS_PRICES = "backfill/classifiers/service.py"
#: SQLAlchemy's own reader of URLs, which connects.
KNOW_THE_DRIVERS = {"backfill/ledger/databases/connect.py"}


# The walls.


def every_module_has_its_place(module: Module) -> Iterator[str]:
    if module.path.startswith("backfill/") and floor(module.house) is None:
        yield f"{module.house} stands on no floor; give it one in FLOORS"


def imports_point_downwards(module: Module) -> Iterator[str]:
    for imported, house in module.houses_imported():
        mine, theirs = floor(module.house), floor(house)
        if mine is not None and theirs is not None and theirs > mine:
            yield f"line {imported.line}: {imported.name} lies above"


def siblings_never_import_each_other(module: Module) -> Iterator[str]:
    siblings = ADAPTERS | {"ledger"}
    for imported, house in module.houses_imported():
        if module.house in siblings and house in siblings:
            yield f"line {imported.line}: {module.house} and {house} are siblings"


def adapters_are_known_to_the_composition_root_only(module: Module) -> Iterator[str]:
    for imported, house in module.houses_imported():
        if house in ADAPTERS and module.house not in KNOW_THE_ADAPTERS:
            yield f"line {imported.line}: {imported.name}; use its socket in ports"


def values_and_rules_use_the_standard_library_without_input_or_output(module: Module) -> Iterator[str]:
    for imported in module.imports if module.house in VALUES else ():
        if (
            imported.library != "backfill"
            and (imported.library not in sys.stdlib_module_names or imported.library in IO_MODULES)
            and not imported.name.startswith("urllib.parse.")
        ):
            yield f"line {imported.line}: {imported.name}"


def each_library_stays_in_its_home(module: Module) -> Iterator[str]:
    for imported in module.imports:
        if module.house not in HOMES.get(imported.library, {module.house}):
            yield f"line {imported.line}: {imported.name} belongs to {' and '.join(sorted(HOMES[imported.library]))}"


def only_the_clock_asks_the_time(module: Module) -> Iterator[str]:
    if module.house == "clock":
        return
    for imported in module.imports:
        if imported.library == "time" and imported.name.removeprefix("time.") in CLOCK["time"]:
            yield f"line {imported.line}: {imported.name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            owner = getattr(node.value, "attr", getattr(node.value, "id", ""))
            if node.attr in CLOCK.get(owner, ()):
                yield f"line {node.lineno}: {owner}.{node.attr}"


def imports_stand_on_top_or_say_what_they_save(module: Module) -> Iterator[str]:
    for imported in module.imports:
        if imported.in_function and "# start-up:" not in imported.comment:
            yield f"line {imported.line}: {imported.name} inside a function without `# start-up: why`"


def bugs_are_caught_in_the_outermost_frame_and_around_one_mail_only(module: Module) -> Iterator[str]:
    broad = [
        node.lineno
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and catches_everything(node) and not passes_on(node, module)
    ]
    allowed = 1 if module.house in {"cli", "__main__", "errors"} else 0  # errors: around one mail
    yield from (f"line {line}: catches everything" for line in broad[allowed:])


def every_module_says_what_it_is_for(module: Module) -> Iterator[str]:
    if module.source.strip() and not ast.get_docstring(module.tree):
        yield "has no docstring"


def every_package_names_what_is_in_it(module: Module) -> Iterator[str]:
    path = ROOT / module.path
    if path.name != "__init__.py" or not module.path.startswith("backfill/"):
        return
    words = set(re.findall(r"\w+", ast.get_docstring(module.tree) or ""))
    for name in sorted(names_in(path.parent) - words):
        yield f"does not name {name}; say in its docstring what {name} is for"


def no_module_outgrows_a_reader(module: Module) -> Iterator[str]:
    lines = len(module.source.splitlines())
    if lines > MAX_LINES:
        yield f"has {lines} lines; look for the seam"


def no_comment_is_a_banner(module: Module) -> Iterator[str]:
    for number, line in enumerate(module.source.splitlines(), 1):
        if BANNER.match(line):
            yield f"line {number}: a banner; write a sentence, or divide the module"


def loopback_is_decided_in_hosts_only(module: Module) -> Iterator[str]:
    if module.house == "hosts":
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr == "is_loopback" and dotted(node) != "hosts.is_loopback":
            yield f"line {node.lineno}: {dotted(node)}; ask hosts.is_loopback"
        if isinstance(node, ast.FunctionDef) and node.name.strip("_") == "is_loopback":
            yield f"line {node.lineno}: a second {node.name}"


def a_classifier_is_asked_in_metered_only(module: Module) -> Iterator[str]:
    if module.house in {"metered", "classifiers"}:  # a gate asks its model within the one call
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "classify":
            yield f"line {node.lineno}: {dotted(node.func)}; a metered call is made by metered.MeteredCalls"


def thresholds_are_evaluated_in_rubric_only(module: Module) -> Iterator[str]:
    if module.house == "rubric":
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare) and any(
            isinstance(sign, ast.Gt | ast.GtE | ast.Lt | ast.LtE) for sign in node.ops
        ):
            names = [dotted(side) for side in (node.left, *node.comparators)]
            yield from (f"line {node.lineno}: {name}; ask Rubric.labels" for name in names if "threshold" in name)


def prices_are_looked_up_in_wiring_only(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr == "price_of" and module.house != "wiring":
            yield f"line {node.lineno}: {dotted(node)}; ask wiring.price, or the operations' parts"
        if isinstance(node, ast.Call) and dotted(node.func) in {"Price", "ports.Price"} and module.path != READS_PRICES:
            yield f"line {node.lineno}: a price of its own; {READS_PRICES} reads the API's list"


def private_folders_and_files_are_made_in_files_only(module: Module) -> Iterator[str]:
    if module.house == "files":
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_mode = any(keyword.arg in {"mode", "parents"} for keyword in node.keywords)
            if node.func.attr in {"makedirs", "mkstemp", "NamedTemporaryFile"} or (
                node.func.attr == "mkdir" and (is_mode or dotted(node.func) == "os.mkdir")
            ):
                yield f"line {node.lineno}: {dotted(node.func)}"
        if isinstance(node, ast.Constant) and node.value in (0o700, 0o600) and "0o" in source_of(node, module):
            yield f"line {node.lineno}: a mode of its own"


def keywords_are_told_apart_in_keywords_only(module: Module) -> Iterator[str]:
    for node in patterns(module) if module.house != "keywords" else ():
        if KEYWORD_CLASS.fullmatch(str(node.value)):
            yield f"line {node.lineno}: {node.value!r}; ask keywords.is_keyword"


def ledger_urls_are_taken_apart_in_ledger_url_only(module: Module) -> Iterator[str]:
    if module.house == "ledger_url":
        return
    for node in patterns(module):
        if LEDGER_SCHEME.match(str(node.value)):
            yield f"line {node.lineno}: {node.value!r}; ledger_url knows what a ledger's URL is"
    for imported in module.imports:
        if imported.name.endswith(".make_url") and module.path not in KNOW_THE_DRIVERS:
            yield f"line {imported.line}: {imported.name}"


def patterns(module: Module) -> Iterator[ast.Constant]:
    """The texts that something is compared with or taken apart by: what `re` and the string methods are given."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TAKES_APART:
            yield from (
                each for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)
            )


def dotted(node: ast.expr) -> str:
    """`os.replace` as it is written; "" before the dots of what is no name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def names_in(package: Path) -> set[str]:
    """The modules and packages that lie directly in a package, without `__init__` and `__main__`."""
    names = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    return {name for name in names if not name.startswith("__")}


def source_of(node: ast.expr, module: Module) -> str:
    return ast.get_source_segment(module.source, node) or ""


def floor(house: str) -> int | None:
    return next((level for level, houses in enumerate(FLOORS) if house in houses), None)


def catches_everything(handler: ast.ExceptHandler) -> bool:
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else {None}
    return bool(names & {None, "Exception", "BaseException"})


#: What the line of a broad `except` may say, and where such a line may stand.
CARRIED, EDGE = "carried to", re.compile(r"the edge around one (mail|folder|account|submission)")


def passes_on(handler: ast.ExceptHandler, module: Module) -> bool:
    """Raised again here, or, as its line says, in another thread, or it stands around one mail or folder."""
    last = handler.body[-1]
    is_raised = isinstance(last, ast.Raise) and last.exc is None
    line = module.source.splitlines()[handler.lineno - 1]
    return is_raised or CARRIED in line or EDGE.search(line) is not None


# The tests.

MODULES = [
    Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    for folder in ("backfill", "migrations")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

#: Every rule, with breaches that it must notice.
BREACHES: dict[Rule, list[tuple[str, str]]] = {
    every_module_has_its_place: [("backfill/utils.py", "")],
    imports_point_downwards: [
        ("backfill/message.py", "from backfill.ledger.schema import item"),
        ("backfill/mail/source.py", "from backfill import settings"),
        ("backfill/executor.py", "from backfill import BackfillProcessor"),
        ("backfill/ledger/jobs.py", "from ..planner import plan"),
        ("backfill/operations/run.py", "from backfill import wiring"),
        ("backfill/operations/plan.py", "from backfill.settings import Settings"),
    ],
    siblings_never_import_each_other: [
        ("backfill/effects/flags.py", "import backfill.mail.source"),
        ("backfill/classifiers/chat.py", "from backfill.ledger import schema"),
        ("backfill/ledger/items.py", "def f():\n    from backfill import effects  # start-up: quick"),
    ],
    adapters_are_known_to_the_composition_root_only: [
        ("backfill/planner.py", "from backfill.mail import source"),
        ("backfill/processor.py", "from backfill.classifiers.chat import Chat"),
    ],
    values_and_rules_use_the_standard_library_without_input_or_output: [
        ("backfill/ports.py", "import pydantic"),
        ("backfill/verdict.py", "from pathlib import Path"),
    ],
    each_library_stays_in_its_home: [
        ("backfill/planner.py", "from sqlalchemy.exc import OperationalError"),
        ("backfill/classifiers/chat.py", "import backoff"),
        ("backfill/cli.py", "if TYPE_CHECKING:\n    import requests.adapters"),
    ],
    only_the_clock_asks_the_time: [
        ("backfill/throttle/calls.py", "import time\ntime.sleep(1)"),
        ("backfill/throttle/calls.py", "from time import monotonic"),
        ("backfill/planner.py", "import datetime\ndatetime.datetime.now()"),
        ("backfill/planner.py", "from datetime import date\nfield(default_factory=date.today)"),
    ],
    imports_stand_on_top_or_say_what_they_save: [("backfill/cli.py", "def report():\n    import jinja2")],
    bugs_are_caught_in_the_outermost_frame_and_around_one_mail_only: [
        ("backfill/executor.py", "try:\n    x\nexcept Exception:\n    pass"),
        ("backfill/executor.py", "try:\n    x\nexcept (KeyError, BaseException) as error:\n    raise Y from error"),
        ("backfill/cli.py", "try:\n    x\nexcept Exception:\n    pass\ntry:\n    y\nexcept:\n    pass"),
    ],
    loopback_is_decided_in_hosts_only: [
        ("backfill/mail/login.py", "ipaddress.ip_address(server).is_loopback"),
        ("backfill/settings/model.py", "def _is_loopback(host): return host == 'localhost'"),
    ],
    a_classifier_is_asked_in_metered_only: [
        ("backfill/operations/check.py", "answer = parts.classifier.classify(letter)"),
        ("backfill/evaluation/judge.py", "def f(self):\n    return self.classifier.classify(message, None)"),
    ],
    thresholds_are_evaluated_in_rubric_only: [
        ("backfill/evaluation/agreement.py", "is_spam = answer.scores['spam'] >= thresholds.spam"),
        ("backfill/report/html.py", "lit = score.threshold <= value"),
    ],
    prices_are_looked_up_in_wiring_only: [
        ("backfill/operations/plan.py", "price = service.price_of(model)"),
        ("backfill/estimates/forecast.py", "free = Price(Decimal(0), Decimal(0))"),
        ("backfill/classifiers/chat.py", "listed = ports.Price(a, b)"),
    ],
    private_folders_and_files_are_made_in_files_only: [
        ("backfill/logs.py", "log_file.parent.mkdir(mode=0o777, parents=True)"),
        ("backfill/analytics/file.py", "os.makedirs(folder)"),
        ("backfill/report/render.py", "tempfile.NamedTemporaryFile(dir=folder)"),
        ("backfill/effects/notes.py", "os.open(path, flags, 0o600)"),
    ],
    keywords_are_told_apart_in_keywords_only: [
        ("backfill/mail/marker.py", "WORD = re.compile(r'[A-Za-z0-9$_-]+')"),
        ("backfill/settings/model.py", "re.fullmatch(r'[\\w.$-]{1,50}', tag)"),
    ],
    ledger_urls_are_taken_apart_in_ledger_url_only: [
        ("backfill/wiring.py", "url.removeprefix('sqlite:///')"),
        ("backfill/settings/model.py", "re.compile(r'(sqlite|postgresql)://.*')"),
        ("backfill/cli/ledger.py", "if url.startswith(('postgresql:', 'x')): pass"),
        ("backfill/ledger/databases/migrate.py", "from sqlalchemy.engine import make_url"),
    ],
    every_module_says_what_it_is_for: [("backfill/cli.py", "import sys")],
    every_package_names_what_is_in_it: [("backfill/effects/__init__.py", '"""The outputs: flags."""')],
    no_comment_is_a_banner: [
        ("backfill/cli/run.py", "# \N{BOX DRAWINGS LIGHT HORIZONTAL}\N{BOX DRAWINGS LIGHT HORIZONTAL} options"),
        ("backfill/cli/run.py", "    # ---- options ----"),
        ("backfill/cli/run.py", "##########\n# options\n"),
    ],
    no_module_outgrows_a_reader: [("backfill/cli.py", "\n" * (MAX_LINES + 1))],
}


def sentence(rule: Rule) -> str:
    return rule.__name__.replace("_", " ")


@pytest.mark.parametrize("rule", BREACHES, ids=sentence)
def test_wall_stands(rule: Rule) -> None:
    assert [f"{module.path}: {breach}" for module in MODULES for breach in rule(module)] == []


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [(rule, *breach) for rule, breaches in BREACHES.items() for breach in breaches],
    ids=lambda value: sentence(value) if callable(value) else None,
)
def test_wall_notices_a_breach(rule: Rule, path: str, source: str) -> None:
    assert list(rule(Module(path, source)))


def test_no_comment_of_a_test_is_a_banner() -> None:
    tests = [
        Module(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in (ROOT / "tests").rglob("*.py")
    ]

    assert [f"{module.path}: {breach}" for module in tests for breach in no_comment_is_a_banner(module)] == []


def test_imports_never_run_in_a_circle() -> None:
    known = {module.name for module in MODULES}
    graph = {
        module.name: {
            target
            for imported in module.imports
            if imported.name != VERSION
            and (target := nearest(imported.name, known)) is not None
            and target != module.name
        }
        for module in MODULES
    }

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports run in a circle: {' -> '.join(error.args[1])}")


def nearest(name: str, known: set[str]) -> str | None:
    """The module that `name` is, or is in; None for what is not ours."""
    while name not in known:
        name, dot, _ = name.rpartition(".")
        if not dot:
            return None
    return name


def test_the_readme_names_every_house_where_it_says_how_to_read_the_code() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    chapter = readme.partition("## Reading the code")[2].partition("\n## ")[0]

    assert names_in(ROOT / "backfill") - set(re.findall(r"`(\w+)`", chapter)) == set()


def test_no_two_floors_share_a_house() -> None:
    houses = [house for houses in FLOORS for house in houses]

    assert len(houses) == len(set(houses))
    assert all(re.fullmatch(r"[a-z_]+", house) for house in houses)


def test_each_revision_of_the_schema_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in sorted((ROOT / "migrations/versions").glob("[0-9]*.py"))]

    assert numbers == [f"{number:04d}" for number in range(1, len(numbers) + 1)]
