"""What the sample mails say, and the makers that turn texts into mails: one file a kind of mail.

`letters` and `business` are wanted mail, `scams` is spam and phishing, `malformed` has broken mails, `unseen` the
mails of the second set. `tongue` is what a language needs for letters; `western` and `eastern` hold the languages.
"""
