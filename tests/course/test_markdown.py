from course.authoring.markdown import table
from course.authoring.maths import markdown


def test_table_is_a_table_to_a_parser():
    text = "\n".join(table(["unit", "score"], [["`a`", 1], ["b", "—"]], right=["score"]))
    tokens = markdown().parse(text)
    assert [token.type for token in tokens].count("tr_open") == 3, "a head and two rows"
    assert [token.content for token in tokens if token.type == "inline"] == ["unit", "score", "`a`", "1", "b", "—"]
    styles = [token.attrGet("style") for token in tokens if token.type == "td_open"]
    assert styles == [None, "text-align:right", None, "text-align:right"]
