"""The packed KV cache, without any model library: rows, pages, layers."""
