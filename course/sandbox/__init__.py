"""The isolation layer of the grader: a stranger's code runs in a sandboxed child, and only bytes come back. The trusted side is `client`
(zygotes of units), `root` (what they are forked from), `session` (one child), `wires`, `words` and `host`. Sent as text to the untrusted
side are `boot`, `alone`, `zygote`, `worker`, `cells`, `isolation`, `kernel`, `probing`, `seccomp`, `terms` and `codec`, and
`course.guard`, `course.wire` and `course.executor`.

Never lays anything of the course on a disk that a child can see, and never believes what a child says.
"""
