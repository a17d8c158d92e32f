"""The wheel: everything that backfill needs comes along, inside its package, and is found from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from backfill import resources

ROOT = Path(__file__).parents[2]
TEMPLATES = {"config.yaml", "env.example", "note.md.j2", "prompt.md"}
RUBRICS = {"family-archive.yaml", "inbox-triage.yaml", "receipts-and-tax.yaml"}


def run(*argv: str | Path, cwd: Path) -> str:
    """Run a program with nothing of ours in its environment; its output, or a failed test with its errors."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BACKFILL_"))}
    done = subprocess.run([str(part) for part in argv], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout without an index."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel installed, and sees our dependencies but not our checkout."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", wheel, cwd=folder)
    # A path in a .pth file is searched last, and the .pth files in there (our own checkout's) are not read.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_puts_nothing_beside_its_package(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()

    assert {name.split("/")[0] for name in names} == {"backfill", f"{wheel.name.split('-py3')[0]}.dist-info"}
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_the_wheel_has_every_file_of_the_package_the_migrations_and_the_templates(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())

    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "backfill").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    migrations = {
        f"backfill/_resources/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / "migrations").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    templates = {f"backfill/_resources/config/{name}" for name in TEMPLATES}
    templates |= {f"backfill/_resources/config/rubrics/{name}" for name in RUBRICS}
    assert {name for name in names if name.startswith("backfill/")} == package | migrations | templates
    assert "backfill/py.typed" in names


def test_an_installed_backfill_finds_its_resources_from_any_folder(python: Path, tmp_path: Path) -> None:
    script = """
import backfill
from backfill import resources
print(backfill.__file__)
print(*sorted(path.name for path in resources.folder("config").iterdir() if path.is_file()))
print(*sorted(path.name for path in (resources.folder("config") / "rubrics").iterdir()))
print(resources.folder("migrations").is_dir())
print(resources.text("config/prompt.md"), end="")
"""

    package, templates, rubrics, has_migrations, *prompt = run(python, "-c", script, cwd=tmp_path).split("\n")

    assert Path(package).is_relative_to(python.parents[1])
    assert set(templates.split()) == TEMPLATES
    assert set(rubrics.split()) == RUBRICS
    assert has_migrations == "True"
    assert "\n".join(prompt) == (ROOT / "config" / "prompt.md").read_text(encoding="utf-8").strip()


def test_an_installed_backfill_has_its_command(python: Path, tmp_path: Path) -> None:
    by_name = run(python.parent / "backfill", "--help", cwd=tmp_path)
    as_module = run(python, "-m", "backfill", "--help", cwd=tmp_path)

    assert by_name == as_module
    assert "run" in by_name


def test_a_checkout_finds_its_resources_beside_the_package() -> None:
    assert resources.folder("migrations") == ROOT / "migrations"
    assert resources.text("config/prompt.md") == (ROOT / "config" / "prompt.md").read_text(encoding="utf-8")
    assert {path.name for path in resources.folder("config").iterdir()} >= TEMPLATES
