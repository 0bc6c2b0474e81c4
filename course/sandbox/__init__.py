"""The isolation layer of the grader: a stranger's code runs in a sandboxed child, and only bytes come back. `client` is the trusted side;
`boot`, `zygote`, `worker`, `isolation`, `seccomp` and `codec` (with `course.wire`) are sent as text to the untrusted side.

Never lays anything of the course on a disk that a child can see, and never believes what a child says.
"""
