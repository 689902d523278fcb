"""Operations of the 2-bit KV cache, one folder each.

``api`` checks and dispatches, ``reference`` is plain torch and the specification.
Depends on torch alone; importing it never imports triton.
"""
