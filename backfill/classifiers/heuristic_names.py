"""Names that are signs in a mail, as data: brands that phishing borrows, hosts open to anybody, file endings.

Changing anything here changes the classifier's fingerprint.
"""

from __future__ import annotations

from typing import Final

#: As written in a display name. The true owner's domain has the name without blanks.
BRANDS: Final = (
    "paypal", "amazon", "apple", "microsoft", "netflix", "google", "facebook", "instagram", "whatsapp", "linkedin",
    "dropbox", "docusign", "spotify", "ebay", "mcafee", "walmart", "costco", "booking com", "airbnb",
    "dhl", "fedex", "ups", "usps", "dpd", "gls", "postnl", "la poste", "correos", "correios", "royal mail",
    "poste italiane", "telekom", "vodafone", "sirius xm",
    "sparkasse", "postbank", "commerzbank", "wells fargo", "bank of america", "hsbc", "barclays", "bnp paribas",
    "credit agricole", "bbva", "santander", "intesa sanpaolo", "unicredit", "sberbank", "сбербанк", "ing", "rabobank",
    "abn amro", "american express",
    "bradesco", "itau", "itaucard", "nubank", "banco do brasil", "caixa economica", "mercado pago", "mercado livre",
    "livelo", "receita federal", "serasa", "edeka", "lidl", "aldi", "ikea", "rossmann", "albert heijn",
    "coinbase", "binance", "metamask", "trust wallet", "ledger", "trezor", "ripple", "blockchain com",
)  # fmt: skip

SHORTENERS: Final = (
    "bit.ly", "tinyurl.com", "t.co", "goo.gl", "is.gd", "cutt.ly", "ow.ly", "rb.gy", "t.ly", "rebrand.ly",
    "shorturl.at", "s.id", "tiny.cc", "lnkd.in", "v.gd",
)  # fmt: skip
#: Hosts on which anybody can publish a page free of charge, under a trusted name.
FREE_HOSTS: Final = (
    "storage.googleapis.com", "sites.google.com", "docs.google.com", "translate.goog", "run.app", "web.app",
    "firebaseapp.com", "page.link", "vercel.app", "netlify.app", "herokuapp.com", "glitch.me", "workers.dev",
    "pages.dev", "r2.dev", "ipfs.io", "dweb.link", "weebly.com", "wixsite.com", "web.core.windows.net",
    "blob.core.windows.net", "azurewebsites.net", "amazonaws.com", "ngrok.io", "ngrok-free.app", "repl.co",
)  # fmt: skip
ODD_ENDINGS: Final = (
    ".top", ".xyz", ".icu", ".click", ".buzz", ".cyou", ".rest", ".cfd", ".sbs", ".quest", ".bond", ".zip", ".mov",
    ".tk", ".ml", ".ga", ".gq", ".za.com", ".ru.com", ".sa.com", ".eu.com", ".best", ".beauty", ".monster",
)  # fmt: skip

DANGEROUS_FILES: Final = (
    ".exe", ".scr", ".pif", ".com", ".bat", ".cmd", ".vbs", ".vbe", ".js", ".jse", ".wsf", ".hta", ".lnk", ".ps1",
    ".jar", ".msi", ".iso", ".img", ".vhd", ".docm", ".xlsm", ".pptm",
)  # fmt: skip
DOCUMENT_FILES: Final = (".pdf", ".doc", ".docx", ".odt", ".xls", ".xlsx", ".ods")
PAGE_FILES: Final = (".htm", ".html", ".shtml", ".svg")

#: All of them, for the fingerprint.
NAMES: Final = (BRANDS, SHORTENERS, FREE_HOSTS, ODD_ENDINGS, DANGEROUS_FILES, DOCUMENT_FILES, PAGE_FILES)
