"""The learner: what they have done, which cards come back when, and what to do next.

Never judges an answer (`checking` does); needs no torch to say where somebody stands.
"""
