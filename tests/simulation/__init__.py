"""Whole providers and engines in one process, on a log, a clock and a chance that repeat."""
