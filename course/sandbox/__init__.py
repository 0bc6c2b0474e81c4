"""The isolation layer of the grader: a stranger's code runs in a sandboxed child, and only bytes come back. The trusted side is `client`
(zygotes of units), `root` (what they are forked from), `session` (one child), `wires`, `words` and `host`; `boot`, `alone`, `zygote`,
`worker`, `cells`, `isolation`, `seccomp`, `terms` and `codec` (with `course.wire`) are sent as text to the untrusted side.

Never lays anything of the course on a disk that a child can see, and never believes what a child says.
"""
