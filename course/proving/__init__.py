"""What is proven of a unit, and kept as a record: mutants killed, right answers accepted, wrong ones rejected, gates held.

Never writes what people read (`authoring` does), and never looks at a learner's answer.
"""
