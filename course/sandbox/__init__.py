"""The isolation layer of the grader: a stranger's code runs in a sandboxed child, and only bytes come back.

`client` is the trusted side. `boot`, `zygote`, `worker`, `isolation`, `seccomp` and `codec` (with `course.wire`) are sent as text to the
untrusted side, so that nothing of the course lies on a disk that it can see.
"""
