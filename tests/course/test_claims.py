"""Claims about the state of the field carry their month: in one form, not in the future, and looked at again after a year."""

import datetime

import pytest

from course.authoring.claims import bad_claims
from course.authoring.lint import complaints, old_claims
from course.units.catalogue import find_unit, find_units

TODAY = datetime.date(2026, 11, 28)


def said(root, text, name="page.md", today=TODAY):
    return [str(error) for error in bad_claims(root / name, text, root, today)]


@pytest.mark.parametrize(("name", "text"), [
    ("page.md", "The best one is X (as of 2026-11)."),
    ("page.md", "(as of 2020-01) and (as of 2026-10)"),
    ("page.md", "In code: `(as of now)`.\n\n```\n(as of 2099-01)\n```\n"),
    ("page.md", "The gain as of a filter; as often as in 2020; (the bias of 2019)."),
    ("page.zh.md", "目前最好的是 X（截至 2026-11）。"),
    ("page.zh.md", "截至报名结束。"),
])  # fmt: skip
def test_the_form(tmp_path, name, text):
    assert said(tmp_path, text, name) == []


@pytest.mark.parametrize(("name", "text", "expected"), [
    ("page.md", "X (as of 2026).", "page.md: a claim is dated '(as of 2026)'; the form is (as of 2026-11)"),
    ("page.md", "X (as of 2026-13).", "is dated '(as of 2026-13)'"),
    ("page.md", "X (as of 2026-1).", "is dated '(as of 2026-1)'"),
    ("page.md", "X (As of 2026-11).", "is dated '(As of 2026-11)'"),
    ("page.md", "X (as of today).", "is dated '(as of today)'"),
    ("page.md", "X, as of 2026-11.", "is dated 'as of 2026-11'"),
    ("page.md", "As of November 2026, X.", "is dated 'As of November 2026'"),
    ("page.md", "X（截至 2026-11）", "the form is (as of 2026-11)"),
    ("page.zh.md", "X（截至2026-11）", "page.zh.md: a claim is dated '（截至2026-11）'; the form is （截至 2026-11）"),
    ("page.zh.md", "X(截至 2026-11)", "is dated '(截至 2026-11)'"),
    ("page.zh.md", "截至 2026 年，X。", "is dated '截至 2026'"),
    ("page.md", "X (as of 2026-12).", "is dated (as of 2026-12), which is yet to come"),
    ("page.zh.md", "X（截至 2027-01）", "which is yet to come"),
])  # fmt: skip
def test_any_other_form_and_the_future_are_refused(tmp_path, name, text, expected):
    (message,) = said(tmp_path, text, name)
    assert expected in message


def test_a_claim_is_old_after_a_year_and_that_is_no_error(toy):
    for name, old, new in (
        ("questions/toy/sums.md", "Add them all.", "Add them all (as of 2025-11), in order (as of 2025-10)."),
        ("questions/toy/sums.zh.md", "全部相加。", "全部相加（截至 2024-01）。"),
        ("reference_impl/toy/sums.py", "Adding.", "Adding (as of 2025-12)."),
    ):
        text = (toy / name).read_text(encoding="utf-8")
        (toy / name).write_text(text.replace(old, new), encoding="utf-8")
    assert old_claims(find_units(toy), TODAY) == [
        "questions/toy/sums.md: a claim (as of 2025-10) is 13 months old; check it again and renew its month",
        "questions/toy/sums.zh.md: a claim （截至 2024-01） is 34 months old; check it again and renew its month",
    ]
    assert len(old_claims(find_units(toy), datetime.date(2026, 12, 1))) == 3
    assert complaints(find_unit("toy/sums", toy)) == []


def test_the_check_of_a_build_reports_them_and_passes(built, aigc):
    path = built / "questions/toy/sums.md"
    path.write_text(path.read_text(encoding="utf-8").replace("Add them all.", "Add them all (as of 2001-01)."), encoding="utf-8")
    status, out, err = aigc("build", "--check")
    assert status == 0 and "everything generated is up to date" in out
    assert err.startswith("note: questions/toy/sums.md: a claim (as of 2001-01) is ")
