"""Correct, GPU-capable reference systems. Each module reads top to bottom like an annotated paper."""

import os

# Idle OpenMP workers must sleep, not spin: on a shared CPU spinning makes small matmuls up to ten times slower.
# The runtime reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
