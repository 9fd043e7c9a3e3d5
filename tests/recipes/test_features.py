"""Features of recipe files: defaults, blocks, widths, precedence, isolation, limits, user code."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import recipes
from pipeline.engine.protocol import Limits
from pipeline.recipes import focal_point
from pipeline.recipes.explain import source_steps

from .test_loading import problems, recipe

LIMITS = Limits(max_pixels=1000, max_frames=10, max_rendition_bytes=500, max_rendition_pixels=100)


def test_renditions_override_recipes_and_these_defaults() -> None:
    loaded = recipes.loads("""
defaults:
  cache_control: no-store
  path: "x/{path}/{recipe}/{rendition}.{ext}"
  isolation: tenant
  on_truncated: patch
  carry: [author]
  webp: {quality: 70, effort: 6}
recipes:
  one:
    renditions:
      a: {format: webp}
      b: {format: webp, quality: 90, cache_control: private}
      c: {format: jpeg}
  two:
    isolation: shared
    on_truncated: fail
    path: "y/{path}/{rendition}.{ext}"
    renditions: {a: {format: webp, path: "z/{path}"}, b: {format: png}}
""")
    one, two = loaded
    a, b, c = one.renditions
    assert (one.isolation, one.on_truncated, one.carry) == ("tenant", "patch", ("author",))
    assert (a.options()["quality"], a.options()["effort"], a.cache_control) == (70, 6, "no-store")
    assert (b.options()["quality"], b.options()["effort"], b.cache_control) == (90, 6, "private")
    assert c.options()["quality"] == 80
    assert one.output_path(a, "p/q.jpg") == "x/p/q.jpg/one/a.webp"
    assert (two.isolation, two.on_truncated) == ("shared", "fail")
    assert [each.path for each in two.renditions] == ["z/{path}", "y/{path}/{rendition}.{ext}"]


def test_a_block_is_replaced_by_its_transforms() -> None:
    loaded = recipes.loads("""
blocks:
  portrait:
    - crop: {aspect: 3:4, gravity: [focal, smart]}
    - sharpen
recipes:
  one:
    transforms: [auto_orient, use: portrait, grayscale]
    renditions: {a: {format: webp, transforms: [use: portrait]}}
""")
    one = loaded.get("one")
    assert [step["name"] for step in one.steps] == ["auto_orient", "crop", "sharpen", "grayscale"]
    assert [step["name"] for step in one.renditions[0].steps] == ["crop", "sharpen"]


def test_unknown_block_is_reported_with_a_similar_name() -> None:
    text = "blocks: {portrait: [sharpen]}\n" + recipe("transforms: [use: potrait]\nrenditions: {a: {format: png}}")
    assert problems(text) == [
        "recipes.yaml:4:18: recipes.web.transforms[0]: there is no block 'potrait'; did you mean 'portrait'?"
    ]


def test_errors_in_a_block_have_the_position_in_the_block() -> None:
    text = "blocks: {portrait: [sharpenn]}\n" + recipe("renditions: {a: {format: png}}")
    (line,) = problems(text)
    assert line.startswith(
        "recipes.yaml:1:21: blocks.portrait[0]: there is no transform 'sharpenn'; did you mean 'sharpen'?"
    )


def test_short_form_sets_the_main_parameter() -> None:
    one = recipes.loads(recipe("transforms: [blur: 4, rotate: -90, tint: red]\nrenditions: {a: {format: png}}")).get(
        "web"
    )
    assert [step["params"][key] for step, key in zip(one.steps, ("radius", "degrees", "color"), strict=True)] == [
        4,
        -90,
        "red",
    ]


def test_widths_create_one_rendition_each() -> None:
    one = recipes.loads(recipe("renditions: {photo: {format: webp, widths: [400, 800], transforms: [sharpen]}}")).get(
        "web"
    )
    assert [each.name for each in one.renditions] == ["photo-400", "photo-800"]
    assert [each.steps[-1]["params"]["width"] for each in one.renditions] == [400, 800]
    assert one.output_path(one.renditions[0], "a.jpg") == "web/a.jpg/photo-400.webp"


def test_duplicate_names_from_widths_are_refused() -> None:
    text = recipe("renditions: {a: {format: webp, widths: [40]}, a-40: {format: webp}}")
    assert "duplicate rendition 'a-40'" in problems(text)[0]


def test_an_exclusive_recipe_ends_the_matching() -> None:
    loaded = recipes.loads("""
recipes:
  all: {match: {include: ["**"]}, renditions: {a: {format: png}}}
  logos: {match: {include: ["logos/**"]}, exclusive: true, renditions: {a: {format: png}}}
  rest: {match: {include: ["**"]}, renditions: {b: {format: png}}}
""")
    assert [each.name for each in loaded.match("logos/x.png")] == ["all", "logos"]
    assert [each.name for each in loaded.match("x.png")] == ["all", "rest"]


def test_size_and_content_type_are_matched_if_known() -> None:
    loaded = recipes.loads(
        recipe("""
match: {include: ["**"], size: {min: 10, max: 100}, content_type: ["image/*"]}
renditions: {a: {format: png}}
""")
    )
    assert loaded.match("x")
    assert loaded.match("x", size=10, content_type="Image/PNG; charset=x")
    assert not loaded.match("x", size=9)
    assert not loaded.match("x", size=101)
    assert not loaded.match("x", size=50, content_type="text/plain")


def test_recipe_limits_only_tighten_those_of_the_settings() -> None:
    one = recipes.loads(
        recipe("limits: {max_pixels: 5, max_frames: 9999, max_seconds: 2.5}\nrenditions: {a: {format: png}}")
    ).get("web")
    job = one.job(source="s", report="r", files={"a": "a"}, limits=LIMITS, formats=["PNG"])
    assert job["limits"] == {**LIMITS, "max_pixels": 5}
    assert one.limits["max_seconds"] == 2.5


def test_user_code_needs_permission_and_a_session_of_its_own() -> None:
    text = recipe("""
transforms:
  - code: |
      def transform(image, params):
          return image
renditions: {a: {format: png}}
""")
    assert "user code is not allowed" in problems(text)[0]
    one = recipes.loads(text, allow_code=True).get("web")
    assert one.has_code
    assert one.isolation == "single"
    assert one.steps[0]["params"]["source"] == "def transform(image, params):\n    return image\n"


def test_a_module_is_sent_as_text_and_changes_the_hash(tmp_path: Path) -> None:
    text = recipe("transforms: [code: {module: brand.frame}]\nrenditions: {a: {format: png}}")
    with pytest.raises(recipes.loading.ConfigError, match="does not exist"):
        recipes.loads(text, allow_code=True, code_folder=tmp_path)
    (tmp_path / "brand").mkdir()
    hashes = []
    for body in ("def transform(i, p): return i\n", "def transform(i, p): return i.copy()\n"):
        (tmp_path / "brand" / "frame.py").write_text(body)
        one = recipes.loads(text, allow_code=True, code_folder=tmp_path).get("web")
        assert one.steps[0]["params"]["source"] == body
        hashes.append(one.hash)
    assert hashes[0] != hashes[1]


def test_a_binary_module_is_reported_with_its_position(tmp_path: Path) -> None:
    (tmp_path / "frame.py").write_bytes(b"\xff\xfe")
    text = recipe("transforms: [code: {module: frame}]\nrenditions: {a: {format: png}}")
    with pytest.raises(recipes.loading.ConfigError, match=r"recipes.yaml:3:.*frame.py: it is not UTF-8 text"):
        recipes.loads(text, allow_code=True, code_folder=tmp_path)


def test_assets_of_a_recipe_are_listed() -> None:
    one = recipes.loads(
        recipe(
            "transforms: [watermark: {image: b/logo.png}, text: {text: x, font: a.ttf}]\nrenditions: {a: {format: png}}"
        )
    ).get("web")
    assert one.assets == ["a.ttf", "b/logo.png"]


def test_format_auto_determines_path_and_type_afterwards() -> None:
    one = recipes.loads(recipe("renditions: {a: {format: auto}}")).get("web")
    (a,) = one.renditions
    report = {"name": "a", "format": "avif", "width": 9, "height": 8, "sha256": "f" * 64}
    assert not a.path_known
    with pytest.raises(ValueError, match="depends on the result"):
        one.output_path(a, "x.png")
    assert one.output_path(a, "x.png", report) == "web/x.png/a.avif"  # type: ignore[arg-type]
    assert a.content_type_of(report) == "image/avif"  # type: ignore[arg-type]
    assert a.formats == ("avif", "webp", "jpeg")


def test_loops_are_found_for_every_format_of_auto() -> None:
    text = recipe('match: {include: ["**/*.avif"]}\npath: "{path}.{ext}"\nrenditions: {a: {format: auto}}')
    assert "endless loop" in problems(text, same_container=True)[0]


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("0.3,0.7", (0.3, 0.7)),
        (" 0 ; 1 ", (0.0, 1.0)),
        (".5 .5", (0.5, 0.5)),
        ("1.2,0.5", None),
        ("middle", None),
        ("", None),
        (None, None),
    ],
)
def test_focal_points_are_parsed_and_others_are_none(text: str | None, point: tuple[float, float] | None) -> None:
    assert focal_point(text) == point


def test_hdr_is_tone_mapped_unless_the_recipe_refuses_it() -> None:
    template = "{defaults}recipes: {{one: {{{own}renditions: {{a: {{format: webp}}}}}}}}\n"

    def loaded(own: str = "", defaults: str = "") -> recipes.Recipe:
        return recipes.loads(template.format(own=own, defaults=defaults)).get("one")

    plain, refusing = loaded(), loaded("hdr: refuse, ")
    files = {"a": "a"}
    assert plain.job(source="s", report="r", files=files, limits=LIMITS, formats=["PNG"])["hdr"] == "tone_map"
    assert refusing.job(source="s", report="r", files=files, limits=LIMITS, formats=["PNG"])["hdr"] == "refuse"
    assert loaded("", "defaults: {hdr: refuse}\n").hdr == "refuse"
    assert loaded("hdr: tone_map, ", "defaults: {hdr: refuse}\n").hdr == "tone_map"
    assert plain.hash == loaded("hdr: tone_map, ").hash != refusing.hash
    assert "refuse HDR images (PQ, HLG)" in list(source_steps(refusing))
    with pytest.raises(recipes.loading.ConfigError):
        loaded("hdr: maybe, ")
