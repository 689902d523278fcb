"""Evaluation over the packed cache: does a preset lose accuracy on this model, and what does it save?

``python -m kitty_kv.eval --help`` runs it. ``evaluator.py`` says how quantized pages come to be read. Importing this package
loads nothing.
"""
