"""What tests of the engine share."""

from __future__ import annotations

import pathlib
import sys

# pytest imports test files without putting their folder on the path.
sys.path.insert(0, str(pathlib.Path(__file__).parent))
