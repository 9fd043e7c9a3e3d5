"""Ceilings on the language of all texts: docstrings, comments, messages, help, templates, scripts and docs."""

from __future__ import annotations

import pytest

from tests import prose


@pytest.mark.parametrize("kind", ["code", "messages", "docs", "other"])
def test_sentences_name_their_actor_and_object(kind: str) -> None:
    figures = prose.figures(kind)
    assert figures.words > 1000, "the texts are not found"
    assert figures.indirect <= 1.5, "per 1,000 words; python -m tests.prose -v lists the places"
    assert figures.vague <= 0.2, "per 1,000 words; python -m tests.prose -v lists the places"


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    questions, verbs = prose.docstring_starts()
    assert questions <= 0.02
    assert verbs >= 0.35


def test_public_definitions_have_docstrings() -> None:
    missing, share = prose.undocumented()
    assert not missing
    assert share >= 0.7
