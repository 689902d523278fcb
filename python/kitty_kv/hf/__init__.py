"""The Transformers plug-in; the only package that imports transformers."""
