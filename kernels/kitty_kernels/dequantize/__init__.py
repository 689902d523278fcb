"""Packed pages back to numbers."""
