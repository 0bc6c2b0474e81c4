"""The course's tools: find the units, build the notebooks, check and grade answers."""

import os

# Before anything imports torch: idle OpenMP workers sleep instead of spinning (see reference_impl/__init__.py).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
