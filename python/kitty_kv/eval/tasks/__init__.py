"""Generators of questions, one a file; ``offline.py`` lists them."""
