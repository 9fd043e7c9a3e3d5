"""Output paths are safe and unique; globs match; loops and collisions are refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import recipes
from pipeline.recipes import globs, output_paths, regular_languages

from .test_loading import problems

ODD = st.text(st.sampled_from("ab./\\%2E0\x00é😀 "), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("pattern", "name", "path"),
    [
        (output_paths.DEFAULT, "holiday/sea.jpg", "web/holiday/sea.jpg/big.webp"),
        ("{dir}/{stem}-{rendition}.{ext}", "holiday/sea.jpg", "holiday/sea-big.webp"),
        ("{dir}/{stem}-{rendition}.{ext}", "sea.jpg", "sea-big.webp"),
        ("x/{dir}/{stem}.{source_ext}.{ext}", "sea.JPG", "x/sea.jpg.webp"),
        ("{stem}.{ext}", ".hidden", ".hidden.webp"),
        ("{path}/{rendition}", "../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd/big"),
        ("{path}/{rendition}", "a//b.jpg", "a/%00/b.jpg/big"),
        ("{path}/{rendition}", "a\\b.jpg", "a%5Cb.jpg/big"),
        ("{stem}/{rendition}", "a..jpg", "a%2E/big"),
    ],
)
def test_fields_are_filled_in(pattern: str, name: str, path: str) -> None:
    assert output_paths.fill(pattern, name, recipe="web", rendition="big", ext="webp") == path


@given(ODD, st.sampled_from([output_paths.DEFAULT, "{dir}/{stem}-{rendition}.{ext}", "x/{dir}/{stem}/{source_ext}/y"]))
def test_every_path_is_a_safe_blob_name(name: str, pattern: str) -> None:
    path = output_paths.fill(output_paths.check(pattern), name * 80, recipe="web", rendition="big", ext="webp")
    assert 1 <= len(path.encode("utf-16-le")) // 2 <= 1024
    assert all(segment and not segment.endswith(".") for segment in path.split("/"))
    assert not re.search(r"[\x00-\x1f\\]", path)


@given(ODD, ODD)
def test_default_paths_of_two_sources_differ(one: str, two: str) -> None:
    values = {"recipe": "web", "rendition": "big", "ext": "webp"}
    same = output_paths.fill(output_paths.DEFAULT, one, **values) == output_paths.fill(
        output_paths.DEFAULT, two, **values
    )
    assert same == (one == two)


def test_long_names_are_cut_and_stay_unique() -> None:
    values = {"recipe": "web", "rendition": "big", "ext": "webp"}
    one, two = (output_paths.fill(output_paths.DEFAULT, "a" * 1020 + end, **values) for end in ("x.jpg", "y.jpg"))
    assert one != two
    assert len(one) <= 1024
    assert one.endswith("/big.webp")


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("**/*.jpg", ["a.jpg", "a/b/c.JPG"], ["a.png", "a.jpg/x"]),
        ("*.jpg", ["a.jpg", ".jpg"], ["a/b.jpg"]),
        ("photos/**", ["photos/a", "photos/a/b"], ["photos", "xphotos/a"]),
        ("a?c/[a-c]*.{png,gif}", ["abc/bx.png", "abc/a.gif"], ["a/c/a.png", "abc/d.png"]),
        ("[!a]/{x,y/**}", ["b/x", "b/y/z"], ["a/x", "b/z"]),
        ("a+b(1).jpg", ["a+b(1).jpg"], ["aab1.jpg"]),
        ("**", ["anything/at.all"], []),
    ],
)
def test_globs_match(glob: str, yes: list[str], no: list[str]) -> None:
    matches = globs.compiled(glob).fullmatch
    assert all(matches(name.lower()) for name in yes)
    assert not any(matches(name.lower()) for name in no)


GLOBS = st.lists(
    st.sampled_from(["*", "**", "**/", "?", "a", "b", "/", "[ab]", "{a,b/}", ".x"]), min_size=1, max_size=5
)


@given(GLOBS, GLOBS)
def test_example_of_an_intersection_matches_both_globs(one: list[str], two: list[str]) -> None:
    first, second = "x" + "".join(one), "x" + "".join(two)
    name = regular_languages.example(regular_languages.both([globs.language(first), globs.language(second)]))
    if name is not None:
        assert globs.compiled(first).fullmatch(name)
        assert globs.compiled(second).fullmatch(name)
    names = ["x", "xa", "xb", "xa/b", "xab", "x/a", "x.x", "xa.x", "xb/"]
    if any(globs.compiled(first).fullmatch(each) and globs.compiled(second).fullmatch(each) for each in names):
        assert name is not None


def _file(match: str, path: str, extra: str = "") -> str:
    return f"""
recipes:
  one:
    match: {match}
    path: "{path}"
    renditions: {{big: {{format: webp}}}}
{extra}"""


@pytest.mark.parametrize(
    ("match", "path"),
    [
        ('{include: ["**"]}', output_paths.DEFAULT),
        ('{include: ["in/**"]}', "{path}.{ext}"),
        ('{include: ["in/**"]}', "in/{stem}.{ext}"),
        ('{include: ["**/*.webp"]}', "out/{stem}.{ext}"),
        ('{include: ["**/*.webp"], exclude: ["out/a*"]}', "out/{stem}.{ext}"),
        ('{include: ["*/{a,b}.*"]}', "{dir}/{stem}.{ext}"),
    ],
)
def test_recipe_that_matches_its_own_output_is_refused(match: str, path: str) -> None:
    (line,) = problems(_file(match, path), same_container=True)
    assert "endless loop" in line
    assert "'one'" in line
    recipes.loads(_file(match, path))


@pytest.mark.parametrize(
    ("match", "path"),
    [
        ('{include: ["in/**"]}', "out/{path}.{ext}"),
        ('{include: ["**/*.jpg"]}', "{path}.{ext}"),
        ('{include: ["**"], exclude: ["out/**"]}', "out/{dir}/{stem}.{ext}"),
        ('{include: ["*"]}', "{recipe}/{path}.{ext}"),
        ('{include: ["in/*"]}', "{path}/{rendition}.{ext}"),
    ],
)
def test_recipe_that_cannot_match_its_output_is_accepted(match: str, path: str) -> None:
    recipes.loads(_file(match, path), same_container=True)


def test_loop_over_two_recipes_is_reported_with_both() -> None:
    two = """
  two:
    match: {include: ["b/*"]}
    path: "c/{stem}.{ext}"
    renditions: {big: {format: webp}}
"""
    (line,) = problems(_file('{include: ["a/*"]}', "b/{stem}.{ext}", two), same_container=True)
    assert "'one'" in line
    assert "'two'" in line
    assert "for example 'b/" in line


@pytest.mark.parametrize("pattern", ["{path}.{ext}", "{stem}-{width}.{ext}"])
def test_renditions_with_the_same_path_are_refused(pattern: str) -> None:
    text = f"""
recipes:
  one:
    path: "{pattern}"
    renditions: {{big: {{format: webp}}, small: {{format: webp}}}}
"""
    (line,) = problems(text)
    assert "one/small and one/big have the same output path" in line
