# mypy: disable-error-code="no-untyped-call"
"""An IMAP server in memory, on loopback, for people and tests without an account at hand.

Twisted parses the protocol. The answers come from `store` and `mime`, since Twisted's own FETCH rewrites headers, its
SEARCH knows no keywords, and malformed mail breaks both. Left out: ENVELOPE, APPEND, COPY, EXPUNGE and everything that
makes or removes folders. One reactor thread serves all servers of a process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from twisted.cred.error import UnauthorizedLogin
from twisted.internet import protocol
from twisted.internet import reactor as twisted_reactor
from twisted.internet.threads import blockingCallFromThread
from twisted.mail import imap4
from twisted.python.failure import Failure

from backfill.demo.store import MONTHS, Folder, StoredMail, View

_FLAGS = rb"\Answered \Flagged \Deleted \Seen \Draft"
_UIDVALIDITY = 1_136_073_600  # 2006-01-01; the same at every start, so that a restart does not change it
_SEPARATOR = "/"

reactor: Any = twisted_reactor  # zope's interfaces mean nothing to mypy
P = ParamSpec("P")
T = TypeVar("T")


class DemoServer:
    """Serves `mailboxes` (folder name → mails, which get the UIDs 1, 2, …) to one user.

    A context manager: entering it sets `port` to a free one. Flags are kept until the server ends.
    """

    def __init__(
        self,
        mailboxes: Mapping[str, Sequence[bytes]],
        *,
        user: str = "demo",
        password: str = "demo",  # noqa: S107  this server keeps no secrets
        host: str = "127.0.0.1",
    ) -> None:
        self.host = host
        self.port = 0
        self.credentials = (user.encode(), password.encode())
        self.folders = {
            name: Folder(name, _UIDVALIDITY + place, mails) for place, (name, mails) in enumerate(mailboxes.items())
        }
        self._sessions = _Sessions(self)

    def __enter__(self) -> Self:
        _start_reactor()
        self._listening = _in_reactor(reactor.listenTCP, 0, self._sessions, interface=self.host)
        self.port = self._listening.getHost().port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _in_reactor(self._listening.stopListening)
        _in_reactor(self._sessions.hang_up)

    def flags(self, folder: str) -> dict[int, frozenset[str]]:
        """The flags and keywords of every mail, by UID."""
        return _in_reactor(lambda: {uid: mail.flags for uid, mail in self.folders[folder].mails.items()})

    def expunge(self, folder: str, uid: int) -> None:
        """Remove a mail, as another client would; sessions are told at their next UID command or NOOP."""
        _in_reactor(self.folders[folder].mails.pop, uid)

    def deliver(self, folder: str, mail: bytes) -> int:
        """Put a new mail into a folder; returns its UID."""
        return _in_reactor(self.folders[folder].deliver, mail)


class _Account:
    """What Twisted asks of an account: LIST and STATUS."""

    def __init__(self, folders: Mapping[str, Folder]) -> None:
        self._folders = folders

    def select(self, name: str, writable: bool) -> _Mailbox | None:
        folder = self._folders.get("INBOX" if name.upper() == "INBOX" else name)
        return _Mailbox(folder, writable=writable) if folder else None

    def listMailboxes(self, reference: str, wildcard: str) -> list[tuple[str, _Mailbox]]:
        pattern = imap4.wildcardToRegexp(reference + wildcard, _SEPARATOR)
        return [
            (name, _Mailbox(folder, writable=False))
            for name, folder in self._folders.items()
            if pattern.fullmatch(name)
        ]

    def isSubscribed(self, name: str) -> bool:
        return True


class _Mailbox(View):
    """A view with what Twisted asks of a mailbox."""

    def getFlags(self) -> list[str]:
        return []

    def getHierarchicalDelimiter(self) -> str:
        return _SEPARATOR

    def isWriteable(self) -> bool:
        return False  # only Twisted's CLOSE and EXPUNGE ask this, and neither is to remove anything

    def removeListener(self, listener: object) -> None:
        pass

    def requestStatus(self, names: Sequence[str]) -> dict[str, int]:
        known = {
            "MESSAGES": len(self.uids),
            "RECENT": 0,
            "UIDNEXT": self.folder.uid_next,
            "UIDVALIDITY": self.folder.uidvalidity,
            "UNSEEN": sum(not mail.has("\\Seen") for mail in self.folder.mails.values()),
        }
        return {name: known[name] for name in names}


class _Session(imap4.IMAP4Server):
    """One connection. The commands of `_AUTHENTICATED` and `_SELECTED` are answered here, the others by Twisted."""

    MAX_LENGTH = 65_536  # bytes of a command line, as in Dovecot
    account: _Account
    mbox: _Mailbox

    def __init__(self, server: DemoServer, on_close: Callable[[_Session], None]) -> None:
        super().__init__()
        self._server = server
        self._on_close = on_close

    def authenticateLogin(self, user: bytes, passwd: bytes) -> tuple[Any, _Account, Callable[[], None]]:
        if (user, passwd) != self._server.credentials:
            raise UnauthorizedLogin
        return imap4.IAccount, _Account(self._server.folders), lambda: None

    def lookupCommand(self, cmd: bytes) -> Any:
        own = {"auth": _AUTHENTICATED, "select": _SELECTED}.get(self.state, {}).get(cmd)
        return own or (None if cmd in _UNSUPPORTED else super().lookupCommand(cmd))

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        super().connectionLost(reason)
        self._on_close(self)

    def do_select(self, tag: bytes, name: bytes, writable: bool) -> None:
        self.state = "auth"
        mailbox = self.account.select(name.decode("imap4-utf-7"), writable)
        if mailbox is None:
            self.sendNegativeResponse(tag, b"[NONEXISTENT] No such mailbox")
            return
        self.sendUntaggedResponse(b"FLAGS (" + _FLAGS + b")")
        self.sendUntaggedResponse(b"%d EXISTS" % len(mailbox.uids))
        self.sendUntaggedResponse(b"0 RECENT")
        permanent = _FLAGS + rb" \*" if writable else b""
        self.sendPositiveResponse(None, b"[PERMANENTFLAGS (" + permanent + b")] Flags that are kept")
        self.sendPositiveResponse(None, b"[UIDVALIDITY %d] UIDs valid" % mailbox.folder.uidvalidity)
        self.sendPositiveResponse(None, b"[UIDNEXT %d] Next UID" % mailbox.folder.uid_next)
        self.mbox, self.state = mailbox, "select"
        self.sendPositiveResponse(tag, b"[READ-WRITE] Selected" if writable else b"[READ-ONLY] Examined")

    def do_noop(self, tag: bytes) -> None:
        self._announce()
        self.sendPositiveResponse(tag, b"NOOP completed")

    def do_search(self, tag: bytes, charset: bytes | None, criteria: list[Any], uid: int = 0) -> None:
        try:
            found = self.mbox.search(criteria)
        except imap4.IllegalQueryError as error:
            self.sendBadResponse(tag, str(error).encode("ascii", "replace"))
            return
        numbers = [mail.uid if uid else number for number, mail in found]
        self.sendUntaggedResponse(b" ".join([b"SEARCH", *(b"%d" % number for number in numbers)]))
        self._complete(tag, b"SEARCH", uid)

    def do_fetch(self, tag: bytes, numbers: imap4.MessageSet, wanted: list[Any], uid: int = 0) -> None:
        if any(item.type == "envelope" for item in wanted):
            self.sendBadResponse(tag, b"ENVELOPE is not offered here")
            return
        reads = any(item.type in {"rfc822", "rfc822text"} or _is_reading(item) for item in wanted)
        for number, mail in self.mbox.pick(numbers, by_uid=bool(uid)):
            answers = [_fetched(mail, item) for item in wanted]
            if uid and not any(item.type == "uid" for item in wanted):
                answers.append(b"UID %d" % mail.uid)
            if reads and self.mbox.writable and not mail.has("\\Seen"):
                mail.add(["\\Seen"])
                answers.append(_flags(mail))
            self.sendUntaggedResponse(b"%d FETCH (" % number + b" ".join(answers) + b")")
        self._complete(tag, b"FETCH", uid)

    def do_store(self, tag: bytes, numbers: imap4.MessageSet, mode: bytes, flags: list[bytes], uid: int = 0) -> None:
        if not self.mbox.writable:
            self.sendNegativeResponse(tag, b"[READ-ONLY] The mailbox was opened with EXAMINE")
            return
        names = [flag.decode("ascii") for flag in flags]
        for number, mail in self.mbox.pick(numbers, by_uid=bool(uid)):
            if not mode.startswith((b"+", b"-")):
                mail.remove(list(mail.flags))
            (mail.remove if mode.startswith(b"-") else mail.add)(names)
            if not mode.upper().endswith(b".SILENT"):
                suffix = b" UID %d" % mail.uid if uid else b""
                self.sendUntaggedResponse(b"%d FETCH (" % number + _flags(mail) + suffix + b")")
        self._complete(tag, b"STORE", uid)

    def _complete(self, tag: bytes, command: bytes, uid: int) -> None:
        if uid:  # only then may sequence numbers change (RFC 3501 §7.4.1)
            self._announce()
        self.sendPositiveResponse(tag, command + b" completed")

    def _announce(self) -> None:
        gone, exists = self.mbox.catch_up()
        for number in gone:
            self.sendUntaggedResponse(b"%d EXPUNGE" % number)
        if exists is not None:
            self.sendUntaggedResponse(b"%d EXISTS" % exists)


_READ = imap4.IMAP4Server  # has the parsers of arguments, which Twisted's own tables of commands name as well

#: Commands that are answered here, by state: the handler, then the parsers of its arguments, or a constant argument.
_AUTHENTICATED: dict[bytes, tuple[Any, ...]] = {
    b"SELECT": (_Session.do_select, _READ.arg_astring, True),
    b"EXAMINE": (_Session.do_select, _READ.arg_astring, False),
}
_SELECTED: dict[bytes, tuple[Any, ...]] = {
    **_AUTHENTICATED,
    b"NOOP": (_Session.do_noop,),
    b"SEARCH": (_Session.do_search, _READ.opt_charset, _READ.arg_searchkeys),
    b"FETCH": (_Session.do_fetch, _READ.arg_seqset, _READ.arg_fetchatt),
    b"STORE": (_Session.do_store, _READ.arg_seqset, _READ.arg_atom, _READ.arg_flaglist),
}
_UNSUPPORTED = {b"APPEND", b"COPY", b"CREATE", b"DELETE", b"RENAME", b"SUBSCRIBE", b"UNSUBSCRIBE"}


class _Sessions(protocol.Factory):
    """The open connections of one server."""

    def __init__(self, server: DemoServer) -> None:
        self._server = server
        self._open: set[_Session] = set()

    def buildProtocol(self, address: object) -> _Session:
        session = _Session(self._server, self._open.discard)
        self._open.add(session)
        return session

    def hang_up(self) -> None:
        for session in list(self._open):
            transport: Any = session.transport
            transport.abortConnection()


def _fetched(mail: StoredMail, item: Any) -> bytes:
    """One `name value` pair of a FETCH answer. `item`: a requested item as Twisted has parsed it."""
    part = mail.part
    match item.type:
        case "uid":
            return b"UID %d" % mail.uid
        case "flags":
            return _flags(mail)
        case "internaldate":
            return b'INTERNALDATE "' + _internal_date(mail.received) + b'"'
        case "rfc822size":
            return b"RFC822.SIZE %d" % mail.size
        case "bodystructure":
            return b"BODYSTRUCTURE " + mail.structure
        case "rfc822":
            return b"RFC822 " + _literal(part.raw)
        case "rfc822header":
            return b"RFC822.HEADER " + _literal(part.header)
        case "rfc822text":
            return b"RFC822.TEXT " + _literal(part.body)
        case _ if not _has_section(item):
            return b"BODY " + part.structure(extended=False)
        case _:
            return _section(mail, item)


def _section(mail: StoredMail, item: Any) -> bytes:
    """BODY[section]<origin> with the bytes of that section; NIL where the mail has no such part."""
    part = mail.part.find(item.part)
    content: bytes | None = None
    name = b""
    # HEADER and TEXT of a part mean the mail within the part; of a whole mail they mean the mail itself.
    message = part.embedded if part and item.part else part
    if item.mime:
        name, content = b"MIME", part.header if part else None
    elif item.text:
        name, content = b"TEXT", message.body if message else None
    elif item.header and item.header.fields:
        name = b"HEADER.FIELDS.NOT" if item.header.negate else b"HEADER.FIELDS"
        name += b" (" + b" ".join(item.header.fields) + b")"
        content = message.fields(item.header.fields, negate=item.header.negate) if message else None
    elif item.header:
        name, content = b"HEADER", message.header if message else None
    elif part:
        content = part.body if item.part else part.raw
    key = b"BODY[" + b".".join([*(b"%d" % (number + 1) for number in item.part), *([name] if name else [])]) + b"]"
    if item.partialBegin is not None:
        key += b"<%d>" % item.partialBegin
        content = content and content[item.partialBegin : item.partialBegin + item.partialLength]
    return key + b" " + (b"NIL" if content is None else _literal(content))


def _has_section(item: Any) -> bool:
    return bool(item.empty or item.header or item.text or item.mime)


def _is_reading(item: Any) -> bool:
    return item.type == "body" and _has_section(item) and not item.peek


def _flags(mail: StoredMail) -> bytes:
    return b"FLAGS (" + " ".join(sorted(mail.flags)).encode("ascii") + b")"


def _internal_date(moment: datetime) -> bytes:
    """RFC 3501's date-time. The month comes from `MONTHS`, since strftime writes it in the locale's language."""
    return moment.strftime(f"%d-{MONTHS[moment.month - 1]}-%Y %H:%M:%S %z")[:26].encode("ascii")


def _literal(content: bytes) -> bytes:
    return b"{%d}\r\n%b" % (len(content), content)


@cache
def _start_reactor() -> None:
    """Start the reactor, once a process, in a daemon thread: a reactor that was stopped cannot be started again."""
    running = threading.Event()
    reactor.callWhenRunning(running.set)
    threading.Thread(target=reactor.run, args=(False,), name="demo-imap-server", daemon=True).start()
    running.wait()


def _in_reactor(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call in the reactor's thread and wait for the result. Only that thread may touch folders and connections."""
    result: T = blockingCallFromThread(reactor, call, *args, **kwargs)
    return result
