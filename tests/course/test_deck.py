"""The Anki package, read by Anki's own importer."""

import sqlite3
import time
import zipfile
from pathlib import Path

import pytest

from course.errors import CourseError
from course.studying.deck import MODEL, card_parser, deck_id, decks, note_id, write_deck
from course.units.catalogue import Unit, find_unit, find_units


def read_notes(path, folder):
    """Front and back by guid, straight from the database in the package."""
    with zipfile.ZipFile(path) as archive:
        archive.extract("collection.anki2", folder)
    with sqlite3.connect(folder / "collection.anki2") as database:
        return {guid: fields.split("\x1f") for guid, fields in database.execute("select guid, flds from notes")}


def test_every_card_of_the_course_is_a_note(root, tmp_path):
    units = find_units(root)
    for language in ("en", "zh"):
        count = write_deck(units, language, tmp_path / f"{language}.apkg")
        assert count == sum(len(unit.pages[language].cards) for unit in units)
        notes = read_notes(tmp_path / f"{language}.apkg", tmp_path)
        assert len(notes) == count, "two cards must not share a guid"
    assert any(r"\(\varepsilon" in back for _, back, _ in notes.values())
    assert not any("$" in field for fields in notes.values() for field in fields[:2])


def test_ids_do_not_change():
    """Pinned: with another number, every learner's next import would double the deck."""
    vae = Unit("image/vae", "VAE", "VAE", 3, 3, (), (), Path())
    assert (MODEL, deck_id("en", "image"), note_id(vae, "What?", "en")) == (1607392319, 1407427192, "CFp]hDZCcn")
    assert note_id(vae, "What?", "zh") != note_id(vae, "What?", "en") and deck_id("zh", "image") != deck_id("en", "image")


def test_formulas_are_anki_s_own():
    parser = card_parser()
    assert parser.renderInline(r"$a < b$ and `$c$`, $$\tfrac12$$") == r"\(a &lt; b\) and <code>$c$</code>, \[\tfrac12\]"


def test_a_second_import_updates_and_does_not_double(toy, tmp_path):
    collection_module = pytest.importorskip("anki.collection", reason="Anki's importer comes with the extra `test`")
    collection = collection_module.Collection(str(tmp_path / "learner.anki2"))

    def bring(language):
        package = tmp_path / "deck.apkg"
        write_deck(find_units(toy), language, package)
        options = collection_module.ImportAnkiPackageOptions()
        collection.import_anki_package(collection_module.ImportAnkiPackageRequest(package_path=str(package), options=options))
        return {note: collection.get_note(note).fields for note in collection.find_notes("")}

    try:
        first = bring("en")
        assert len(first) == 3 and [back for front, back, _ in first.values() if "sum" in front] == [
            r"All terms, \(\sum_i x_i\)."
        ]
        assert set(bring("en")) == set(first), "the same notes, not three more"
        page = toy / "questions/toy/sums.md"
        page.write_text(page.read_text(encoding="utf-8").replace("All terms,", "Every term, once:"), encoding="utf-8")
        time.sleep(1.1)  # Anki keeps the newer of two notes, and counts in seconds
        edited = bring("en")
        assert set(edited) == set(first) and any("Every term, once:" in back for _, back, _ in edited.values())
        both = bring("zh")
        assert len(both) == 6, "the Chinese cards stand beside the English ones"
        assert sorted(d.name for d in collection.decks.all_names_and_ids() if "::" in d.name) == [
            "AIGC interview course::toy",
            "生成式 AI 面试课::toy",
        ]
    finally:
        collection.close()


def test_a_new_translation_keeps_the_note(toy):
    before = {note.guid for deck in decks([find_unit("toy/sums", toy)], "zh") for note in deck.notes}
    page = toy / "questions/toy/sums.zh.md"
    page.write_text(page.read_text(encoding="utf-8").replace("什么是求和？", "求和是什么？"), encoding="utf-8")
    assert {note.guid for deck in decks([find_unit("toy/sums", toy)], "zh") for note in deck.notes} == before


def test_the_command(toy, aigc, tmp_path):
    out = tmp_path / "new" / "deck.apkg"
    status, said, err = aigc("anki", "--out", str(out), "--lang", "zh", "--track", "toy")
    assert (status, err) == (0, "") and "wrote 3 cards to" in said and zipfile.is_zipfile(out)
    assert [path.name for path in out.parent.iterdir()] == ["deck.apkg"]
    assert "Invalid value for '--lang'" in aigc("anki", "--out", str(out), "--lang", "fr")[2]
    assert "there is no track 'tyo'; tracks are: toy" in aigc("anki", "--out", str(out), "--track", "tyo")[2]
    assert "is a folder: --out needs a file" in aigc("anki", "--out", str(tmp_path))[2]
    assert "cannot be written" in aigc("anki", "--out", str(out / "under.apkg"))[2]


def test_nothing_is_written_when_there_is_nothing_to_write(tmp_path):
    with pytest.raises(CourseError, match="there are no flashcards"):
        write_deck([], "en", tmp_path / "deck.apkg")
    assert list(tmp_path.iterdir()) == []
