"""Grading strangers' notebooks: found as data, run in a sandbox, judged outside of it. Read `grader.py` first.

Never runs a stranger's code in this process, and never loses a result.
"""
