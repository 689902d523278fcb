"""The bundled model: where it lies, and (in the modules beside this one) the recipe that made it.

Run the recipe with ``python -m kitty_kv.tiny.train --text FILE``. Importing this package loads neither torch nor tokenizers.
"""

from __future__ import annotations

from pathlib import Path

MODEL_PATH = Path(__file__).resolve().parent / "model"

__all__ = ["MODEL_PATH"]
