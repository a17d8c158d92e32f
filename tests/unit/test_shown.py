"""Odd mails of `tests/mail`, each with what is right to show of it: one row a kind, as seen in real mailboxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from backfill.mail.headers import authentication
from backfill.mail.mime import Reading, whole
from backfill.message import Attachment

MAILS = Path(__file__).parents[1] / "mail"

#: kind: file, field, right value
FIELDS = {
    "comma in the sender's bare name": (
        *("from_unquoted_comma", "sender"),
        "Example account team ,_ <no-reply@login-check.example>",
    ),
    "brand's address before the real one": (
        *("from_brand_address_then_real_one", "sender"),
        "Prize@bigshop.example <x1@other-host.example>",
    ),
    "sender without an address": ("from_name_without_address", "sender", "Sara Marie Example"),
    "encoded word, then a comma": ("from_encoded_word_then_comma", "sender", "Banána ,QX <x@other-host.example>"),
    "authentication without the server's name": (
        *("authentication_without_server_name", "authentication"),
        (("dkim", "none"), ("dmarc", "none"), ("spf", "fail")),
    ),
    "link without its host": ("link_host_not_shown", "link_hosts", ("evil.example",)),
    "attachment without a name": ("attachment_without_a_name", "attachments", (Attachment("", "image/png"),)),
    "content type without its semicolon": ("content_type_without_semicolon", "body", "The text of the mail."),
    "one bad byte in the declared charset": (
        *("charset_declared_one_bad_byte", "body"),
        "您好，明天下午三点开会，请带上合同。\N{REPLACEMENT CHARACTER}\n谢谢！",
    ),
    "charset not declared": (
        *("charset_undeclared_shift_jis", "body"),
        "明日の会議は三時からです。よろしくお願いします。ご注文はお早めにどうぞ。",
    ),
    "charset by an unknown name": (
        *("charset_unknown_label_big5", "body"),
        "您好，明天下午三點開會，請帶上合約，謝謝您的合作。",
    ),
    "one bad byte in an encoded word": (
        *("subject_encoded_word_one_bad_byte", "subject"),
        "我知道你需要更多機會\N{REPLACEMENT CHARACTER}",
    ),
    "a vendor's character in ISO-2022-JP": (
        *("iso_2022_jp_with_a_vendor_character", "body"),
        "会議は①三時からです。",
    ),
    "two dashes above the text": (
        *("html_line_of_two_hyphens_above_the_text", "body"),
        "Trouble viewing this? Click here.\n--\nFull\nHello,\n{}\n{}".format(
            "your storage is full. Your photos are no longer saved.", "Pay within 24 hours or they are deleted."
        ),
    ),
    "small, yet readable": (
        "html_font_size_0_9em",
        "body",
        "View document\n\nDear Bob, a new contract has been shared with you.",
    ),
    "pictures seen, filler hidden": ("html_pictures_seen_hidden_filler_shown", "body", "[1 pictures]"),
    "ink like the paper": ("html_ink_like_the_paper", "body", "Your points expire."),
    "picture within the HTML, before the text": (
        *("html_data_uri_before_the_text", "body"),
        "Notice\n\nWe limit your account until you confirm your card.",
    ),
    "HTML first, a stub last": (
        *("alternative_html_first_plain_stub_last", "body"),
        "\n\n".join(f"Your invoice {number} is due on Friday, please pay." for number in range(12)),
    ),
    "decoy in plain text": (
        *("alternative_plain_is_a_decoy", "body"),
        "You were chosen! Answer one question and win a phone. Start",
    ),
    "first part empty": ("related_first_part_empty", "body", "Sale: 50 per cent off."),
    "base64, then a footer": (
        *("base64_then_plain_footer", "body"),
        f"안녕하세요. 내일 회의가 있습니다.\n\n{'_' * 47}\nOur list: https://lists.example/our-list",
    ),
    "plain text that is HTML": ("plain_text_that_is_html", "body", "FREE\n\nBuy now\n\nOnly today"),
    "calendar alone": (
        *("calendar_only", "body"),
        "METHOD: REQUEST\nSUMMARY: Hearing at court\nDTSTART: 20240311T090000Z\nLOCATION: Room 5",
    ),
    "date in numbers, days first": ("date_day_month_year", "date", "2024-04-29T23:34:00+00:00"),
}


@pytest.mark.parametrize(("name", "field", "right"), FIELDS.values(), ids=FIELDS)
def test_of_an_odd_mail_that_is_shown_which_is_right(name, field, right):
    raw = (MAILS / f"{name}.eml").read_bytes()

    assert getattr(whole(raw, len(raw), Reading("bob@b.example")), field) == right


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ("mx.example; spf=pass smtp.mailfrom=a.example", "spf=pass"),
        ("mx.example 1; spf=pass", "spf=pass"),
        ("spf=fail (sender IP is 192.0.2.1) smtp.mailfrom=a.example; dkim=none", "dkim=none spf=fail"),
        ("spf=pass smtp.mailfrom=a.example", "spf=pass"),
        ("SPF = Fail;DKIM=pass", "dkim=pass spf=fail"),
        ("mx.example spf=softfail smtp.mailfrom=a.example; dkim=fail", "dkim=fail spf=softfail"),
        ("spf=none; compauth=fail reason=601", "compauth=fail spf=none"),
        ('spf=fail smtp.mailfrom="x; dmarc=pass x"@a.example', "spf=fail"),
        ("spf=fail (dmarc=pass (really; dmarc=pass)) smtp.mailfrom=a.example", "spf=fail"),
        ("mx.example; none", ""),
        ("mx.example", ""),
        ("", ""),
    ],
)
def test_every_result_of_the_authentication_is_read_and_none_that_the_sender_wrote(value, right):
    assert " ".join(map("=".join, authentication(value))) == right
