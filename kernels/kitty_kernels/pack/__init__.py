"""16-bit keys and values to packed 2-bit pages."""
