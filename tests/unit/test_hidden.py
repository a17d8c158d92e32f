"""What a person sees of HTML and what not: one row for each way in which mails hide text, or seem to."""

from __future__ import annotations

import pytest

from backfill.mail.html import text_and_links

HIDDEN = [
    '<p style="display: none">secret</p>',
    '<p style="DISPLAY:NONE !important">secret</p>',
    '<p style="dis/**/play:none;display:none">secret</p>',
    '<p style="visibility:hidden">secret</p>',
    '<p style="mso-hide:all">secret</p>',
    "<p hidden>secret</p>",
    '<p style="opacity:0">secret</p>',
    '<p style="opacity:.01">secret</p>',
    '<p style="font-size:1px">secret</p>',
    '<p style="font-size:0.1em">secret</p>',
    '<p style="font-size:2px">secret</p>',
    '<p style="font:0/0 a">secret</p>',
    '<div style="font-size:0"><span style="font-size:1em">secret</span></div>',
    '<p style="max-height:0; overflow:hidden">secret</p>',
    '<p style="width:0;overflow:hidden">secret</p>',
    '<p style="height:1px;overflow:hidden;padding:0 20px">secret</p>',
    '<p style="position:absolute;left:-9999px">secret</p>',
    '<p style="text-indent:-9999px">secret</p>',
    '<p style="position:absolute;clip:rect(0 0 0 0)">secret</p>',
    '<p style="position:absolute;clip-path:inset(50%)">secret</p>',
    '<p style="transform:scale(0)">secret</p>',
    '<p style="color:#FFF;background-color:white">secret</p>',
    '<p style="color:#ffffff">secret</p>',
    '<p style="color:rgb(253, 253, 253)">secret</p>',
    '<p style="color:#fefefe01">secret</p>',
    '<p style="color:hsl(0, 0%, 100%)">secret</p>',
    '<p style="color:hsl(0 0% 0%);background:hsl(0 0% 0%)">secret</p>',
    '<p style="color:transparent">secret</p>',
    '<p style="color:rgba(0,0,0,0)">secret</p>',
    '<font color="#ffffff">secret</font>',
    '<table bgcolor="#222222"><tr><td style="color:#222">secret</td></tr></table>',
    '<div style="background:#eee"><p style="color:#eeeeee">secret</p></div>',
    "<style>.pre { mso-hide: all; display:none !important }</style><p class='x pre'>secret</p>",
    "<style><!-- a{color:red} p.pre, td.y { font-size: 0 } --></style><p class=pre>secret</p>",
    "<style>/* } */ #h{visibility:hidden}</style><p id=h>secret</p>",
    "<style>.a .b{display:none}</style><div class=a><p class=b>secret</p></div>",
    "<style>div > p.b{display:none}</style><div><p class=b>secret</p></div>",
    "<style>@media screen{.h{display:none}}</style><p class=h>secret</p>",
    "<style>.h{display:block}.h{display:none}</style><p class=h>secret</p>",
]
SEEN = [
    '<p style="background-color:#fff;color:#ffe">hello</p>',
    '<p style="max-height:0px">hello</p>',
    "<style>@media (max-width:600px) { .wide { display:none } }</style><p class=wide>hello</p>",
    "<style>.hide a { display:none } .other { display:none }</style><p class=hide>hello</p>",
    "<style>.a:hover{display:none}</style><p class=a>hello</p>",
    "<style>.h{display:none}.h{display:block}</style><p class=h>hello</p>",
    "<style>.h{display:none}</style><p class=h style='display:block'>hello</p>",
    '<p style="display:none;display:block">hello</p>',
    '<p style="font-size:10px;line-height:0">hello</p>',
    *(f'<p style="font-size:{size}">hello</p>' for size in ("0.9em", "0.5rem", "80%", "6pt", "x-small", "calc(1px)")),
    "<style>.t{font-size:14px}</style><div style='font-size:0'><p class=t>hello</p></div>",
    '<div style="font-size:0"><font size=2>hello</font></div>',
    '<div style="height:0;overflow:hidden;padding-bottom:56.25%">hello</div>',
    '<div style="height:0;min-height:50px;overflow:hidden">hello</div>',
    '<div style="max-height:0;max-height:none;overflow:hidden">hello</div>',
    '<div style="visibility:hidden"><b style="visibility:visible">hello</b></div>',
    '<p style="opacity:0;animation:appear 1s">hello</p>',
    '<p style="opacity:0.6">hello</p>',
    '<table bgcolor="#000"><tr><td style="color:#fff">hello</td></tr></table>',
    "<body bgcolor=black text=white><p>hello</p>",
    "<body style='background:#102030;color:white'><p>hello</p>",
    "<style>.btn{background:#06c;color:#fff}</style><a class=btn href=x>hello</a>",
    "<style>td.b a.btn{background:#06c} .btn{color:#fff}</style><table><tr><td class=b><a class=btn>hello</a></table>",
    "<style>a[class=btn]{background:#06c}</style><a class=btn style='color:white' href=x>hello</a>",
    "<table><tr><td background='x.png'><p style='color:#fff'>hello</p></td></tr></table>",
    "<div style='background:url(x.png)'><p style='color:#fff'>hello</p></div>",
    "<div style='background:linear-gradient(#000,#333)'><p style='color:#fff'>hello</p></div>",
    "<div style='background:var(--dark)'><p style='color:#fff'>hello</p></div>",
    "<span style='color:#fff'><a href=x>hello</a></span>",
    "<button>hello</button>",
    "<form><input type=submit value=hello></form>",
]  # fmt: skip


@pytest.mark.parametrize("html", HIDDEN)
def test_what_a_person_does_not_see_is_not_shown(html):
    assert text_and_links(f"{html}<p>Hello</p>")[0] == "Hello"


@pytest.mark.parametrize("html", SEEN)
def test_what_a_person_sees_is_shown(html):
    assert text_and_links(f"{html}<p>Bob</p>")[0].split() == ["hello", "Bob"]


def test_html_whose_text_is_all_hidden_is_shown_as_hidden():
    assert text_and_links('<p style="display:none">Hello</p>')[0] == "[hidden text] Hello"


@pytest.mark.parametrize(
    "picture",
    [
        "<img src=x>",
        "<table><tr><td background=x>&nbsp;</td></tr></table>",
        "<div style='background-image:url(x)'></div>",
        "<input type=image src=x>",
        "<svg></svg>",
    ],
)
def test_pictures_stand_in_for_text_and_not_the_hidden_filler(picture):
    assert text_and_links(f'{picture}<p style="visibility:hidden">filler</p>')[0] == "[1 pictures]"


@pytest.mark.parametrize("pixel", ["<img src=x width=1 height=1>", "<img src=x width=0>", "<img src=x height=1px>"])
def test_a_picture_that_only_counts_readers_is_none(pixel):
    assert text_and_links(f"<p hidden>filler</p>{pixel}")[0] == "[hidden text] filler"
