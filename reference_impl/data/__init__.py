"""Data sets that need no download, one loader a file. `SOURCES.md` says where each comes from and under which licence."""
