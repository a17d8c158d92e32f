"""Mail that machines and shops send: newsletters, invoices, receipts, notifications, invitations.

An unpaid invoice is important. No other mail here asks its reader for anything.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from backfill.demo.compose import OWNER, Person, SampleMail, attachment, mail, multipart, text

_INVISIBLE = "\u200c\u00a0\u034f "  # what newsletters fill the preview line with

#: Newsletters: sender, address, language, headlines, teasers.
_PAPERS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "The Slow Bicycle",
        "news@slowbicycle.example",
        ("Ten rides under ten miles", "Why steel is real", "Panniers, tested in rain", "The art of the puncture"),
        (
            "A loop along the canal with three bakeries.",
            "Our readers vote for the ugliest saddle.",
            "Save 20% on mudguards.",
        ),
    ),
    (
        "Kernel & Kettle",
        "weekly@kernelkettle.example",
        (
            "This week in build systems",
            "Caches all the way down",
            "A gentle tour of B-trees",
            "The test that never failed",
        ),
        ("Someone measured it at last.", "A long read on short functions.", "Jobs: four places that still use tea."),
    ),
    (
        "Gartenbrief",
        "post@gartenbrief.example",
        (
            "Jetzt Tomaten vorziehen",
            "Schnecken: ein Friedensangebot",
            "Der große Kürbistest",
            "Obstbäume richtig schneiden",
        ),
        (
            "Unsere Tipps für den März.",
            "Mit Aussaatkalender für die ganze Saison.",
            "Nur diese Woche: Saatgut versandkostenfrei.",
        ),
    ),
    (
        "La Lettre du Marché",
        "lettre@marche.example",
        ("Les asperges sont là", "Cinq soupes pour l'hiver", "Spécial fromages de chèvre", "Que faire des quetsches ?"),
        (
            "Nos recettes de saison.",
            "Le calendrier des foires de la région.",
            "Offre découverte : -15 % sur les paniers.",
        ),
    ),
    (
        "Boletín Sierra Norte",
        "boletin@sierranorte.example",
        ("Rutas para el otoño", "Setas: qué coger y qué no", "Agenda cultural del mes", "Mañana empieza el mercadillo"),
        (
            "Propuestas para toda la familia.",
            "Descuentos en alojamientos rurales.",
            "Suscríbete también a la edición en papel.",
        ),
    ),
    (
        "旅と本だより",
        "magazine@tabihon.example",
        ("秋の読書特集", "温泉めぐりの楽しみ", "今月の新刊案内", "小さな駅の物語"),
        ("編集部のおすすめをお届けします。", "会員限定の割引クーポンつき。", "次号もお楽しみに。"),
    ),
    (
        "Museum Friends",
        "friends@museum.example.org",
        (
            "Late opening on Thursday",
            "Maps of places that are not there",
            "Members' preview",
            "Curator's choice: the blue jug",
        ),
        ("Free entry for members and one guest.", "Book your place online.", "The café has a new cake."),
    ),
    (
        "ShopHub Deals",
        "deals@shophub.example",
        (
            "Weekend sale: up to 60% off",
            "Your wishlist is on offer",
            "Last chance: summer clearance",
            "New in: kettles",
        ),
        ("Free delivery over 30.", "Only while stocks last.", "Members get double points today."),
    ),
)


def newsletter(rng: Random, when: datetime) -> SampleMail:
    """HTML with a preview line and an unsubscribe link; sometimes with a plain alternative."""
    name, address, headlines, teasers = rng.choice(_PAPERS)
    issue = (when.year - 2004) * 52 + when.timetuple().tm_yday // 7
    picked = rng.sample(headlines, rng.randint(2, len(headlines)))
    said = rng.sample(teasers * 2, len(picked))
    domain = address.partition("@")[2]
    leave = f"https://{domain}/unsubscribe/{rng.getrandbits(40):x}"
    blocks = "".join(
        f'<h2><a href="https://{domain}/{issue}/{place}">{headline}</a></h2><p>{teaser}</p>'
        for place, (headline, teaser) in enumerate(zip(picked, said, strict=True))
    )
    page = (
        f'<html><head><style>h2 {{color:#345}}</style></head><body><div style="display:none">{said[0]}{_INVISIBLE * 20}'
        f"</div><h1>{name}</h1><p>No. {issue}</p>{blocks}"
        f'<p><small>{OWNER.address} · <a href="{leave}">unsubscribe</a></small></p></body></html>'
    )
    plain = "\n\n".join(f"* {headline}\n  {teaser}" for headline, teaser in zip(picked, said, strict=True))
    rich = text(page, subtype="html", encoding=rng.choice(("quoted-printable", "base64")))
    content = (
        rich
        if rng.random() < 0.5
        else multipart(rng, "alternative", text(f"{name} {issue}\n\n{plain}\n\n{leave}\n"), rich)
    )
    extra = [("List-Id", f"<news.{domain}>"), ("List-Unsubscribe", f"<{leave}>"), ("Precedence", "bulk")]
    subject = f"{picked[0]} · {name} {issue}" if rng.random() < 0.6 else picked[0]
    raw = mail(rng, when, content, subject=subject, sender=Person(name, address), extra=extra)
    return SampleMail(raw, "newsletter", is_important=False, is_spam=False)


#: Invoices: sender, address, subject, body, what it is for. {number} {total} {due} {thing}
_BILLS: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    (
        "Harbour Electric",
        "billing@harbourelectric.example",
        "Your invoice {number} is due on {due}",
        (
            "Dear Robin Sample,\n\nattached is invoice {number} for {thing}.\n\n    Amount due:  {total} EUR\n"
            "    Payable by:  {due}\n\nPlease quote the invoice number with your payment.\n\nHarbour Electric\n"
        ),
        ("electricity, second quarter", "the meter exchange", "electricity, winter tariff"),
    ),
    (
        "Steuerbüro Sommer",
        "rechnung@steuerbuero.example",
        "Rechnung {number}, fällig am {due}",
        (
            "Sehr geehrte Damen und Herren,\n\nanbei unsere Rechnung {number} für {thing}.\n\n    Betrag: {total} EUR\n"
            "    Zahlbar bis: {due}\n\nMit freundlichen Grüßen\nSteuerbüro Sommer\n"
        ),
        ("die Lohnbuchhaltung", "den Jahresabschluß", "Beratung im Mai"),
    ),
    (
        "Atelier Peinture Lumière",
        "compta@lumiere.example",
        "Facture {number} : échéance le {due}",
        (
            "Bonjour,\n\nvous trouverez ci-joint la facture {number} pour {thing}.\n\n    Montant dû : {total} EUR\n"
            "    À régler avant le : {due}\n\nCordialement,\nAtelier Lumière\n"
        ),
        ("la peinture du couloir", "la restauration d'un cadre", "deux journées de travaux"),
    ),
    (
        "Northway Dental",
        "accounts@northwaydental.example",
        "Reminder: invoice {number} is overdue, please pay by {due}",
        (
            "Dear patient,\n\nyour payment of EUR {total} for {thing} (invoice {number}) has not arrived yet.\n"
            "Please settle it by {due} to avoid a late fee.\n\nNorthway Dental\n"
        ),
        ("the check-up", "one filling", "the yearly cleaning"),
    ),
)


def invoice(rng: Random, when: datetime) -> SampleMail:
    """To be paid by a date, with the PDF attached."""
    name, address, subject, body, things = rng.choice(_BILLS)
    fill = {
        "number": f"{when.year}-{rng.randrange(100, 9999):04d}",
        "total": _amount(rng, 900),
        "due": f"{when + timedelta(days=rng.choice((7, 14, 30))):%d.%m.%Y}",
        "thing": rng.choice(things),
    }
    charset = rng.choice(("utf-8", "iso-8859-1", "windows-1252"))
    content = multipart(rng, "mixed", text(body.format(**fill), charset=charset), attachment(f"{fill['number']}.pdf"))
    raw = mail(rng, when, content, subject=subject.format(**fill), sender=Person(name, address), charset=charset)
    return SampleMail(raw, "invoice", is_important=True, is_spam=False)


#: Receipts: shop, address, subject, thanks, "Total", goods.
_SHOPS: tuple[tuple[str, str, str, str, str, tuple[str, ...]], ...] = (
    (
        "Paper & Ink",
        "orders@paperandink.example",
        "Order {number} confirmed",
        "Thank you for your order. It has been paid by card; there is nothing more to do.",
        "Total",
        ("Notebook A5, dotted", "Fountain pen, fine", "Ink, midnight blue", "Envelopes, 50"),
    ),
    (
        "Buchladen am Eck",
        "shop@buchladen.example",
        "Ihre Bestellung {number}: Zahlungseingang bestätigt",
        "Vielen Dank für Ihren Einkauf. Die Zahlung ist eingegangen, die Bücher sind unterwegs.",
        "Summe",
        ("Reiseführer Böhmen", "Kochbuch Suppen", "Krimi, Taschenbuch", "Wandkalender"),
    ),
    (
        "Verte Épicerie",
        "commande@epicerie.example",
        "Confirmation de votre commande {number}",
        "Merci pour votre achat ! Votre paiement a bien été reçu.",
        "Total",
        ("Café moulu, 500 g", "Miel d'été", "Pâtes fraîches", "Thé fumé"),
    ),
    (
        "Tren y Vía",
        "billetes@trenyvia.example",
        "Billetes comprados: localizador {number}",
        "Gracias por su compra. Lleve los billetes en el móvil o impresos.",
        "Total",
        ("Ida, coche 4, plaza 12A", "Vuelta, coche 7, plaza 3C", "Bicicleta", "Seguro de anulación"),
    ),
)


def receipt(rng: Random, when: datetime) -> SampleMail:
    """Paid and done: a table in HTML, sometimes in plain text."""
    name, address, subject, thanks, total, goods = rng.choice(_SHOPS)
    number = f"{rng.choice('ABKR')}{rng.randrange(10_000, 99_999)}"
    lines = [(thing, _amount(rng, 60)) for thing in rng.sample(goods, rng.randint(1, 3))]
    lines.append((total, f"{sum(float(price) for _, price in lines):.2f}"))
    plain = f"{thanks}\n\n" + "".join(f"  {thing:<32}{price:>9}\n" for thing, price in lines) + f"\n{name}\n"
    rows = "".join(f"<tr><td>{thing}</td><td align=right>{price}</td></tr>" for thing, price in lines)
    rich = text(f"<html><body><p>{thanks}</p><table border=0>{rows}</table><p>{name}</p></body></html>", subtype="html")
    content = rng.choice((rich, text(plain), multipart(rng, "alternative", text(plain), rich)))
    raw = mail(rng, when, content, subject=subject.format(number=number), sender=Person(name, address))
    return SampleMail(raw, "receipt", is_important=False, is_spam=False)


#: Notifications: sender, address, subject, body. {number} {ok} {place}
_MACHINES: tuple[tuple[str, str, str, str], ...] = (
    (
        "Build Robot",
        "noreply@ci.example.org",
        "Build #{number} {ok}",
        "Build #{number} of kettle/main {ok} after {place} minutes.\nhttps://ci.example.org/kettle/{number}\n",
    ),
    (
        "Backup",
        "root@nas.example.org",
        "Backup of nas finished: {number} files",
        "Files: {number}\nErrors: 0\nDuration: {place} min\nNext run: tomorrow 03:00\n",
    ),
    (
        "Photo Circle",
        "notify@photocircle.example",
        "{place} people liked your photo",
        "Your photo DSC_{number} was liked by {place} people.\nSee it: https://photocircle.example/p/{number}\n",
    ),
    (
        "Parcel Post",
        "no-reply@parcelpost.example",
        "Your parcel {number} is on its way",
        "Parcel {number} left our depot, it arrives in {place} days.\nThere is nothing to sign.\n",
    ),
    (
        "Stadtbibliothek",
        "noreply@bibliothek.example",
        "Ihre Vormerkung liegt bereit",
        "Medium Nr. {number} liegt {place} Tage lang für Sie bereit.\nDies ist eine automatische Nachricht.\n",
    ),
    (
        "Issue Tracker",
        "tracker@code.example.org",
        "[kettle] #{number}: label changed",
        "The label of #{number} was changed from 'new' to 'planned'.\nYou get this because you watch the project.\n",
    ),
)


def notification(rng: Random, when: datetime) -> SampleMail:
    """An automatic message (RFC 3834) that needs no answer."""
    name, address, subject, body = rng.choice(_MACHINES)
    ok = rng.choice(("passed", "passed", "was skipped"))
    fill = {"number": str(rng.randrange(1_000, 99_999)), "ok": ok, "place": str(rng.randrange(2, 19))}
    raw = mail(
        rng,
        when,
        text(body.format(**fill)),
        subject=subject.format(**fill),
        sender=Person(name, address),
        extra=[("Auto-Submitted", "auto-generated")],
    )
    return SampleMail(raw, "notification", is_important=False, is_spam=False)


_MEETINGS = ("Weekly round", "Stammtisch", "Réunion de chantier", "Choir rehearsal", "Book club", "Parents' evening")
_HOSTS = (Person("Lena Brook", "lena.brook@example.com"), Person("Jürgen Müller-Weiß", "juergen@example.net"))


def calendar(rng: Random, when: datetime) -> SampleMail:
    """An invitation with its text/calendar part, or an absence note."""
    host = rng.choice(_HOSTS)
    if rng.random() < 0.35:
        back = when + timedelta(days=rng.randint(3, 20))
        raw = mail(
            rng,
            when,
            text(f"I am away until {back:%d %B %Y} and will read my mail after that.\n\n{host.name}\n"),
            subject=f"Out of office until {back:%d %b}",
            sender=host,
            extra=[("Auto-Submitted", "auto-replied"), ("Precedence", "junk")],
        )
        return SampleMail(raw, "calendar", is_important=False, is_spam=False)
    start = when + timedelta(days=rng.randint(2, 12))
    title = rng.choice(_MEETINGS)
    event = (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:PUBLISH\r\nBEGIN:VEVENT\r\n"
        f"UID:{rng.getrandbits(48):x}@example.com\r\nDTSTAMP:{when:%Y%m%dT%H%M%SZ}\r\nDTSTART:{start:%Y%m%dT180000Z}\r\n"
        f"SUMMARY:{title}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    content = multipart(
        rng,
        "alternative",
        text(f"{title}\n{start:%A %d %B %Y}, 18:00\n\nThis event was added to your calendar.\n"),
        text(event, subtype="calendar; method=PUBLISH"),
    )
    raw = mail(
        rng,
        when,
        content,
        subject=f"Added to your calendar: {title}, {start:%d %b}",
        sender=host,
        extra=[("Auto-Submitted", "auto-generated")],
    )
    return SampleMail(raw, "calendar", is_important=False, is_spam=False)


def _amount(rng: Random, most: int) -> str:
    return f"{rng.randrange(300, most * 100) / 100:.2f}"
