"""New 16-bit keys and values into the rows' blocks."""
