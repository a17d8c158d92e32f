"""Bytes to characters where charsets are named wrongly, not named at all, or break here and there."""

from __future__ import annotations

import pytest

from backfill.mail.charsets import codec, decoded
from backfill.mail.headers import Headers
from backfill.mail.text import clean

TEXTS = {
    "big5": "您好，明天下午三點開會，請帶上合約，謝謝您的合作。",
    "gb18030": "您好，明天下午三点开会，请带上合同。谢谢！",
    "euc_kr": "안녕하세요. 내일 회의가 있습니다.",
    "shift_jis": "明日の会議は三時からです。よろしくお願いします。",
    "euc_jp": "明日の会議は三時からです。よろしくお願いします。",
    "iso-2022-jp": "明日の会議は三時からです。",
    "iso-2022-kr": "안녕하세요",
    "hz": "您好明天",
    "cp1251": "Здравствуйте, завтра будет собрание в три часа",
    "koi8-r": "Здравствуйте, завтра будет собрание в три часа",
    "cp1253": "Καλημέρα σας, η συνάντηση είναι αύριο",
    "cp1255": "שלום לכם הפגישה מחר",
    "cp1256": "مرحبا بكم الاجتماع غدا",
    "cp874": "สวัสดีครับ ประชุมพรุ่งนี้",
    "cp1252": "Grüße aus Köln, das Wetter ist schön – für 5 €",
    "utf-8": "Grüße, 明日",
    "utf-16": "hello there",
    "utf-16-le": "hello ü",
}


@pytest.mark.parametrize("declared", ["", "us-ascii", "iso-8859-1", "utf-8", "DEFAULT_CHARSET", "x-unknown"])
@pytest.mark.parametrize("charset", TEXTS)
def test_a_charset_that_is_not_declared_or_wrongly_is_found_out(charset, declared):
    data = TEXTS[charset].encode(charset)

    assert clean(decoded(data, declared)) == TEXTS[charset]


@pytest.mark.parametrize("charset", ["big5", "gb18030", "euc_kr", "shift_jis", "euc_jp", "cp874", "utf-8"])
def test_one_bad_byte_does_not_spoil_the_rest(charset):
    data = TEXTS[charset].encode(charset)
    broken = data + b"\n\xff\n" + data

    shown = decoded(broken, charset)

    assert shown.startswith(TEXTS[charset])
    assert shown.endswith(TEXTS[charset])


@pytest.mark.parametrize(
    ("label", "right"),
    [
        ("ChineseBig5", "cp950"), ("x-gbk", "gb18030"), ("GB_2312-80", "gb18030"), ("chinese", "gb18030"),
        ("x-sjis", "cp932"), ("Shift-JIS", "cp932"), ("cp932", "cp932"), ("iso-2022-jp-ms", "iso2022_jp"),
        ("_iso-2022-jp$ESC", "iso2022_jp"), ("ks_c_5601-1987", "cp949"), ("iso-ir-149", "cp949"),
        ("x-euc-jp", "euc_jp"), ("win-1251", "cp1251"), ("windows-1252http-equiv", "cp1252"),
        ("x-windows-874", "cp874"), ("CP-850", "cp850"), ("iso-8859-8-i", "cp1255"), ("ISO8859_1", "cp1252"),
        ("ISO 8859-2", "iso8859-2"), ("tis-620", "cp874"), ("utf8", "utf-8"), ("UTF_8", "utf-8"),
        ("utf-8;", "utf-8"), ('"utf-8"', "utf-8"), ("unicode-1-1-utf-7", "utf-7"), ("us-ascii", ""),
        ("ansi_x3.4-1968", ""), ("x-unknown", ""), ("8bit", ""), ("rot13", ""), ("base64", ""),
    ],
)  # fmt: skip
def test_labels_that_no_standard_knows_are_known_by_what_is_left_of_the_name(label, right):
    assert codec(label) == right


@pytest.mark.parametrize(
    ("data", "right"),
    [
        (b"\x1b$B2q5D$O-!^[".replace(b"^[", b"\x1b(B"), "会議は①"),
        (b"\x1b$B-j\x1b(B", "㈱"),
        (b"\x1b$B2q5D\x1b(I1\x1b(B", "会議ｱ"),
        (b"\x1b$B2q5D", "会議"),
    ],
)
def test_vendors_characters_in_iso_2022_jp_are_read(data, right):
    assert decoded(data, "iso-2022-jp") == right


@pytest.mark.parametrize(
    "data", [b"", b"\x1b$", b"\x1b$B\xff", b"~{", b"~{~}", b"\0", b"\xff\xfe\0", b"\x1b$)C\x0e\xff"]
)
@pytest.mark.parametrize("charset", ["", "iso-2022-jp", "iso-2022-kr", "hz", "utf-7", "utf-16", "big5", "utf-32"])
def test_no_bytes_raise(data, charset):
    assert isinstance(decoded(data, charset, is_cut=True), str)


def test_bare_letters_of_a_header_are_read_by_the_charset_of_the_text():
    block = "Subject: Проверка".encode("cp1251") + b"\r\n"

    assert Headers(block, "windows-1251").text("subject") == "Проверка"
