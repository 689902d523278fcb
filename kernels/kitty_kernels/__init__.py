"""Operations of the 2-bit KV cache, one folder each: ``api`` (checks, dispatch), ``reference`` (plain torch, the specification).

Depends on torch alone; importing it never imports triton.
"""
