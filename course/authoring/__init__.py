"""What is made of the authored files and what they must be: the builder, the linter, mathematics and Markdown.

Never changes an authored file but between its own markers.
"""
