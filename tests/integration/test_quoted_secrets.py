"""Mail servers and services that quote what they were sent: no error names it, and no answer carries it on."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest

from backfill.classifiers.replies import read_reply
from backfill.errors import BackfillError, ClassifierError
from backfill.http.client import Reply
from backfill.mail.login import ImapAccount, connect
from backfill.redaction import protect
from backfill.rubric import Rubric
from tests.support.scripted_imap import BYE, ScriptedImap

PASSWORD = "correct-horse-battery"
KEY = "sk-or-v1-0123456789abcdef-quoted"
NOW = datetime(2024, 6, 3, tzinfo=UTC)


@pytest.mark.parametrize("auth", ["password", "xoauth2", "oauthbearer", "plain"])
@pytest.mark.parametrize("refusal", ["NO [UNAVAILABLE]", "NO [LIMIT]", "NO [AUTHENTICATIONFAILED]", "NO", "BAD", "BYE"])
def test_no_error_names_a_password_that_the_server_quotes(monkeypatch, auth, refusal):
    monkeypatch.setenv("QUOTED_PASSWORD", PASSWORD)
    user = "jo" if auth != "plain" else "jo%x"
    plain = f"\0{user}\0{PASSWORD}"
    bearer = f"user={user}\1auth=Bearer {PASSWORD}\1\1"
    encoded = [base64.b64encode(each.encode()).decode() for each in (plain, bearer, PASSWORD)]
    kind, _, code = refusal.partition(" ")

    def quotes(command: str) -> list[bytes] | None:
        if not command.startswith(("LOGIN", "AUTHENTICATE")):
            return None
        text = f"{code} you sent {command} {' '.join(encoded)} {PASSWORD}".strip().encode()
        return [b"* BYE " + text, BYE] if kind == "BYE" else [b"{tag} " + kind.encode() + b" " + text]

    capabilities = "AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER SASL-IR"
    with ScriptedImap({}, quotes, capabilities=capabilities) as server:
        account = ImapAccount(
            server=server.host,
            port=server.port,
            username=user,
            security="none",
            auth="password" if auth == "plain" else auth,  # type: ignore[arg-type]
            password_env="QUOTED_PASSWORD",
            timeout_s=5,
        )
        with pytest.raises(BackfillError) as refused:
            connect(account)

    said = str(refused.value)
    assert PASSWORD[:7] not in said
    assert not any(each[12:24] in said for each in encoded)


@pytest.mark.parametrize(
    "refusal", [b"{tag} NO", b"{tag} BAD", b"{tag} NO [UNAVAILABLE]", b"{tag} NO [LIMIT]", b"* BYE"]
)
def test_no_error_names_a_short_password_that_the_server_quotes(monkeypatch, refusal):
    monkeypatch.setenv("QUOTED_PASSWORD", "tea4u")
    with ScriptedImap({}) as server:
        server.script = lambda said: (
            [refusal + b" you sent " + said.encode(), BYE] if said.startswith("LOGIN") else None
        )
        account = ImapAccount(
            server.host, "jo", port=server.port, security="none", password_env="QUOTED_PASSWORD", timeout_s=5
        )
        with pytest.raises(BackfillError) as refused:
            connect(account)

    assert "tea4u" not in str(refused.value)


def error(**details: object) -> bytes:
    return json.dumps({"id": KEY, "error": {"message": f"Incorrect API key: {KEY}", **details}}).encode()


ECHOES = {
    "text": Reply(400, {}, error()),
    "type": Reply(401, {}, error(type=KEY)),
    "code": Reply(429, {}, error(code=f"limit of {KEY}")),
    "param": Reply(400, {}, error(param=KEY)),
    "header": Reply(500, {"x-request-id": f"req {KEY}", "retry-after": KEY}, error()),
    "names": Reply(404, {}, error(code="model_not_found", metadata={"fallback_models": [KEY, f"x/{KEY}"]})),
    "page": Reply(403, {}, f"<html>Bearer {KEY}</html>".encode()),
    "cut": Reply(400, {}, error(code="x" * 70 + KEY, type="y" * 60 + KEY)),
    "within 200": Reply(200, {}, error(code=KEY, type=KEY)),
}


@pytest.mark.parametrize("name", ECHOES)
def test_no_error_carries_a_key_that_the_service_quotes(name):
    protect(KEY)

    with pytest.raises(ClassifierError) as refused:
        read_reply(ECHOES[name], NOW, Rubric.default())

    told = f"{refused.value} {refused.value.reason} {refused.value.usage} {refused.value.announced}"
    assert KEY[:8] not in told


def test_no_answer_carries_a_key_that_the_service_quotes():
    protect(KEY)
    content = json.dumps({"importance_score": 9, "spam_score": 0})
    body = {"id": f"gen-{KEY}", "model": f"x/{KEY}", "choices": [{"message": {"content": content}}]}

    answer = read_reply(Reply(200, {"x-request-id": KEY}, json.dumps(body).encode()), NOW, Rubric.default())

    assert KEY[:8] not in repr(answer)
