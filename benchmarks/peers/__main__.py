"""Start the command. Before torch and tqdm are imported: idle threads sleep, so that they cost no processor time, and no package draws a bar."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TQDM_DISABLE", "1")

from benchmarks.peers.command import main

if __name__ == "__main__":
    main()
