"""How an answer is judged on the machine of the person who wrote it: loaded, run by the unit's tests, told what is wrong and why.

Never protects against whoever wrote the answer (`sandbox` and `grading` do), and remembers nothing (`studying` does).
"""
