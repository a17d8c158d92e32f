"""Measures a classifier on labelled mail. Writes nothing.

`labels` finds the mails and their labels, `judge` asks the classifier, `agreement` compares both.
"""
