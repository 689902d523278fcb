"""Attention of new tokens over the packed cache."""
