"""A hermetic Dovecot 2.3 for tests: own directory, own ports, loopback only, as root or as a plain user.

Needs Debian's dovecot-imapd (its 2.4 has another configuration syntax); never touches /etc/dovecot. Starts within
0.1 s. Users need no registration: every name logs in with `PASSWORD`, and gets an empty mailbox.
"""

from __future__ import annotations

import getpass
import grp
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import parse_qs, urlsplit

from imapclient.imap_utf7 import encode

PASSWORD = "secret"

_CONFIG = """\
base_dir = {base}/run
state_dir = {base}/state
instance_name = {name}
log_path = {base}/dovecot.log
protocols = imap
listen = 127.0.0.1
default_login_user = {login_user}
default_internal_user = {internal_user}
default_internal_group = {internal_group}
shutdown_clients = yes
verbose_proctitle = no
mail_fsync = never
auth_mechanisms = plain login xoauth2 oauthbearer
disable_plaintext_auth = no
auth_username_format = %Lu
auth_cache_size = 0
auth_failure_delay = 0
first_valid_uid = 0
first_valid_gid = 0
mail_location = mdbox:~/mdbox
mail_uid = {uid}
mail_gid = {gid}
mail_home = {base}/home/%u
mailbox_list_index = yes
mail_max_userip_connections = 200
ssl = yes
ssl_cert = <{base}/tls.crt
ssl_key = <{base}/tls.key
ssl_dh =
passdb {{
  driver = static
  args = password={password}
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {base}/oauth2.conf.ext
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={base}/home/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Junk {{
    special_use = \\Junk
    auto = create
  }}
}}
service imap-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
  # refused logins would slow down the next ones
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap {{
  process_limit = 256
  service_count = 100
}}
service stats {{
  chroot =
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener auth-userdb {{
    mode = 0666
  }}
}}
"""

_OAUTH = """\
introspection_url = http://127.0.0.1:{port}/introspect?token=
introspection_mode = get
username_attribute = email
active_attribute = active
active_value = true
"""


class TokenEndpoint:
    """Where Dovecot asks whether a token is good. `tokens` maps tokens to users; remove one to expire it."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        tokens = self.tokens

        class Introspection(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                token = parse_qs(urlsplit(self.path).query).get("token", [""])[0]
                user = tokens.get(token)
                body = json.dumps({"active": True, "email": user} if user else {"active": False}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Introspection)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class DovecotServer:
    """A context manager: `host`, `port` (clear and STARTTLS), `tls_port`, `ca_file`, `tokens`."""

    host = "127.0.0.1"

    @staticmethod
    def is_installed() -> bool:
        return _executable() is not None

    def __enter__(self) -> Self:
        self.base = Path(tempfile.mkdtemp(prefix="dc-", dir="/tmp"))  # short: unix sockets end at 108 bytes
        self.ca_file = str(self.base / "tls.crt")
        self._endpoint = TokenEndpoint()
        self.tokens = self._endpoint.tokens
        for is_last in (False, False, True):
            self.port, self.tls_port = free_port(), free_port()
            self._configure()
            try:
                self._start()
            except RuntimeError:  # another program may have taken a port meanwhile
                if is_last:
                    raise
            else:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._endpoint.close()
        shutil.rmtree(self.base, ignore_errors=True)

    def append_many(
        self,
        user: str,
        folder: str,
        messages: Iterable[bytes],
        flags: Sequence[str] = (),
        received: str | None = None,
    ) -> None:
        """Put mails into a folder; creates it if needed. 1,000 mails take some milliseconds.

        `received` is an INTERNALDATE, e.g. "01-Jan-2024 10:00:00 +0000". MULTIAPPEND with literals that do not
        wait (RFC 7888) on a raw socket: imapclient's own takes seven times as long.
        """
        name = _modified_utf7(folder)
        attributes = f"({' '.join(flags)})" + (f' "{received}"' if received else "")
        with socket.create_connection((self.host, self.port), 30) as line, line.makefile("rwb") as wire:
            wire.readline()
            _command(wire, f'a LOGIN "{user}" "{PASSWORD}"')
            if folder.upper() != "INBOX":
                _command(wire, f'c CREATE "{name}"', may_fail=True)
            batch: list[bytes] = []
            for message in messages:
                batch.append(b" %s {%d+}\r\n%s" % (attributes.encode(), len(message), message))
                if len(batch) == 2000:
                    _append(wire, name, batch)
                    batch = []
            if batch:
                _append(wire, name, batch)
            _command(wire, "z LOGOUT")

    def log(self) -> str:
        path = self.base / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _configure(self) -> None:
        for folder in ("run", "state", "home"):
            (self.base / folder).mkdir(exist_ok=True)
        if os.getuid() == 0:  # what drops root must reach the files
            login, internal, group = "dovenull", "dovecot", "dovecot"
            owner = pwd.getpwnam("dovecot")
            uid, gid = owner.pw_uid, owner.pw_gid
            self.base.chmod(0o755)
            os.chown(self.base / "home", uid, gid)
        else:
            login = internal = getpass.getuser()
            group = grp.getgrgid(os.getgid()).gr_name
            uid, gid = os.getuid(), os.getgid()
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-keyout", str(self.base / "tls.key"), "-out", self.ca_file),
            ],
            check=True,
            capture_output=True,
        )
        (self.base / "oauth2.conf.ext").write_text(_OAUTH.format(port=self._endpoint.port))
        (self.base / "dovecot.conf").write_text(
            _CONFIG.format(
                base=self.base,
                name=self.base.name,
                login_user=login,
                internal_user=internal,
                internal_group=group,
                uid=uid,
                gid=gid,
                port=self.port,
                tls_port=self.tls_port,
                password=PASSWORD,
            )
        )

    def _start(self) -> None:
        executable = _executable()
        assert executable, "dovecot is not installed"
        with (self.base / "stderr.log").open("wb") as errors:
            self._process = subprocess.Popen(
                [executable, "-F", "-c", str(self.base / "dovecot.conf")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.create_connection((self.host, self.port), 1) as probe:
                    if probe.recv(64).startswith(b"* OK"):
                        time.sleep(0.1)  # in which one whose port is another's ends
                        if self._process.poll() is None:
                            return
            except OSError:
                pass
            time.sleep(0.01)
        trouble = (self.base / "stderr.log").read_text() + self.log()
        self._stop()
        raise RuntimeError(f"dovecot gave no greeting: {trouble}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # killing the master alone leaves children


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _executable() -> str | None:
    return shutil.which("dovecot") or shutil.which("/usr/sbin/dovecot")


def _modified_utf7(folder: str) -> str:
    return encode(folder).decode("ascii").replace("\\", "\\\\").replace('"', '\\"')


def _append(wire: IO[bytes], name: str, batch: list[bytes]) -> None:
    wire.write(f'b APPEND "{name}"'.encode() + b"".join(batch) + b"\r\n")
    _answer(wire, b"b")


def _command(wire: IO[bytes], line: str, *, may_fail: bool = False) -> None:
    wire.write(f"{line}\r\n".encode())
    _answer(wire, line.split()[0].encode(), may_fail=may_fail)


def _answer(wire: IO[bytes], tag: bytes, *, may_fail: bool = False) -> None:
    wire.flush()
    while not (line := wire.readline()).startswith(tag + b" "):
        if not line:
            raise RuntimeError("dovecot hung up")
    if not may_fail and not line.startswith(tag + b" OK"):
        raise RuntimeError(line.decode(errors="replace"))
