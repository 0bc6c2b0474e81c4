"""Folders and archives as learners, browsers and platforms make them, for the tests of the doors."""

import json
import zipfile

from course.grading.submissions import scan

UNITS = ["image/vae", "image/gan", "text/gpt", "text/vae", "convert/text_to_speech"]


def notebook(*cells, unit=None):
    """The bytes of a notebook with these code cells, which says that it answers `unit`."""
    code = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "execution_count": None, "outputs": [], "source": cell}
        for i, cell in enumerate(cells)
    ]
    metadata = {"aigc": {"unit": unit}} if unit else {}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": code}).encode()


def write(folder, *names, content=None):
    """Files at these paths below `folder`, each a notebook of its own unless `content` says what they hold."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(notebook(f"# {name}") if content is None else content)
    return folder


def pack(path, *names, content=None):
    """The same as a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, notebook(f"# {name}") if content is None else content)
    return path


def rows(path, wanted=None):
    """(learner, unit) -> why it is not opened, empty if it is graded."""
    return {(s.learner, s.unit): s.problem for s in scan(path, UNITS, wanted).submissions}


def notes(path, wanted=None):
    """(learner, unit) -> what else its author is told, where there is something."""
    return {(s.learner, s.unit): s.note for s in scan(path, UNITS, wanted).submissions if s.note}
