"""The benchmark: how fast, how large and how quick to start, against what the same machine can do bare.

A script, no test: it asserts nothing about time. `python -m tests.bench --help`, or `make bench`.
"""
