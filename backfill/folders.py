"""Which folders are meant: resolves names, patterns and `--all-folders` against the folders of the server.

The result is literal names, so a job that was planned by patterns means the same folders tomorrow. A name, pattern or
exclusion that fits nothing raises `ConfigError`: with a misspelt exclusion, mail would be paid for that was not wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from backfill.errors import ConfigError
from backfill.ports import Folder

ALL, JUNK, TRASH, DRAFTS = "\\All", "\\Junk", "\\Trash", "\\Drafts"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split("|"))


#: What `--all-folders` leaves out, by special use (RFC 6154). These names count where the server names no special use.
LEFT_OUT: dict[str, frozenset[str]] = {
    JUNK: _words(
        "junk|junk e-mail|junk email|junk mail|junk-e-mail|spam|bulk|bulk mail|spamverdacht|unerwünscht|werbung"
        "|courrier indésirable|indésirables|pourriel|correo no deseado|correo basura|posta indesiderata"
        "|ongewenste e-mail|ongewenst|lixo eletrônico|lixo electrónico|skräppost|søppelpost|uønsket e-mail"
        "|uønsket post|roskaposti|wiadomości-śmieci|nevyžádaná pošta|нежелательная почта|спам|迷惑メール|垃圾邮件"
        "|垃圾郵件|스팸"
    ),
    TRASH: _words(
        "trash|bin|deleted|deleted items|deleted messages|deleted mail|papierkorb|gelöscht|gelöschte elemente"
        "|gelöschte objekte|corbeille|éléments supprimés|messages supprimés|papelera|elementos eliminados|cestino"
        "|posta eliminata|prullenbak|verwijderde items|lixeira|itens excluídos|itens eliminados|papperskorg"
        "|borttagna objekt|papirkurv|slettet post|slettede elementer|roskakori|kosz|elementy usunięte|koš"
        "|odstraněná pošta|корзина|удаленные|удалённые|ゴミ箱|已删除邮件|已删除|垃圾桶|휴지통"
    ),
    DRAFTS: _words(
        "drafts|draft|entwürfe|entwurf|brouillons|borradores|bozze|concepten|rascunhos|utkast|kladder|kladde"
        "|luonnokset|szkice|wersje robocze|kopie robocze|koncepty|rozepsané|черновики|下書き|草稿|草稿箱|임시보관함"
    ),
}

_WILD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True)
class FolderPatterns:
    """What the operator asked for. `names` and `exclude` may hold patterns.

    `exclude` takes folders out of the patterns and of `all_folders`, never a folder that was named.
    """

    names: tuple[str, ...] = ()
    all_folders: bool = False
    exclude: tuple[str, ...] = ()

    @property
    def is_literal(self) -> bool:
        """Are these plain names, which need no list of the server's folders?"""
        return not (self.all_folders or self.exclude or any(_WILD.search(name) for name in self.names))


def resolve(wanted: FolderPatterns, folders: Sequence[Folder]) -> tuple[str, ...]:
    """The folders' names, each once: those named first, then the others in the server's order.

    A name that exists means that folder, even with `*` or `?` in it. In any other name `*` stands for any characters
    and `?` for one. Raises `ConfigError`.
    """
    holders = [folder for folder in folders if folder.is_selectable]
    names = [folder.name for folder in holders]
    excluded = {name for pattern in wanted.exclude for name in _matches(pattern, names, "--exclude")}
    chosen: dict[str, None] = {}
    for pattern in wanted.names:
        found = _matches(pattern, names, "--folder")
        is_named = len(found) == 1 and not _is_pattern_of(pattern, found[0])
        chosen.update(dict.fromkeys(name for name in found if is_named or name not in excluded))
    if wanted.all_folders:
        chosen.update(dict.fromkeys(_all(holders, excluded)))
    if not chosen:
        raise ConfigError("Nothing is left of the folders after --exclude; name one with --folder.")
    return tuple(chosen)


def left_out(folders: Iterable[Folder]) -> frozenset[str]:
    """Junk, trash and drafts: by their special use where the server names one, else by their usual names."""
    folders = list(folders)
    found: set[str] = set()
    for use, known in LEFT_OUT.items():
        said = {folder.name for folder in folders if use in folder.special_use}
        found |= said or {folder.name for folder in folders if _last_part(folder.name) in known}
    return frozenset(found)


def _all(folders: list[Folder], excluded: set[str]) -> list[str]:
    useless = left_out(folders) | excluded
    everything = [folder.name for folder in folders if ALL in folder.special_use and folder.name not in excluded]
    if not everything:
        return [folder.name for folder in folders if folder.name not in useless and ALL not in folder.special_use]
    if hidden := sorted(excluded - left_out(folders)):  # All Mail has the mail of the excluded labels as well
        raise ConfigError(
            f"On this server {everything[0]!r} holds every mail, whatever its folder, so --exclude cannot keep "
            f"{hidden[0]!r} out of --all-folders. Use --search, or exclude {everything[0]!r} as well; then "
            "each folder is worked on by itself."
        )
    return everything


def _matches(pattern: str, names: list[str], option: str) -> list[str]:
    if pattern in names:
        return [pattern]
    if pattern.upper() == "INBOX":  # in any case (RFC 9051 §5.1)
        found = [name for name in names if name.upper() == "INBOX"]
    elif _WILD.search(pattern):
        found = [name for name in names if _fits(pattern, name)]
    else:
        found = []
    if not found:
        near = get_close_matches(pattern.lower(), [name.lower() for name in names], n=3, cutoff=0.5)
        near = [name for name in names if name.lower() in near]
        hint = f"There are {', '.join(map(repr, near))}." if near else "`backfill folders` lists what there is."
        raise ConfigError(f"{option} {pattern!r:.100} fits no folder on the server. {hint}")
    return found


def _is_pattern_of(pattern: str, name: str) -> bool:
    """Was this folder found by a wildcard?"""
    return pattern != name and _WILD.search(pattern) is not None


def _fits(pattern: str, name: str) -> bool:
    """Does the pattern fit the whole name? Characters other than `*` and `?` stand for themselves."""
    translated = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in re.sub(r"\*+", "*", pattern))
    return re.fullmatch("".join(translated), name, re.DOTALL) is not None


def _last_part(name: str) -> str:
    """`INBOX.Trash`, `[Gmail]/Trash` → `trash`. In practice the hierarchy delimiter is `/`, `.` or a backslash."""
    return re.split(r"[/.\\]", name)[-1].strip().lower()
