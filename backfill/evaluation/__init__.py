"""Measures a classifier on labelled mail. No verdict is kept.

`labels` finds the mails and their labels, `judge` asks the classifier, `agreement` compares both, `tables` shows the
figures.
"""
