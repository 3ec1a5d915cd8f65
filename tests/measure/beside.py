"""Makes the helpers of the tests importable for the scripts of this folder: `import beside` before them."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[1:1] = [str(TESTS), *(str(p) for p in sorted(TESTS.iterdir()) if p.is_dir() and p.name != "measure")]
