"""The rules of the `heuristic` classifier, as data: which signs speak for importance and which for spam.

A sign is a phrase group (`PHRASES`, in several languages) or a fact (`heuristic.FACTS`); a rule adds its two amounts
when every sign it names is there. Changing anything on this page changes the classifier's fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """When all of `when` hold, the amounts are added. "not x" holds when the sign x is absent."""

    name: str
    importance: int
    spam: int
    when: tuple[str, ...]


BASE_IMPORTANCE: Final = 3
BASE_SPAM: Final = 0
#: Whatever a mail says of itself, importance falls by as much as spam exceeds this.
TOLERATED_SPAM: Final = 3

RULES: Final = (
    # who sent it, and how
    Rule("bulk", -2, 0, ("bulk",)),
    Rule("automatic", -1, 0, ("automatic", "not invoice", "not appointment", "not security")),
    Rule("no-reply-sender", -1, 0, ("no_reply_sender", "not invoice", "not appointment", "not security")),
    Rule("marked-spam", -2, 5, ("marked_spam",)),
    Rule("dmarc-fail", -1, 3, ("dmarc_fail", "not list")),
    Rule("authentication-fail", 0, 2, ("other_auth_fail", "not dmarc_fail", "not auth_pass", "not list")),
    Rule("reply-elsewhere", 0, 2, ("reply_to_elsewhere", "not list", "not bulk")),
    Rule("borrowed-name", -2, 4, ("borrowed_brand", "not list")),
    Rule("address-as-name", -1, 3, ("other_address_in_name",)),
    Rule("no-recipient", 0, 1, ("no_recipient", "not list")),
    Rule("odd-sender-domain", 0, 1, ("odd_sender_domain",)),
    # to whom
    Rule(
        "direct",
        2,
        -1,
        ("to_owner", "few_recipients", "not bulk", "not automatic", "not no_reply_sender", "not dmarc_fail"),
    ),
    Rule("not-to-owner", -1, 0, ("not_to_owner", "not list")),
    Rule("many-recipients", -1, 0, ("many_recipients",)),
    Rule("reply", 2, -2, ("reply", "not bulk")),
    Rule("false-reply", 0, 2, ("re_subject", "not reply", "not list", "not personal")),
    # what it wants of the owner
    Rule("question", 1, 0, ("question", "few_recipients", "not bulk", "not automatic", "not no_reply_sender")),
    Rule("request", 1, 0, ("request", "few_recipients", "not bulk", "not automatic", "not no_reply_sender")),
    Rule("urgent-request", 1, 0, ("urgency", "to_owner", "few_recipients", "not bulk", "not link", "not dmarc_fail")),
    Rule("deadline", 2, 0, ("deadline", "not bulk")),
    Rule("invoice", 3, 0, ("invoice", "not bulk")),
    Rule("amount", 1, 0, ("amount", "invoice", "not bulk")),
    Rule("appointment", 2, 0, ("appointment", "not bulk")),
    Rule("invitation", 2, 0, ("calendar_attachment", "not bulk")),
    Rule("official", 2, 0, ("official", "not bulk")),
    Rule("security-notice", 2, 0, ("security", "auth_pass", "not link", "not bulk")),
    Rule("personal", 1, -1, ("personal", "not bulk")),
    Rule("document", 1, 0, ("document_attachment", "not bulk", "not money_bait")),
    # what it sells, and how it lies
    Rule("offer", -1, 1, ("offer",)),
    Rule("unasked-offer", 0, 3, ("offer", "not bulk", "not reply", "not auth_pass")),
    Rule("sales-pitch", -2, 3, ("sales_pitch", "not reply")),
    Rule("winnings", -3, 6, ("winnings",)),
    Rule("money-bait", -2, 5, ("money_bait",)),
    Rule("crypto-bait", -2, 3, ("crypto",)),
    Rule("crypto-profit", -1, 3, ("crypto", "profit")),
    Rule("profit", -2, 3, ("profit",)),
    Rule("pills", -3, 6, ("pills",)),
    Rule("adult", -3, 5, ("adult",)),
    Rule("gambling", -2, 4, ("gambling",)),
    Rule("loan", -2, 3, ("loan",)),
    Rule("extortion", -2, 6, ("extortion",)),
    Rule("phishing", -3, 4, ("urgency", "credentials")),
    Rule("parcel-bait", -1, 3, ("parcel", "link", "not auth_pass")),
    Rule("phishing-link", -1, 2, ("credentials", "link", "not auth_pass")),
    Rule("credentials", 0, 1, ("credentials",)),
    Rule("gift-cards", -2, 5, ("gift_cards", "not bulk")),
    Rule("new-bank-account", -1, 4, ("new_bank_account", "reply_to_elsewhere")),
    Rule("urgency", 0, 1, ("urgency", "not reply")),
    Rule("misleading-link", -2, 4, ("misleading_link",)),
    Rule("numeric-link", -1, 3, ("numeric_link",)),
    Rule("odd-link", 0, 2, ("odd_link",)),
    Rule("short-link", 0, 1, ("short_link", "not bulk")),
    Rule("bare-link", -1, 2, ("bare_link", "not reply", "not auth_pass")),
    Rule("dangerous-attachment", -1, 5, ("dangerous_attachment",)),
    Rule("web-page-attached", 0, 3, ("page_attachment", "not reply")),
    Rule("shouting", -1, 1, ("shouting",)),
    Rule("exclamations", -1, 1, ("exclamations",)),
    Rule("mixed-scripts", -1, 3, ("mixed_scripts",)),
    Rule("empty", -1, 0, ("empty",)),
    # text that speaks to the judge instead of the owner
    Rule("forged-scores", -5, 6, ("forged_scores",)),
    Rule("score-named", -3, 4, ("score_named",)),
    Rule("orders-to-the-judge", -5, 6, ("orders",)),
)

#: Whole words or phrases; case, accents and punctuation do not matter. One line a language: en, de, fr, es, it, ru.
PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "deadline": (
        "deadline", "due by", "due on", "is due", "by tomorrow", "by monday", "by tuesday", "by wednesday",
        "by thursday", "by friday", "by the end of the week", "end of business", "no later than", "overdue",
        "respond by",
        "frist", "faellig", "fällig", "bis morgen", "bis montag", "bis mittwoch", "bis freitag", "spätestens",
        "mahnung",
        "date limite", "au plus tard", "avant vendredi", "avant lundi", "échéance", "d ici vendredi", "d ici demain",
        "fecha límite", "a más tardar", "antes del viernes", "antes del lunes", "vencimiento", "vence el",
        "scadenza", "entro venerdì", "entro lunedì", "entro domani", "entro il", "al più tardi",
        "крайний срок", "до пятницы", "до понедельника", "до завтра", "не позднее", "срок оплаты", "дедлайн",
    ),
    "invoice": (
        "invoice", "payment due", "amount due", "your bill", "receipt for", "payment reminder", "bank statement",
        "rechnung", "zahlungserinnerung", "kontoauszug", "zahlbetrag", "offener betrag",
        "facture", "montant dû", "rappel de paiement", "relevé de compte", "quittance",
        "factura", "importe pendiente", "recibo de", "extracto de cuenta",
        "fattura", "importo dovuto", "sollecito di pagamento", "bolletta", "estratto conto",
        "счет на оплату", "счёт на оплату", "счет фактура", "квитанция", "к оплате",
    ),
    "appointment": (
        "appointment", "meeting", "interview", "reschedule", "your booking", "your flight", "itinerary",
        "check in for",
        "termin", "besprechung", "vorstellungsgespräch", "ihre buchung", "ihr flug", "terminverschiebung",
        "rendez vous", "réunion", "entretien", "votre réservation", "votre vol",
        "reunión", "su cita", "entrevista", "su reserva", "su vuelo",
        "appuntamento", "riunione", "colloquio", "la tua prenotazione", "il tuo volo",
        "встреча", "встречу", "собеседование", "ваше бронирование", "ваш рейс", "прием у врача",
    ),
    "official": (
        "contract", "lawyer", "court", "tax office", "tax return", "insurance claim", "test results", "diagnosis",
        "hospital", "funeral", "landlord", "tenancy", "notice of termination", "school", "visa application",
        "passport",
        "vertrag", "anwalt", "gericht", "finanzamt", "steuererklärung", "befund", "krankenhaus", "beerdigung",
        "kündigung",
        "vermieter", "mietvertrag", "reisepass", "schule", "krankenkasse",
        "contrat", "avocat", "tribunal", "impôts", "résultats d analyse", "hôpital", "obsèques", "bail", "passeport",
        "contrato", "abogado", "juzgado", "hacienda", "resultados médicos", "hospital", "pasaporte", "alquiler",
        "contratto", "avvocato", "tribunale", "agenzia delle entrate", "referto", "ospedale", "passaporto", "affitto",
        "договор", "адвокат", "суд", "налоговая", "результаты анализов", "больница", "похороны", "паспорт", "школа",
    ),
    "request": (
        "could you", "can you", "would you", "please send", "please confirm", "please let me know", "let me know",
        "what do you think", "waiting for your", "need your", "your answer", "your reply", "question about",
        "please sign", "please review", "get back to me",
        "könntest du", "könnten sie", "kannst du", "können sie", "bitte bestätigen", "sag bescheid",
        "gib mir bescheid",
        "deine antwort", "ihre antwort", "frage zu", "was meinst du", "bitte unterschreiben", "bitte schick",
        "melde dich",
        "pourrais tu", "pourriez vous", "peux tu", "pouvez vous", "merci de confirmer", "dis moi",
        "qu en penses tu", "ta réponse", "votre réponse",
        "podrías", "podría usted", "puedes", "por favor confirma", "avísame", "qué te parece", "dime si",
        "tu respuesta", "su respuesta",
        "tua risposta", "sua risposta", "potresti", "potrebbe", "puoi", "fammi sapere", "cosa ne pensi",
        "per favore conferma", "mi faccia sapere",
        "не могли бы", "можешь", "можете", "пожалуйста подтвердите", "дай знать", "что думаешь", "сообщите",
        "твой ответ", "ваш ответ",
    ),
    "personal": (
        "how are you", "see you", "miss you", "love you", "happy birthday", "mum and dad", "mom and dad", "grandma",
        "hugs", "dinner at", "the kids", "thanks for yesterday", "good to see you", "congratulations on your",
        "wie geht", "liebe grüße", "alles gute zum geburtstag", "bis bald", "mama und papa", "oma", "hab dich lieb",
        "comment vas tu", "ça va", "bisous", "joyeux anniversaire", "à bientôt", "maman", "mamie",
        "cómo estás", "besos", "abrazos", "feliz cumpleaños", "hasta pronto", "mamá", "abuela",
        "come stai", "baci", "un abbraccio", "buon compleanno", "a presto", "mamma", "nonna",
        "как дела", "целую", "обнимаю", "с днем рождения", "до встречи", "мама", "бабушка",
    ),
    "security": (
        "new sign in", "new login", "security alert", "password was changed", "unusual activity", "recovery email",
        "neue anmeldung", "sicherheitswarnung", "passwort wurde geändert", "nouvelle connexion", "alerte de sécurité",
        "nuevo inicio de sesión", "alerta de seguridad", "nuovo accesso", "avviso di sicurezza",
        "новый вход", "пароль был изменен",
    ),
    "urgency": (
        "urgent", "urgently", "immediately", "act now", "within 24 hours", "within 48 hours", "final notice",
        "last warning", "expires today", "will be suspended", "has been suspended", "will be closed",
        "has been limited",
        "has been locked", "will be deactivated", "immediate action", "as soon as possible",
        "dringend", "sofort", "umgehend", "innerhalb von 24 stunden", "letzte warnung", "wird gesperrt",
        "wurde gesperrt",
        "wird geschlossen", "wurde eingeschränkt", "letzte mahnung",
        "urgence", "immédiatement", "sous 24 heures", "dernier avertissement", "sera suspendu", "a été suspendu",
        "urgente", "inmediatamente", "en 24 horas", "último aviso", "será suspendida", "ha sido suspendida",
        "immediatamente", "entro 24 ore", "ultimo avviso", "verrà sospeso", "è stato sospeso", "è stato bloccato",
        "срочно", "немедленно", "в течение 24 часов", "последнее предупреждение", "будет заблокирован",
        "заблокирована",
    ),
    "credentials": (
        "verify your account", "confirm your account", "your password", "verify your identity",
        "confirm your identity",
        "update your payment", "update your billing", "login details", "credit card number", "verify your email",
        "verify your information", "account information", "sign in to restore", "mailbox is full", "storage is full",
        "konto bestätigen", "konto verifizieren", "ihr passwort", "ihre identität", "zugangsdaten", "anmeldedaten",
        "zahlungsdaten aktualisieren", "kreditkartennummer", "ihre daten bestätigen",
        "vérifier votre compte", "confirmer votre compte", "votre mot de passe", "votre identité", "vos identifiants",
        "coordonnées bancaires", "mettre à jour vos",
        "verifique su cuenta", "verificar su cuenta", "confirme su cuenta", "su contraseña", "confirme sus datos",
        "datos bancarios", "tarjeta de crédito",
        "verifica il tuo account", "verificare il suo conto", "la tua password", "dati di accesso",
        "conferma i tuoi dati",
        "carta di credito",
        "подтвердите аккаунт", "подтвердите учетную запись", "ваш пароль", "данные карты", "подтвердите личность",
    ),
    "parcel": (
        "your parcel", "your package", "customs fee", "held at customs", "delivery failed", "redelivery fee",
        "ihr paket", "zollgebühr", "zustellung fehlgeschlagen", "votre colis", "frais de douane", "su paquete",
        "gastos de aduana", "il tuo pacco", "spese doganali", "ваша посылка", "таможенный сбор",
    ),
    "winnings": (
        "you have won", "you ve won", "lottery", "prize winner", "claim your prize", "lucky winner", "jackpot winner",
        "you have been selected to receive", "congratulations you have been selected",
        "sie haben gewonnen", "lotterie", "ihr gewinn wartet", "gewinner ausgewählt",
        "vous avez gagné", "loterie", "gagnant du tirage", "ha ganado", "has ganado", "lotería", "reclame su premio",
        "hai vinto", "ha vinto", "lotteria", "ritira il premio",
        "вы выиграли", "лотерея", "лотерее", "ваш выигрыш", "заберите приз",
    ),
    "money_bait": (
        "million dollars", "million usd", "million euros", "next of kin", "inheritance fund", "beneficiary",
        "wire transfer of",
        "consignment box", "late client", "unclaimed funds", "god bless you", "compensation fund",
        "transfer of funds",
        "millionen euro", "millionen dollar", "erbschaft von", "nachlass von", "millions d euros", "héritage de",
        "millones de dólares", "millones de euros", "herencia de", "milioni di euro", "milioni di dollari",
        "eredità di",
        "миллионов долларов", "миллиона долларов", "наследство",
    ),
    "crypto": (
        "bitcoin", "btc", "ethereum", "crypto", "cryptocurrency", "airdrop", "usdt", "wallet seed", "seed phrase",
        "nft",
        "kryptowährung", "cryptomonnaie", "criptomoneda", "criptomonedas", "criptovaluta", "criptovalute",
        "биткоин", "криптовалюта", "криптовалюты",
    ),
    "profit": (
        "guaranteed profit", "double your", "financial freedom", "passive income", "earn money", "make money",
        "get rich",
        "work from home", "risk free", "100 percent free", "return on investment guaranteed", "extra income",
        "per day from home",
        "garantierter gewinn", "passives einkommen", "geld verdienen", "schnell reich", "von zuhause verdienen",
        "gagner de l argent", "revenu passif", "gains garantis", "gana dinero", "ganar dinero", "ingresos pasivos",
        "guadagna subito", "guadagnare da casa", "reddito passivo", "заработок", "пассивный доход",
        "заработать деньги",
    ),
    "pills": (
        "viagra", "v1agra", "cialis", "levitra", "xanax", "tramadol", "online pharmacy", "no prescription",
        "weight loss",
        "lose weight fast", "male enhancement", "enlargement", "potenzmittel", "abnehmen ohne", "ohne rezept",
        "sans ordonnance", "perdre du poids", "sin receta", "pierde peso", "adelgazar rápido",
        "senza ricetta", "perdere peso", "виагра", "похудеть", "без рецепта",
    ),
    "adult": (
        "hot singles", "sexy girls", "horny", "adult dating", "nude pics", "one night stand", "webcam girls", "xxx",
        "heiße singles", "sexkontakte", "rencontres coquines", "femmes célibataires", "chicas calientes",
        "citas calientes",
        "incontri hot", "ragazze sexy", "горячие девушки", "интим знакомства",
    ),
    "gambling": (
        "casino", "free spins", "online poker", "betting bonus", "slot machine", "freispiele", "spielautomaten",
        "tours gratuits", "tiradas gratis", "apuestas", "giri gratis", "scommesse", "казино", "фриспины",
        "ставки на спорт",
    ),
    "loan": (
        "pre approved loan", "instant loan", "loan offer", "no credit check", "consolidate your debt", "payday loan",
        "sofortkredit", "kredit ohne schufa", "crédit immédiat", "prêt rapide", "préstamo inmediato",
        "crédito rápido",
        "prestito immediato", "prestito veloce", "кредит без", "быстрый займ",
    ),
    "extortion": (
        "recorded you", "your webcam", "i have access to your device", "send the bitcoin", "your dirty",
        "compromising video",
        "ich habe sie gefilmt", "ihre webcam", "j ai piraté", "votre webcam", "he hackeado", "tu cámara web",
        "ho hackerato", "la tua webcam", "взломал ваш", "ваша веб камера",
    ),
    "gift_cards": (
        "gift card codes", "buy gift cards", "itunes cards", "steam cards", "purchase gift cards", "scratch the back",
        "geschenkkarten kaufen", "gutscheinkarten kaufen", "acheter des cartes cadeaux", "comprar tarjetas de regalo",
        "comprare buoni regalo", "купить подарочные карты",
    ),
    "new_bank_account": (
        "new bank details", "changed our bank", "new account number", "updated bank details", "neue bankverbindung",
        "geänderte bankverbindung", "nouveau rib", "nouvelles coordonnées bancaires", "nueva cuenta bancaria",
        "nuove coordinate bancarie", "новые реквизиты", "новые банковские реквизиты",
    ),
    "offer": (
        "limited time", "special offer", "exclusive deal", "buy now", "order now", "shop now", "percent off",
        "discount",
        "sale ends", "free shipping", "click here", "best price", "lowest price", "satisfaction guaranteed",
        "act fast",
        "sonderangebot", "rabatt", "jetzt kaufen", "jetzt bestellen", "nur heute", "gratis versand",
        "hier klicken", "gutschein",
        "offre spéciale", "offre limitée", "remise", "achetez maintenant", "livraison gratuite", "cliquez ici",
        "soldes",
        "oferta especial", "oferta limitada", "descuento", "compra ahora", "envío gratis", "haga clic", "rebajas",
        "offerta speciale", "offerta limitata", "sconto", "acquista ora", "spedizione gratuita", "clicca qui",
        "saldi",
        "скидка", "скидки", "специальное предложение", "купить сейчас", "бесплатная доставка", "нажмите здесь",
        "распродажа",
    ),
    "sales_pitch": (
        "seo services", "first page of google", "rank your website", "guest post", "web design services",
        "lead generation",
        "email list of", "quick call to discuss how we", "increase your traffic", "backlinks",
        "we are a leading manufacturer",
        "we are manufacturer", "suchmaschinenoptimierung für ihre", "erste seite bei google",
        "référencement de votre site",
        "posicionamiento web", "posizionamento sui motori", "продвижение сайтов", "база клиентов",
    ),
    "forged_scores": (
        "importance score", "importance_score", "spam score is", "spam_score", "importance 10", "importance 9",
        "spam 0",
        "importance is 10", "score this email", "score this mail", "mark this as important",
        "mark this email as important",
        "classify this email as", "classify this mail as", "not spam trust", "this is not spam",
        "wichtigkeit 10", "diese mail als wichtig", "kein spam bewerte", "importancia 10", "importanza 10",
        "важность 10",
    ),
    "orders": (
        "ignore previous instructions", "ignore all previous", "ignore the above", "ignore your instructions",
        "disregard previous", "disregard all previous", "disregard the above", "forget your instructions",
        "forget all previous", "new instructions for the ai", "you are an ai", "dear ai",
        "attention ai", "ai assistant must", "note to the classifier", "override your instructions",
        "ignoriere alle", "ignoriere die vorherigen", "vergiss alle anweisungen", "ignorez les instructions",
        "ignore les instructions",
        "ignora las instrucciones", "ignora todas las", "ignora le istruzioni", "ignora tutte le",
        "игнорируй предыдущие", "игнорируй все", "забудь все инструкции",
    ),
}  # fmt: skip

#: Names that deceivers borrow, as they stand in a display name and in the true owner's domain.
BRANDS: Final = (
    "paypal", "amazon", "apple", "microsoft", "netflix", "google", "facebook", "instagram", "whatsapp", "dhl",
    "fedex",
    "usps", "dpd", "ebay", "sparkasse", "postbank", "commerzbank",
    "wells fargo", "bank of america", "hsbc", "barclays", "bnp paribas", "la poste", "bbva", "santander", "correos",
    "poste italiane", "intesa sanpaolo", "unicredit", "sberbank", "сбербанк", "coinbase", "binance", "docusign",
    "linkedin",
    "dropbox", "spotify", "telekom", "vodafone",
)  # fmt: skip
