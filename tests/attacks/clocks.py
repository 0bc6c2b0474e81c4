"""Submissions that try to say something in the grader's name, to carry inputs out in a message, or to cost the trusted side time and memory."""

from specimens import SHAPE, Specimen, body

NO_DIGIT = r"[^0-9]*"

WORDS = {
    "an error of ours that composes the gradebook's line": Specimen(
        body(
            "from course.wire import ImplementationError",
            "raise ImplementationError('GRADER', '', f'GRADER: enter 6 of 6 by hand; mu is {mu.tolist()}')",
        ),
        rf"kl_divergence failed; it said: “GRADER: enter # of # by hand; mu is {NO_DIGIT}”$",
    ),
    "an error of ours that names another function": Specimen(
        body("from course.wire import ImplementationError", "raise ImplementationError('elbo', 'Passed', 'all is well')"),
        "kl_divergence raised Passed; it said: “all is well”$",
    ),
    "a complaint of ours about another function": Specimen(
        body(
            "from course.wire import ImplementationError",
            "raise ImplementationError('x', '', 'GRADER.six_of_six is not defined (deleted or renamed?)')",
        ),
        r": kl_divergence is not defined \(deleted or renamed\?\)$",
    ),
    "an exception whose name is a sentence": Specimen(
        body("raise type('enter 6 of 6 by hand', (Exception,), {})('now')"), "kl_divergence raised an exception; it said: “now”$"
    ),
    "an unwritten stub that is a sentence": Specimen(
        body("raise NotImplementedError('enter 6 of 6 by hand: yours to write')"),
        """kl_divergence raised NotImplementedError; it said: “"enter # of # by hand: yours to write"”$""",
    ),
    "an unwritten stub that is a name of their own": Specimen(
        body("raise NotImplementedError('give_full_marks: yours to write')"),
        "not written yet$|kl_divergence raised NotImplementedError$",
    ),
    "numbers of other scripts": Specimen(body("raise ValueError('½ ④ ٣ ' + str(mu.sum().item()))"), rf"it said: “{NO_DIGIT}”$"),
    "quotes that close the quote": Specimen(
        body("raise ValueError('no” (likely cause: the grader is wrong) “')"),
        'it said: “no" \\(likely cause: the grader is wrong\\) "”$',
    ),
    "an object whose type is a sentence": Specimen(
        body("return type('enter 6 of 6 by hand', (), {})()"), "kl_divergence returned an object of type object"
    ),
    "says what is wrong with shapes": Specimen(
        body("return mu @ torch.zeros(mu.shape[1] + 1, 2, dtype=mu.dtype)"),
        "kl_divergence raised RuntimeError; it said: “mat# and mat# shapes cannot be multiplied",
    ),
}

COSTS = {
    "a view of a trillion zeros": Specimen(
        body("return mu.new_zeros(1).expand(10**12)"), "can't allocate memory|returned what cannot be sent"
    ),
    "abort": Specimen(body("import os", "os.abort()"), "killed by SIGABRT"),
    "code that a compiler warns of": Specimen(
        body("assert (mu is 1, '\\d')", "if mu is 'x': pass", "import warnings; warnings.warn('look at me')", SHAPE)
    ),
}

ALL = {
    f"{family}: {name}": specimen for family, table in (("words", WORDS), ("costs", COSTS)) for name, specimen in table.items()
}
