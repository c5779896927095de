"""`make demo`: the whole product in front of a real model, in one terminal.

Run with the product's own interpreter: `.venv/bin/python docs/demo/run.py [--duration N]`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from docs.demo.story import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
