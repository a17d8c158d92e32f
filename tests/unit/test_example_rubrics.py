"""The examples in config/rubrics/: what `backfill init --rubric NAME` writes."""

from __future__ import annotations

from typing import get_args

import pytest

from backfill import resources
from backfill.cli.setup import RubricName
from backfill.errors import ConfigError
from backfill.operations.scaffold import scaffold
from backfill.settings import as_written, load

NAMES = get_args(RubricName)


def test_init_knows_every_example_and_no_other():
    assert sorted(NAMES) == sorted(path.stem for path in (resources.folder("config") / "rubrics").iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_the_rubric_of_the_configuration_that_init_writes(tmp_path, name):
    scaffold(tmp_path, name)

    written = as_written.read((tmp_path / "config/config.yaml").read_text())
    assert written["rubric"] == as_written.read(resources.text(f"config/rubrics/{name}.yaml"))["rubric"]
    assert [key for key in written["processing"] if "threshold" in key] == []
    assert [key for key in written["imap"] if key.endswith("_tag")] == ["processed_tag"]


@pytest.mark.parametrize("name", NAMES)
def test_the_last_category_of_an_example_takes_what_fits_nowhere_else(name):
    rubric = as_written.read(resources.text(f"config/rubrics/{name}.yaml"))["rubric"]

    assert list(rubric["categories"])[-1] in {"Other", "Business"}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_taken_as_it_is(tmp_path, name):
    scaffold(tmp_path, name)

    asked = load(tmp_path / "config/config.yaml", environment={}).asked

    assert asked.scores
    assert asked.categories
    assert asked.keywords
    assert all(len(each.means.split()) > 3 for each in (*asked.scores, *asked.categories))


def test_init_without_a_rubric_writes_the_template_as_it_is(tmp_path):
    scaffold(tmp_path)

    assert (tmp_path / "config/config.yaml").read_text() == resources.text("config/config.yaml")


def test_a_rubric_for_a_configuration_that_exists_is_refused_and_changes_nothing(tmp_path):
    scaffold(tmp_path)
    before = (tmp_path / "config/config.yaml").read_text()

    with pytest.raises(ConfigError, match=r"config\.yaml exists .*rubrics/inbox-triage\.yaml"):
        scaffold(tmp_path, "inbox-triage")

    assert (tmp_path / "config/config.yaml").read_text() == before
