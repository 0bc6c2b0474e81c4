"""What a unit is: found by its question, cut at its definitions, read from a notebook as data.

Never runs what it reads, and imports no torch.
"""
