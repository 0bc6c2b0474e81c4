"""The site: every link leads somewhere, nothing is asked of another host, and it works in a browser from a folder."""

import json
import os
import random
import re
import shutil
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import quickjs
from fsrs import Card, Rating, State
from IPython.display import Audio
from matplotlib.animation import FuncAnimation

from course.errors import CourseError
from course.site import pages as site_module
from course.site.html import Text, plain
from course.site.pages import LANGUAGES, build_site
from course.studying.cards import SCHEDULER, Flashcard, as_asked, due_count, due_date, flashcards, following, interval, is_due
from course.studying.cards import WORDS as CARD_WORDS
from course.studying.state import State as Learner
from course.units.catalogue import find_units
from course.units.order import learning_path, stages

ASSETS = site_module.ASSETS


class Page(HTMLParser):
    """What a page has: ids, links, what it loads, and its text outside of code."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads, self.text = [], [], [], ""
        self._open = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link", "img", "br", "hr", "input", "source"):
            self._open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            elif name == "href" and tag == "a":
                self.links.append(value)
            elif name in ("src", "href", "poster", "data", "srcset", "xlink:href") or (name == "style" and "url(" in value):
                self.loads.append(value)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" in self._open and re.search(r"url\(|@import", data):
            self.loads.append(data)
        if not {"script", "style", "pre", "code", "annotation"} & set(self._open):
            self.text += data


def check_pages(out):
    """Every page of a site: links that lead to files and places in them, and nothing loaded from elsewhere. The pages by path."""
    pages = {path: Page(path) for path in out.rglob("*.html")}
    for path, page in pages.items():
        name = path.relative_to(out)
        assert len(page.ids) == len(set(page.ids)), f"{name} has an id twice"
        for load in page.loads:
            assert load.startswith("data:") or (path.parent / load).is_file(), f"{name} would load {load[:80]}"
        for link in page.links:
            if link.startswith("https://"):
                continue  # a link that a reader may follow loads nothing by itself
            where, _, fragment = link.partition("#")
            target = Path(os.path.normpath(path.parent / unquote(where))) if where else path
            assert target in pages, f"{name} links to {link}"
            assert not fragment or fragment in pages[target].ids, f"{name} links to {link}"
    for path in out.rglob("*.css"):
        for load in re.findall(r"url\(['\"]?([^)'\"]*)", path.read_text(encoding="utf-8")):
            assert (path.parent / load).is_file(), f"{path.name} needs {load}"
    for path in (out / "assets").rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"(await|window\.|self\.|globalThis\.)\s*fetch\(|XMLHttpRequest|importScripts|sourceMappingURL|WebSocket|\bimport\(",
            text,
        ), path.name
    return {path.relative_to(out): page for path, page in pages.items()}


@pytest.fixture(scope="session")
def site(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "pages"
    build_site(root, out)
    return out


@pytest.fixture(scope="session")
def pages(site):
    return check_pages(site)


def test_every_link_of_the_course_leads_to_a_page(pages):
    assert sum(len(page.links) for page in pages.values()) > 2000


def test_both_languages_have_the_same_pages_and_sections(pages, root):
    english, chinese = (
        {path.relative_to(language): page for path, page in pages.items() if path.parts[0] == language} for language in LANGUAGES
    )
    assert english.keys() == chinese.keys()
    for path, page in english.items():
        sections = ({i for i in ids if "-" not in i} for ids in (page.ids, chinese[path].ids))
        assert len(set(map(frozenset, sections))) == 1, f"{path}: the switch cannot keep the section"
    questions = {path for path in (root / "questions").glob("*/*.md") if not path.name.endswith(".zh.md")}
    expected = {path.relative_to(root).with_suffix(".html") for path in questions}
    assert {path for path in english if path.parts[0] == "questions"} == expected
    assert {path.stem for path in english if path.parts[0] == "data"} == {
        "chinese_prose",
        "dates_and_amounts",
        "digits",
        "digits_in_company",
        "digits_in_motion",
        "free_spoken_digits",
        "python_docs",
        "sentiment",
    }


def test_a_question_leads_to_its_notebook_tests_and_reference(pages, root):
    for unit in find_units(root):
        for language in LANGUAGES:
            links = pages[Path(language) / f"questions/{unit.id}.html"].links
            wanted = [] if unit.is_concept else [
                f"../../notebooks/{unit.id}.html", f"../../solutions/{unit.id}.html", f"../../reference_impl/{unit.id}.html",
                f"../../tests/exercises/{unit.track}/test_{unit.name}.html",
            ]  # fmt: skip
            assert set(wanted) <= set(links), f"{unit.id} ({language})"


def test_the_first_page_begins_with_the_path(site, pages, root):
    path = learning_path(find_units(root))
    for language in LANGUAGES:
        expected = [f"questions/{unit.id}.html" for unit in path]
        found = [link for link in pages[Path(language) / "index.html"].links if re.fullmatch(r"questions/.*", link)]
        assert found[: len(path)] == expected, "each unit once, in the order of the path"
        assert sorted(found[len(path) :]) == sorted(expected), "then by track"
        text = (site / language / "index.html").read_text(encoding="utf-8")
        headings = re.findall(r"<h[23][^>]*>([^<]+)</h[23]>", text)
        assert headings[0] == {"en": "The path", "zh": "学习路线"}[language] and text.index('id="path"') < text.index(
            'id="concepts"'
        )
        starts = [int(start) for start in re.findall(r'<ol class="path" start="(\d+)">', text)]
        sizes = [len(units) for units in stages(path).values()]
        assert starts == [1 + sum(sizes[:place]) for place in range(len(sizes))], "the numbers go on from stage to stage"


def test_a_question_leads_to_what_it_requires(pages, root):
    for unit in find_units(root):
        for language in LANGUAGES:
            links = pages[Path(language) / f"questions/{unit.id}.html"].links
            assert {f"../../questions/{required}.html" for required in unit.requires} <= set(links), f"{unit.id} ({language})"


def test_no_formula_is_left_as_it_was_written(pages):
    for path, page in pages.items():
        left = re.findall(r"\$[^$\n]{1,60}\$|\\\(|\\\[|\\(?:frac|mathcal|log|sum|mu|theta)\b", page.text)
        assert not left, f"{path} shows {left[:3]}"
    text = "".join(pages[Path("zh/questions/image/vae.html")].text.split())
    assert "DKL" in text, "a formula's text is there for a screen reader"


def test_formulas_need_no_script(site):
    text = (site / "zh/questions/image/vae.html").read_text(encoding="utf-8")
    assert text.count('class="katex-mathml"') > 30 and "katex.min.js" not in text
    assert (site / "assets/katex/fonts/KaTeX_Main-Regular.woff2").is_file() and (site / "assets/katex/LICENSE.txt").is_file()


def test_libraries_of_others_keep_their_licences(site):
    for library in ("minisearch", "ts-fsrs"):
        assert "Permission is hereby granted" in (site / f"assets/{library}.LICENSE.txt").read_text(encoding="utf-8")


def test_the_first_formula_that_does_not_parse_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"page\.md: the formula \$\\frac\{1\$ does not parse"):
        Text(tmp_path, {}).html(r"Here $\frac{1$ is.", tmp_path / "page.md", page="en/page.html")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>重<strong>参数</strong>化</p><p>two</p>", "重参数化 two"),
        ('<span class="katex"><span class="katex-mathml"><math><mi>x</mi><annotation>x</annotation></math></span>'
         '<span class="katex-html"><span>x</span></span></span> y', "x y"),
        ("a<br>b <script>c</script>&lt;d", "a b <d"),
    ],
)  # fmt: skip
def test_what_the_search_reads(html, text):
    assert plain(html) == text


# --- the scripts, without a browser ---


@pytest.fixture(scope="session")
def searched(site):
    """Search an index in a language: paths, best first."""
    engine = quickjs.Context()
    for script in ("minisearch.js", "search.js"):
        engine.eval((site / "assets" / script).read_text(encoding="utf-8"))
    engine.eval("var window = {}")
    for language in LANGUAGES:
        engine.eval((site / f"assets/search-{language}.js").read_text(encoding="utf-8"))
    engine.eval("var indexes = {}; var find = (language, query) => (indexes[language] ??= makeIndex(window.SEARCH[language]))"
                ".search(query).map(result => result.path).join(' ')")  # fmt: skip
    return lambda language, query: engine.get("find")(language, query).split()


@pytest.mark.parametrize(
    ("language", "query", "page"),
    [
        ("en", "reparameterization trick", "questions/image/vae.html"),
        ("en", "scaled dot", "questions/text/attention.html"),
        ("en", "Griffin-Lim", "questions/convert/text_to_speech.html"),
        ("en", "spectrl normalization", "questions/image/gan.html"),
        ("zh", "重参数化", "questions/image/vae.html"),
        ("zh", "参数化", "questions/image/vae.html"),
        ("zh", "KL 散度", "questions/image/vae.html"),
        ("zh", "注意力", "questions/text/attention.html"),
        ("zh", "哪", "questions/concepts/code_that_is_wrong.html"),
        ("zh", "ＫＬ　散度", "questions/image/vae.html"),
        ("zh", "（重参数化）技巧。", "questions/image/vae.html"),
        ("zh", "beta-VAE", "questions/image/vae.html"),
        ("en", "β-VAE", "questions/image/vae.html"),
        ("zh", "GPT模型", "questions/text/gpt.html"),
        ("zh", "v-预测", "questions/convert/text_to_image.html"),
    ],
)
def test_a_term_leads_to_its_page(searched, language, query, page):
    found = [path.partition("#")[0] for path in searched(language, query)[:5]]
    assert page in found, found


def test_chinese_that_no_page_has_is_not_found(searched):
    assert searched("zh", "鳄梨酱") == []
    assert searched("zh", "数参") == [], "two characters are found in their order"


def test_the_browser_schedules_as_the_terminal_does():
    """ts-fsrs on the page and fsrs in `aigc study` hold the same of a card, whatever the answers were. The days differ where ts-fsrs
    keeps hard, good and easy a day apart, and a learning step in how it counts a hard answer."""
    engine = quickjs.Context()
    engine.eval("var globalThis = this")
    engine.eval((ASSETS / "vendor/ts-fsrs/ts-fsrs.js").read_text(encoding="utf-8"))
    setup = re.search(r"const scheduler = (.*);", (ASSETS / "site/flashcards.js").read_text(encoding="utf-8"))
    engine.eval(f"""var scheduler = {setup[1]}, card;
        var begin = (at) => {{ card = FSRS.createEmptyCard(new Date(at)) }};
        var answer = (at, rating) => {{
          card = scheduler.next(card, new Date(at), rating).card;
          return JSON.stringify([card.state, card.stability, card.difficulty, card.due.getTime() / 1000]);
        }}""")
    draw = random.Random(0)
    same = total = 0
    for number in range(60):
        now = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
        engine.get("begin")(now.timestamp() * 1000)
        card, answers = Card(number, due=now), []
        for _ in range(8):
            rating = draw.choice([1, 2, 3, 3, 3, 4])
            answers.append((rating, str(now)))
            card, _ = SCHEDULER.review_card(card, Rating(rating), now)
            state, stability, difficulty, due = json.loads(engine.get("answer")(now.timestamp() * 1000, rating))
            assert state == card.state.value and [stability, difficulty] == pytest.approx([card.stability, card.difficulty]), (
                answers
            )
            late = timedelta(seconds=due - card.due.timestamp())
            learnt = card.state is State.Review
            assert abs(late) <= (timedelta(days=2) if learnt else timedelta(minutes=5)), f"{late} late after {answers}"
            same, total = same + (not late), total + 1
            now = card.due + timedelta(days=draw.choice([0, 0, 1, 5]))
            if card.stability > 5000:
                break
    assert same > 0.8 * total


@pytest.mark.parametrize(
    ("written", "meant"),
    [("ＶＡＥ", "vae"), ("ｖａｅ", "VAE"), ("β－ＶＡＥ", "β-VAE"), ("𝛽-VAE", "β-VAE"), ("Griffin－Lim", "griffin-lim"), ("ＧＰＴ模型", "GPT 模型"),
     ("KL散度", "KL 散度"), ("重参数化，技巧", "重参数化 技巧"), ("ｖ－预测", "v-预测"), ("Ｔｒａｎｓｆｏｒｍｅｒ　编码器", "transformer编码器")],
)  # fmt: skip
def test_width_compatible_forms_and_case_make_no_difference(searched, written, meant):
    assert searched("zh", written) == searched("zh", meant) != []


def full_width(text):
    """Latin letters, digits and punctuation as an input method for Chinese may write them."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else "\u3000" if c == " " else c for c in text)


def test_a_term_of_two_scripts_is_found_by_its_whole_and_by_its_parts(searched, site):
    """Terms as the Chinese pages write them, such as β-VAE 的 or KL 散度, drawn at random: each leads to the section it was taken from."""
    entries = json.loads((site / "assets/search-zh.js").read_text(encoding="utf-8").partition(".zh = ")[2].rstrip(";\n"))
    texts = {entry["path"]: entry["text"] for entry in entries}
    places = [(path, match) for path, text in texts.items()
              for match in re.finditer(r"(?<![^\W\u3400-\u9fff])([A-Za-zα-ω]+)([ -]?)([\u3400-\u9fff]{2,4}|(?<=-)[A-Za-z]+\b)", text)]  # fmt: skip
    for path, match in random.Random(os.getpid()).sample(places, 60):
        first, joint, second = match.groups()
        for query in (
            match[0],
            first + second if not joint.strip() else match[0],
            f"{first} {second}",
            full_width(match[0]),
            first,
            second,
        ):
            assert path in searched("zh", query), f"{query} does not lead to {path}, which has {match[0]}"


@pytest.fixture(scope="session")
def found_in():
    """Which of some texts a query finds."""
    engine = quickjs.Context()
    for script in ("vendor/minisearch/minisearch.js", "site/search.js"):
        engine.eval((ASSETS / script).read_text(encoding="utf-8"))
    engine.eval("var find = (texts, query) => makeIndex(JSON.parse(texts).map((text, id) => ({ id, text, title: '', heading: '', path: text })))"
                ".search(query).map(result => result.path).join('|')")  # fmt: skip
    return lambda texts, query: set(filter(None, engine.get("find")(json.dumps(texts), query).split("|")))


MIXED = ["ＧＰＴ模型会写代码", "β-VAE 的瓶颈", "用v-预测来训练", "先过Transformer 编码器，再解码", "ﬁne-tuning（微调）"]


@pytest.mark.parametrize(
    ("query", "found"),
    [("GPT模型", [0]), ("gpt", [0]), ("模型", [0]), ("beta-VAE", [1]), ("β-VAE", [1]), ("β", [1]), ("beta", [1]), ("vae", [1]), ("VAE瓶颈", [1]),
     ("v-预测", [2]), ("v预测", [2]), ("ｖ", [2]), ("预测", [2]), ("Transformer 编码器", [3]), ("transformer", [3]), ("编码器", [3]),
     ("编码器，", [3]), ("Transformer编码", [3]), ("fine-tuning", [4]), ("微调", [4]), ("GPT预测", []), ("α-VAE", [])],
)  # fmt: skip
def test_terms_of_two_scripts(found_in, query, found):
    assert found_in(MIXED, query) == {MIXED[place] for place in found}


def test_where_a_word_stands_is_where_it_stands_in_the_text():
    engine = quickjs.Context()
    engine.eval((ASSETS / "site/search.js").read_text(encoding="utf-8"))
    place = engine.eval("(text, word) => foldInPlace(text).indexOf(word)")
    text = "𝑥 … ① ﬁne ＶＡＥ 与 Β-vae"
    assert [place(text, word) for word in ("vae", "β")] == [
        text.encode("utf-16-le").index(c.encode("utf-16-le")) // 2 for c in "ＶΒ"
    ]


# The page of the flashcards, as far as its script sees it: elements that keep what they are told, a clock that stands, and one timer.
PAGE = """
    var globalThis = this, window = {}, now = 0, timer = null, kept = {}, elements = {}, RealDate = Date;
    Date = class extends RealDate {
      constructor(...given) { if (given.length) super(...given); else super(now); }
      static now() { return now; }
    };
    var element = () => ({ dataset: {}, value: "", heard: {}, addEventListener(event, act) { this.heard[event] = act; },
      querySelector() { return this.small ??= element(); } });
    var grades = [1, 2, 3, 4].map((grade) => Object.assign(element(), { dataset: { grade } }));
    var document = { body: element(), getElementById: (id) => elements[id] ??= element(), querySelectorAll: () => grades,
      querySelector: (selector) => elements[selector] ??= element() };
    var localStorage = { getItem: (key) => kept[key] ?? null, setItem: (key, value) => { kept[key] = value; } };
    var addEventListener = () => {}, clearTimeout = () => {}, setTimeout = (act, wait) => { timer = { act, wait }; };
    document.querySelector(".grades").dataset.times = "{0} min|{0} h|{0} d";
    document.getElementById("counts").dataset.words = "{due}";
    document.getElementById("done").dataset = { words: "{when}", end: "" };
    var due = (track) => { elements.track.value = track; elements.track.heard.change(); return Number(elements.counts.textContent); };
    var answer = (grade) => { elements.flip.heard.click(); const said = grades[grade - 1].small.textContent; grades[grade - 1].heard.click(); return said; };
"""
KEPT = "aigc-flashcards-1"


class FlashcardPage:
    """The flashcards page's own script over `cards` (id -> card of fsrs, or None for a new one), run in QuickJS. Each card has a track of its own."""

    def __init__(self, cards, now):
        self._engine = engine = quickjs.Context()
        engine.eval(PAGE)
        engine.eval((ASSETS / "vendor/ts-fsrs/ts-fsrs.js").read_text(encoding="utf-8"))
        listed = [{"id": card, "track": card} for card in cards]
        known = {name: {"reps": 1, "lapses": 0, "elapsed_days": 0, "scheduled_days": 1, "learning_steps": 0, **card.to_dict()}
                 for name, card in cards.items() if card}  # fmt: skip
        engine.eval(f"window.CARDS = {json.dumps(listed)}; kept['{KEPT}'] = {json.dumps(json.dumps({'cards': known}))}")
        self.at(now)
        engine.eval((ASSETS / "site/flashcards.js").read_text(encoding="utf-8"))

    def at(self, now):
        self._engine.eval(f"now = {now.timestamp() * 1000}")

    def due(self, cards):
        """Those of `cards` that are due."""
        return {card for card in cards if self._engine.get("due")(card)}

    def asked(self):
        """The card that is asked first of all."""
        self._engine.get("due")("")
        return self._engine.eval("elements.card.dataset.id")

    def answer(self, grade):
        """Look at the answer and grade the card that is asked: how long the page says it will wait."""
        return self._engine.get("answer")(grade)

    def wait(self):
        """What the page says of the next card when none is due, and in how many seconds it looks again by itself."""
        self._engine.get("due")("")
        return self._engine.eval("elements.done.textContent"), self._engine.eval("timer.wait") / 1000

    def kept(self, card):
        return json.loads(self._engine.eval(f"JSON.stringify(JSON.parse(kept['{KEPT}']).cards['{card}'])"))


ZONES = ["UTC", "Asia/Shanghai", "Asia/Kolkata", "America/Los_Angeles", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Auckland",
         "Pacific/Honolulu", "America/Santiago", "Africa/Cairo"]  # fmt: skip
# Where a summer begins or ends in these zones: at 2, 3 and 24 o'clock. Other clocks are drawn.
TURNS = [
    "2026-03-08",
    "2026-03-29",
    "2026-04-05",
    "2026-04-24",
    "2026-09-06",
    "2026-09-27",
    "2026-10-04",
    "2026-10-25",
    "2026-11-01",
]


def around_midnight(draw, day, zone):
    """A moment of the day, mostly within minutes of one of its midnights."""
    hours = draw.choice([0, 0, 24, 24, draw.uniform(0, 24)])
    return (
        datetime.combine(day, datetime.min.time(), zone).astimezone(UTC)
        + timedelta(hours=hours, seconds=draw.randrange(-900, 900))
    ).replace(microsecond=0)


def scheduled(draw, number, day, zone):
    """A card whose answers ended about `day`, by fsrs; or one that falls due about it."""
    moment = around_midnight(draw, day, zone)
    if draw.random() < 0.5:
        days = draw.choice([1, 1, draw.randrange(2, 40)])
        return Card(
            number, state=State.Review, stability=5.0, difficulty=5.0, due=moment, last_review=moment - timedelta(days=days)
        )
    card = Card(number, due=moment)
    for _ in range(draw.randrange(1, 4)):
        card, _ = SCHEDULER.review_card(card, Rating(draw.choice([1, 2, 3, 3, 4])), moment)
        moment = card.due if card.state is not State.Review else moment + timedelta(minutes=draw.randrange(30))
    return card


def must_be_due(card, now, zone):
    """The rule once more, by the zone database alone."""
    if card.state is not State.Review:
        return card.due <= now
    due, answered, today = (moment.astimezone(zone).date() for moment in (card.due, card.last_review, now))
    return due <= today and answered < today


@pytest.mark.parametrize("zone", ZONES)
def test_the_same_cards_are_due_on_the_page_and_in_the_terminal(zone, at_home):
    home, draw = at_home(zone), random.Random(f"{zone} {os.getpid()}")
    seen = set()
    for turn in [*TURNS, None, None, None]:
        day = date.fromisoformat(turn) if turn else date(2026, 1, 1) + timedelta(days=draw.randrange(365))
        cards = {
            f"card {number}": scheduled(draw, number, day + timedelta(days=draw.randrange(-1, 2)), home) for number in range(40)
        }
        page = FlashcardPage(cards, datetime.combine(day, datetime.min.time(), home))
        deck = [Flashcard(name, None, "", "") for name in cards]
        for _ in range(4):
            now = around_midnight(draw, day, home)
            expected = {name for name, card in cards.items() if must_be_due(card, now, home)}
            page.at(now)
            assert page.due(cards) == expected, f"the page at {now.astimezone(home)}"
            state = Learner(cards=cards)
            assert {name for name, card in cards.items() if is_due(card, now)} == expected, (
                f"the terminal at {now.astimezone(home)}"
            )
            assert due_count(deck, state, now) == len(expected)
            asked = following(deck, state, now, only_due=True)
            assert (asked and asked.id) == (page.asked() if expected else None), "both ask what fell due first"
            seen |= {(card.state, name in expected) for name, card in cards.items()}
    assert len(seen) >= 4, "cards in review and cards being learnt, due and not"


@pytest.mark.parametrize("zone", ZONES)
def test_the_same_answers_are_worth_the_same_on_the_page_and_in_the_terminal(zone, at_home):
    """Also of a card that is asked in the morning though FSRS meant the evening, and on either side of midnight in Greenwich."""
    home, draw = at_home(zone), random.Random(f"{zone} {os.getpid()}")
    early = 0
    for number in range(10):
        now = datetime(2026, 3, draw.randrange(1, 28), draw.randrange(24), tzinfo=home).astimezone(UTC)
        page, card = FlashcardPage({"card": None}, now), Card(number, due=now)
        for _ in range(8):
            page.at(now)
            assert page.asked() == "card"
            rating = draw.choice([1, 2, 3, 3, 3, 4])
            card, _ = SCHEDULER.review_card(as_asked(card, now), Rating(rating), now)
            said, kept = page.answer(rating), page.kept("card")
            assert [kept["state"], kept["stability"], kept["difficulty"]] == pytest.approx(
                [card.state.value, card.stability, card.difficulty]
            )
            card.due = datetime.fromisoformat(
                kept["due"]
            )  # ts-fsrs keeps hard, good and easy a day apart, and has other minutes after "hard"
            assert said == interval(card, now, CARD_WORDS["en"])
            waits = page.wait()
            assert waits[0] == said
            now = card.due
            if card.state is State.Review:
                day = due_date(card) + timedelta(days=draw.choice([0, 0, 0, 1, 4]))
                now = datetime(day.year, day.month, day.day, draw.randrange(4, 24), draw.randrange(60), tzinfo=home).astimezone(
                    UTC
                )
                early += now < card.due
            if card.stability > 5000:
                break
    assert early > 5


def test_the_page_asks_no_card_twice_on_the_day_of_25_hours(at_home):
    home = at_home("Europe/Berlin")
    night = datetime(2026, 10, 25, 0, 10, tzinfo=home).astimezone(UTC)
    card = Card(1, state=State.Review, stability=1.0, difficulty=5.0, due=night + timedelta(days=1), last_review=night)
    page = FlashcardPage({"card": card}, night)
    assert (page.due(["card"]), page.wait()[0]) == (set(), "1 d")
    page.at(datetime(2026, 10, 25, 23, 30, tzinfo=home))
    assert page.due(["card"]) == set() and 1000 < page.wait()[1] < 2000, "until midnight"
    page.at(datetime(2026, 10, 26, 0, 0, tzinfo=home))
    assert page.due(["card"]) == {"card"}


def test_the_page_looks_again_when_the_next_card_is_due(at_home):
    home = at_home("Europe/Berlin")
    evening = datetime(2026, 3, 28, 22, 0, tzinfo=home)
    page = FlashcardPage({"card": None}, evening)
    assert (page.answer(4), page.wait()[0]) == ("8 d", "8 d")
    page.at(evening + timedelta(seconds=page.wait()[1]))
    assert page.wait()[0] == "7 d", "at midnight, though a timer cannot wait for weeks"
    page = FlashcardPage({"card": None}, evening)
    said, wait = page.answer(1), page.wait()
    assert (said, wait) == ("1 min", ("1 min", 60.5))
    page.at(evening + timedelta(seconds=wait[1]))
    assert page.due(["card"]) == {"card"}
    ahead = Card(1, stability=1.0, difficulty=5.0, due=evening.astimezone(UTC) + timedelta(days=60))
    assert FlashcardPage({"card": ahead}, evening).wait() == ("1440 h", 2 * 3600 + 0.5), "a clock that was set back: at midnight"


def test_a_card_is_the_same_one_in_both_languages_and_in_the_terminal(site, root):
    texts = {language: (site / f"assets/cards-{language}.js").read_text(encoding="utf-8") for language in LANGUAGES}
    ids = [card.id for unit in learning_path(find_units(root)) for card in flashcards(unit)]
    for text in texts.values():
        assert re.findall(r'"id":"([^"]+)"', text) == ids


# --- a small course of our own ---


def film():
    """An animation as matplotlib writes it for a notebook."""
    figure, axes = plt.subplots(figsize=(2, 2))
    (line,) = axes.plot([0, 1], [0, 0])
    made = FuncAnimation(figure, lambda frame: line.set_ydata([0, frame]), frames=3).to_jshtml(fps=20)
    plt.close(figure)
    return made


def sound():
    """A second of sound, as IPython shows it."""
    return Audio(np.sin(np.arange(8000) / 3), rate=8000)._repr_html_()


def show_in_solution(toy, *outputs):
    """Put outputs into the toy's solution, as a demo would."""
    path = toy / "solutions/toy/sums.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.outputs += [nbformat.v4.new_output("display_data", data=data) for data in outputs]
    nbformat.write(notebook, path)


def read_all(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_toy_course_with_sound_film_and_measurements(built, aigc):
    show_in_solution(built, {"text/html": film()}, {"text/html": sound()}, {"text/markdown": "a **shout**, $x^2$"})
    (built / "benchmarks").mkdir(exist_ok=True)
    table = "# Gates\n\n| unit | value |\n|---|---|\n| [sums](../questions/toy/sums.md) | 1 |\n"
    (built / "benchmarks/gates.md").write_text(table)
    out = built / "new" / "site"
    status, said, err = aigc("site", "--out", str(out))
    assert (status, err) == (0, ""), "no progress bar but on a terminal"
    assert f"wrote 18 pages; open {out}/index.html" in said
    check_pages(out)
    page = (out / "zh/solutions/toy/sums.html").read_text(encoding="utf-8")
    assert "data:audio/wav;base64," in page and "new Animation(" in page and "font-awesome" not in page
    assert "<strong>shout</strong>" in page and "total: 2 of 2 checks pass" in page
    gates = (out / "zh/benchmarks/gates.html").read_text(encoding="utf-8")
    assert "本页只有英文" in gates and 'href="../../en/questions/toy/sums.html"' in gates
    tests = (out / "en/tests/exercises/toy/test_sums.html").read_text(encoding="utf-8")
    assert "test_total" in tests and 'href="../../../questions/toy/sums.html"' in tests

    kept = read_all(out)
    (out / "en/old.html").write_text("of a unit that was renamed")
    told = []
    assert build_site(built, out, lambda *counts: told.append(counts)) == 18
    assert told == [(done, 18) for done in range(1, 19)], "what a progress bar shows"
    assert read_all(out) == kept, "built again, it is the same byte for byte"
    assert [path.name for path in out.parent.iterdir()] == ["site"], "nothing temporary is left"


def test_it_does_not_depend_on_where_it_is_built(built, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(built, elsewhere / "course")
    build_site(built, elsewhere / "one")
    build_site(elsewhere / "course", elsewhere / "two")
    assert read_all(elsewhere / "one") == read_all(elsewhere / "two")


@pytest.mark.parametrize(
    "html",
    [
        '<img src="https://example.org/sum.png">',
        '<img src="//example.org/sum.png">',
        '<img src="sum.png">',
        '<script src="https://cdn.example.org/x.js"></script>',
        '<link rel="stylesheet" href="http://example.org/a.css">',
        '<p style="background: url(https://example.org/a.png)">a</p>',
        "<style>@import 'https://example.org/a.css';</style>",
        '<video poster="https://example.org/a.png"></video>',
        "![a sum](https://example.org/sum.png)",
    ],
)
def test_what_would_be_loaded_is_refused(tmp_path, html):
    with pytest.raises(CourseError, match=r"page\.md: (would load|the picture) \S*(example\.org|sum\.png)"):
        Text(tmp_path, {}).html(f"One.\n\n{html}\n", tmp_path / "page.md", page="en/page.html")


def test_an_output_that_would_load_something_is_refused(built):
    show_in_solution(built, {"text/html": '<iframe src="https://example.org/"></iframe>'})
    with pytest.raises(CourseError, match=r"^solutions/toy/sums\.ipynb: would load https://example\.org/"):
        build_site(built, built / "site")
    assert not (built / "site").exists() and not list(built.glob(".site*")), "nothing is left of a site that failed"


def test_a_picture_of_the_course_goes_into_the_page(tmp_path):
    (tmp_path / "dot.png").write_bytes(b"\x89PNG")
    made = Text(tmp_path, {}).html("![a dot](dot.png)", tmp_path / "page.md", page="en/page.html")
    assert '<img alt="a dot" src="data:image/png;base64,iVBORw==">' in made.html


def test_chinese_has_no_space_where_a_line_ends(tmp_path):
    text = Text(tmp_path, {})
    made = text.html("先编码，\n**再解码**\n然后 $z$\n采样\nthen KL\nagain\n", tmp_path / "page.md", page="zh/page.html")
    assert "先编码，<strong>再解码</strong>然后 <span" in made.html and "</span>\n采样\nthen KL\nagain" in made.html
    assert text.line("两行， 合成一行 KL 项", tmp_path / "page.md", page="zh/page.html") == "两行，合成一行 KL 项"


def test_a_folder_of_something_else_is_left_alone(built, aigc):
    mine = built / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("kept")
    status, _, err = aigc("site", "--out", str(mine))
    assert status == 2 and "holds something that is no site of ours" in err and (mine / "thesis.txt").read_text() == "kept"
    assert "is a file: --out needs a folder" in aigc("site", "--out", str(mine / "thesis.txt"))[2]
    assert "site cannot be written: " in aigc("site", "--out", str(mine / "thesis.txt" / "site"))[2]
    (built / "notebooks/toy/sums.ipynb").unlink()
    assert "notebooks/toy/sums.ipynb: does not exist; run `aigc build`" in aigc("site", "--out", str(built / "out"))[2]


def test_a_site_survives_a_failed_renewal(built, monkeypatch):
    out = built / "site"
    build_site(built, out)
    kept, rename = read_all(out), Path.rename

    def fail_for_the_new(self, target):
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(CourseError, match="cannot be written: No space left on device"):
        build_site(built, out)
    assert read_all(out) == kept


# --- in a browser, from a folder, without a network ---


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    pytest.importorskip("websocket", reason="the browser tests need websocket-client, of the extra `test`")
    from browser import Chromium, find_chromium

    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with Chromium(executable, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def tab(chromium):
    """A tab of its own; fails if anything was asked of another host, was not found, or was said on the console."""
    opened = chromium.tab()
    yield opened
    opened.js("1")  # hears what was told until now
    chromium.close(opened)
    assert opened.wrong == []
    assert opened.requests and all(address.startswith(("file:", "data:", "blob:")) for address in opened.requests)


@pytest.mark.parametrize(
    ("language", "query", "expected"),
    [
        ("en", "reparameterization trick", "en/questions/image/vae.html"),
        ("zh", "重参数化", "zh/questions/image/vae.html"),
        ("en", "隐变量", "zh/questions/"),
        ("zh", "griffin-lim", "/convert/text_to_speech.html"),
    ],
)
def test_search_finds_english_and_chinese(site, tab, language, query, expected):
    tab.open(site / language / "index.html")
    tab.type("#search", query)
    links = tab.wait("[...document.querySelectorAll('#found a')].map(link => link.href).join(' ')").split()
    assert any(expected in link for link in links[:3]), links
    tab.press("ArrowDown")
    assert tab.js("document.activeElement.href") == links[0]
    tab.follow("#found a")
    assert tab.js("location.href") == links[0]


def test_search_says_when_nothing_is_found(site, tab):
    tab.open(site / "zh/index.html")
    tab.press("/")
    assert tab.js("document.activeElement.id") == "search"
    tab.type("#search", "qqqqqq")
    tab.wait("document.querySelector('#found').innerText.includes('没有找到')")
    tab.press("Escape")
    assert not tab.shown("#found")


def test_the_switch_keeps_the_page_and_the_section(site, tab):
    tab.open(site / "en/questions/image/vae.html", "#pitfalls")
    tab.follow("#switch")
    assert tab.js("location.href").endswith("zh/questions/image/vae.html#pitfalls") and tab.text("#pitfalls") == "常见错误"
    tab.follow("#switch")
    assert tab.js("location.href").endswith("en/questions/image/vae.html#pitfalls")


def test_the_first_page_leads_to_a_language(site, tab):
    tab.open(site / "index.html")
    tab.wait("/(en|zh).index.html$/.test(location.href)")


def test_light_and_dark(site, tab):
    colour = "getComputedStyle(document.body).backgroundColor"
    tab.prefer("light")
    tab.open(site / "en/questions/image/vae.html")
    light = tab.js(colour)
    tab.prefer("dark")
    dark = tab.wait(f"{colour} !== '{light}' && {colour}")
    tab.click("#theme")
    assert tab.js(colour) == light, "the switch goes against the system"
    tab.reload()
    assert tab.js(colour) == light, "and is remembered"
    assert dark != light


def contrast(tab, selector):
    """The contrast of an element's colour with the page's, as WCAG 2 defines it (from 1 to 21)."""
    colours = tab.js(
        f"[getComputedStyle(document.querySelector('{selector}')).color, getComputedStyle(document.body).backgroundColor].join(' ')"
    )
    shares = np.array([int(part) for part in re.findall(r"\d+", colours)]).reshape(2, 3) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(site, tab, scheme):
    tab.prefer(scheme)
    tab.open(site / "en/questions/image/vae.html")
    for selector in ("main p", "main .facts", "main a", "aside li a"):
        assert contrast(tab, selector) > 4.5, f"{selector} on a {scheme} page"


@pytest.mark.parametrize(
    "path",
    ["index.html", "flashcards.html", "syllabus.html", "data/digits.html", "questions/image/vae.html", "questions/text/gpt.html",
     "solutions/convert/text_to_speech.html", "reference_impl/text/gpt.html"],
)  # fmt: skip
def test_a_phone_scrolls_only_downwards(site, tab, path):
    tab.size(360, 740, phone=True)
    for language in LANGUAGES:
        tab.open(site / language / path)
        assert tab.js("document.documentElement.scrollWidth") <= 360
        wide = tab.js("[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > 361"
                      " && !e.closest('pre, .table, .katex-display, .katex, .outputs, summary')).map(e => e.outerHTML.slice(0, 80))")  # fmt: skip
        assert wide == [], "only code, tables and formulas may be wider, and they scroll in their boxes"
    tab.tap("#menu")
    assert tab.shown("nav")


def test_formulas_are_visible(site, tab):
    tab.open(site / "en/questions/image/vae.html")
    sizes = tab.js("""[...document.querySelectorAll('main .katex-html')].filter(formula => formula.checkVisibility()).map(formula =>
      Math.max(...[...formula.querySelectorAll('span')].map(e => e.getBoundingClientRect()).map(box => box.width * box.height)))""")
    assert len(sizes) > 20 and min(sizes) > 20, "square pixels of the largest part of each formula"
    tab.js("document.fonts.ready.then(() => 1)")
    assert tab.js("[...document.fonts].filter(f => f.family === 'KaTeX_Math' && f.status === 'loaded').length") > 0


def test_pictures_of_a_solution_are_visible(site, tab):
    tab.open(site / "en/solutions/image/vae.html")
    assert tab.js("[...document.images].filter(image => image.complete && image.naturalWidth > 100).length") > 0
    assert tab.js("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_sound_of_a_solution_can_be_played(site, tab):
    tab.open(site / "en/solutions/convert/text_to_speech.html")
    lengths = tab.js("Promise.all([...document.querySelectorAll('audio')].map(a => new Promise((done, fail) => {"
                     " a.onerror = fail; if (a.readyState) done(a.duration); else { a.onloadedmetadata = () => done(a.duration); a.load() } })))")  # fmt: skip
    assert len(lengths) >= 3 and all(0.3 < length < 10 for length in lengths)


def test_sound_and_film_of_a_notebook_play(built, tab):
    show_in_solution(built, {"text/html": film()}, {"text/html": sound()})
    build_site(built, built / "site")
    tab.open(built / "site/zh/solutions/toy/sums.html")
    assert tab.wait("document.querySelector('audio').duration") == pytest.approx(1.0, abs=0.1)
    before = tab.wait("document.querySelector('.animation img').src")
    tab.click(".animation button[title='Next frame']")
    tab.wait(f"document.querySelector('.animation img').src !== {before!r}")
    assert tab.js("getComputedStyle(document.querySelector('.fa-play:not(.fa-flip-horizontal)'), '::before').content") == '"▶"'


def test_a_page_of_the_site_can_ask_no_host(site, chromium):
    """Even a script that tries is held back by the page itself, not only by the network that these tests have not."""
    tab = chromium.tab()
    tab.open(site / "en/index.html")
    tab.js("new Promise(done => { const i = new Image(); i.onerror = () => done(1); i.src = 'https://example.org/a.png' })")
    chromium.close(tab)
    assert any("violates the following Content Security Policy" in line for line in tab.wrong), tab.wrong


def kept_card(tab, card):
    return tab.js(
        f"(({{due, last_review, state}}) => [due, last_review, state])(JSON.parse(localStorage['aigc-flashcards-1']).cards['{card}'])"
    )


def test_a_grade_is_kept_over_a_reload_and_in_the_other_language(site, tab, root):
    shown = "document.querySelector('#card').dataset.id"
    tab.open(site / "en/flashcards.html")
    first = tab.js(shown)
    assert first == flashcards(learning_path(find_units(root))[0])[0].id and not tab.shown("#back")
    tab.press("4")
    assert tab.js(shown) == first, "no grade before the answer is seen"
    tab.press(" ")
    assert tab.shown("#back") and tab.text("button[data-grade='4']").split("\n")[1] == "8 d"
    tab.press("4")
    second = tab.js(shown)
    assert second != first and "1 of " in tab.text("#counts")
    due, reviewed, _ = (datetime.fromisoformat(value) if isinstance(value, str) else value for value in kept_card(tab, first))
    expected, _ = SCHEDULER.review_card(Card(1, due=reviewed), Rating.Easy, reviewed)
    assert due == expected.due
    tab.reload()
    assert tab.js(shown) == second and "1 of " in tab.text("#counts")
    tab.follow("#switch")
    assert tab.js(shown) == second and "学过 1 /" in tab.text("#counts")
    tab.click("#flip")
    tab.click("button[data-grade='1']")
    assert tab.js(shown) not in (first, second), "a forgotten card waits a minute"
    assert [tab.js("JSON.parse(localStorage['aigc-flashcards-1']).fresh"), kept_card(tab, second)[2]] == [2, 1]


def test_a_card_is_graded_by_touch(site, tab):
    tab.size(360, 740, phone=True)
    tab.open(site / "zh/flashcards.html")
    first = tab.js("document.querySelector('#card').dataset.id")
    tab.tap("#front")
    tab.wait("document.querySelector('#back').checkVisibility()")
    assert tab.text("button[data-grade='1']").split("\n") == ["忘了", "1 分钟"]
    tab.tap("button[data-grade='3']")
    tab.wait(f"document.querySelector('#card').dataset.id !== '{first}'")
    assert kept_card(tab, first)


def test_what_is_due_today_comes_first_and_from_the_morning_on(site, tab, root):
    units = learning_path(find_units(root))
    seen, other = flashcards(units[0])[1].id, flashcards(units[0])[2].id
    tab.open(site / "en/flashcards.html")
    tab.js(f"""(() => {{
      const scheduler = FSRS.fsrs({{ enable_fuzz: false }}), evening = new Date(); evening.setHours(23, 59, 50);
      const reviewed = new Date(evening.getTime() - 8 * 86400000), card = scheduler.next(FSRS.createEmptyCard(reviewed), reviewed, 4).card;
      const tomorrow = {{ ...card, due: new Date(card.due.getTime() + 86400000) }};
      localStorage.setItem("aigc-flashcards-1", JSON.stringify({{ cards: {{ "{seen}": card, "{other}": tomorrow }}, day: "", fresh: 0 }}));
    }})()""")
    tab.reload()
    assert tab.js("document.querySelector('#card').dataset.id") == seen and tab.text("#counts").startswith("1 due today")
    tab.js("(s => { s.value = 'text'; s.dispatchEvent(new Event('change')) })(document.querySelector('#track'))")
    assert tab.text("#counts").startswith("0 due today"), "of the chosen track"


def test_twenty_new_cards_a_day_and_more_on_request(site, tab):
    tab.open(site / "en/flashcards.html")
    for _ in range(20):
        tab.press(" ")
        tab.press("4")
    assert not tab.shown("#card") and tab.text("#done") == "Nothing is due now. The next card comes in 8 d."
    tab.click("#more")
    assert tab.shown("#card") and "10 new" in tab.text("#counts")


def test_an_unreadable_progress_is_kept_aside(site, tab):
    tab.open(site / "en/flashcards.html")
    tab.js("localStorage.setItem('aigc-flashcards-1', '{broken')")
    tab.reload()
    assert tab.shown("#card")
    assert tab.js("localStorage.getItem('aigc-flashcards-1-unreadable')") == "{broken"
