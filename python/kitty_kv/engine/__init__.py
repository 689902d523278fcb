"""Runs generations: sampling, incremental text, stop strings, and one thread that steps all of them together."""
