"""The codec's arithmetic for kernels; ``pack/reference.py`` is its specification."""
