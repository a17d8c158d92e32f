"""Measures a classifier on labelled mail: reads the labels, asks the classifier, compares both. Writes nothing."""
