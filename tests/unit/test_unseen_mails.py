"""The labelled mails that no rule was made for: always the same, invented throughout, and not made easy."""

from __future__ import annotations

import re
from collections import Counter
from email import message_from_bytes

from backfill.demo.mailbox import OWNER, sample_mailbox
from backfill.demo.unseen import unseen_mails
from backfill.mail.mime import Reading, whole


def contents():
    return [(mail, whole(mail.raw, len(mail.raw), Reading(OWNER.address))) for mail in unseen_mails()]


def test_every_start_gives_the_same_mails_and_every_label_often_enough():
    mails = unseen_mails()

    assert unseen_mails() == mails
    assert min(Counter(mail.kind for mail in mails).values()) >= 20
    assert all((mail.is_important, mail.is_spam) == (mail.kind == "important", mail.kind == "spam") for mail in mails)


def test_no_text_is_one_of_the_samples():
    known = {whole(mail.raw, len(mail.raw), Reading()).subject for mails in sample_mailbox().values() for mail in mails}

    assert not [content.subject for _, content in contents() if content.subject and content.subject in known]


def test_every_address_and_link_lies_under_a_reserved_name():
    for mail, content in contents():
        hosts = re.findall(r"(?:@|://)([\w.-]+\w)", f"{content.sender} {content.body} {' '.join(content.to)}")
        assert all(re.search(r"(^|\.)(example(\.(com|org|net))?)$", host) for host in hosts), mail.raw


def test_spam_is_not_told_by_failed_authentication_alone():
    spam = [content for mail, content in contents() if mail.is_spam]
    passed = [content for content in spam if ("dmarc", "pass") in content.authentication]
    unsigned = [content for content in spam if not content.authentication]

    assert len(passed) >= len(spam) / 3
    assert unsigned
    assert any(("dmarc", "fail") in content.authentication for mail, content in contents() if not mail.is_spam)


def test_every_mail_is_well_formed():
    for mail in unseen_mails():
        parsed = message_from_bytes(mail.raw)
        assert parsed["Date"]
        assert not [part.defects for part in parsed.walk() if part.defects]
