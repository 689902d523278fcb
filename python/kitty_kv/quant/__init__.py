"""The codec: what a 2-bit page of keys or values is. Source: arXiv 2511.18643 section 4 and the project's contract."""

from kitty_kernels.dequantize.api import PackedKeys, PackedValues, key_codes, value_codes

from .codec import (
    check_packable,
    dequantize_keys,
    dequantize_values,
    pack_key_pages,
    pack_value_pages,
    quantize_keys,
    quantize_values,
)

__all__ = [
    "PackedKeys",
    "PackedValues",
    "check_packable",
    "dequantize_keys",
    "dequantize_values",
    "key_codes",
    "pack_key_pages",
    "pack_value_pages",
    "quantize_keys",
    "quantize_values",
    "value_codes",
]
