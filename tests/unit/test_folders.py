"""Which folders a selection means."""

from __future__ import annotations

import pytest

from backfill.errors import ConfigError
from backfill.folders import FolderPatterns, left_out, resolve
from backfill.ports import Folder


def folders(*names: str, **special: str) -> list[Folder]:
    """Folders by name; `All="\\All"` gives one its special use."""
    return [Folder(name, frozenset(filter(None, [special.get(name, "")]))) for name in (*names, *special)]


def resolved(there: list[Folder], *names: str, all_folders: bool = False, exclude: tuple[str, ...] = ()) -> list[str]:
    return list(resolve(FolderPatterns(names, all_folders, exclude), there))


GMAIL = [
    Folder("INBOX"),
    Folder("[Gmail]", is_selectable=False),
    Folder("[Gmail]/Alle Nachrichten", frozenset({"\\All"})),
    Folder("[Gmail]/Entwürfe", frozenset({"\\Drafts"})),
    Folder("[Gmail]/Papierkorb", frozenset({"\\Trash"})),
    Folder("[Gmail]/Spam", frozenset({"\\Junk"})),
    Folder("Work"),
]


def test_patterns_name_folders_in_the_servers_order_each_once():
    there = folders("INBOX", "Work", "Work/2023", "Work/2024", "Home")

    assert resolved(there, "Home", "Work*", "Work/202?") == ["Home", "Work", "Work/2023", "Work/2024"]


def test_an_existing_name_is_taken_literally_before_it_is_a_pattern():
    there = folders("INBOX", "What?", "Whats", "*", "[Gmail]", "G")

    assert resolved(there, "What?") == ["What?"]
    assert resolved(there, "*") == ["*"]
    assert resolved(there, "[Gm*") == ["[Gmail]"]


def test_the_inbox_is_the_inbox_in_any_case():
    assert resolved(folders("Inbox", "Work"), "INBOX") == ["Inbox"]


def test_all_folders_leave_out_junk_trash_and_drafts_unless_they_are_named():
    there = folders("INBOX", "Work", Junk="\\Junk", Trash="\\Trash", Drafts="\\Drafts")

    assert resolved(there, all_folders=True) == ["INBOX", "Work"]
    assert resolved(there, "Junk", all_folders=True) == ["Junk", "INBOX", "Work"]


@pytest.mark.parametrize(
    "name",
    ["Spam", "INBOX.Trash", "Gelöschte Elemente", "Brouillons", "Корзина", "下書き", "Deleted Items", "Bulk Mail"],
)
def test_where_the_server_names_no_special_use_well_known_names_do(name):
    assert left_out(folders("INBOX", name, "Spambert")) == {name}


def test_where_the_server_names_the_junk_folder_another_of_that_name_is_mail():
    assert resolved(folders("INBOX", "Spam", Unrat="\\Junk"), all_folders=True) == ["INBOX", "Spam"]


def test_all_mail_stands_for_every_label_once():
    assert resolved(GMAIL, all_folders=True) == ["[Gmail]/Alle Nachrichten"]
    assert resolved(GMAIL, "[Gmail]/Spam", all_folders=True) == ["[Gmail]/Spam", "[Gmail]/Alle Nachrichten"]


def test_an_exclusion_that_all_mail_would_make_void_is_refused():
    with pytest.raises(ConfigError, match="--search"):
        resolved(GMAIL, all_folders=True, exclude=("Work",))

    assert resolved(GMAIL, all_folders=True, exclude=("*/Papierkorb",)) == ["[Gmail]/Alle Nachrichten"]
    assert resolved(GMAIL, all_folders=True, exclude=("Work", "*/Alle*")) == ["INBOX"]


def test_exclusions_thin_out_patterns_and_all_folders_but_nothing_that_is_named():
    there = folders("INBOX", "Lists/a", "Lists/b", "Work")

    assert resolved(there, all_folders=True, exclude=("Lists/*",)) == ["INBOX", "Work"]
    assert resolved(there, "Lists/*", exclude=("*b",)) == ["Lists/a"]
    assert resolved(there, "Lists/b", "Lists/*", exclude=("Lists/*",)) == ["Lists/b"]


@pytest.mark.parametrize("wanted", [{"names": ("Wrok",)}, {"names": ("wrok*",)}, {"exclude": ("Wrok",)}])
def test_what_fits_nothing_is_refused_and_near_names_are_told(wanted):
    with pytest.raises(ConfigError, match="'Work'"):
        resolve(FolderPatterns(**wanted, all_folders=True), folders("INBOX", "Work"))


def test_nothing_left_is_refused():
    with pytest.raises(ConfigError, match="Nothing is left"):
        resolved(folders("INBOX", "Work"), "W*", exclude=("Work",))


def test_folders_that_hold_no_mail_are_never_meant():
    assert resolved([Folder("a", is_selectable=False), Folder("a/b")], "*") == ["a/b"]


def test_plain_names_need_no_question_to_the_server():
    assert FolderPatterns(("INBOX", "Work")).is_literal
    assert not FolderPatterns(("W*",)).is_literal
    assert not FolderPatterns(all_folders=True).is_literal
