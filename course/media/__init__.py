"""Text, pictures, sound and video in and out of files, the converters at work on them, and what the data sets look like.

Never trains to prove anything (`proving` does).
"""
