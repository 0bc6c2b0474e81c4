"""Grading strangers' notebooks: found as data, run in a sandbox, judged outside of it. Read `grader.py` first."""
