"""Why not just take a package? What a user would take instead, beside our references: `python -m benchmarks.peers`."""
