"""A recipe's own code: its call, its limits, and its error messages."""

from __future__ import annotations

import resource
import signal
import sys

import pytest
from PIL import Image, ImageOps

from pipeline.engine.protocol import MAX_MESSAGE_CHARACTERS
from pipeline.engine.transforms import code

from .conftest import Made, Run, encoded, gradient, job, steps
from .measures import worst

GRAY = gradient(60, 40)


def failure(run: Run, source: str, **limits: float) -> str:
    """Return the message of a job whose code must fail."""
    found = run(encoded(GRAY), job(shared=steps(("code", {"source": source, **limits}))))["failure"]
    assert found is not None
    assert found["kind"] == "code_failed"
    return found["message"]


def test_the_function_gets_the_image_and_its_parameters(made: Made) -> None:
    source = "import PIL.ImageOps as o\ndef transform(image, params):\n    return o.posterize(image, params['bits'])\n"
    shown = made(GRAY, job(shared=steps(("code", {"source": source, "params": {"bits": 2}}))))
    assert worst(shown, ImageOps.posterize(GRAY, 2)) == 0


def test_any_mode_that_it_returns_is_taken(made: Made) -> None:
    source = "def transform(image, params):\n    return image.convert('P')\n"
    assert made(GRAY, job(shared=steps(("code", {"source": source})))).mode == "RGB"


def test_its_traceback_shows_its_own_lines_and_none_of_ours(run: Run) -> None:
    message = failure(run, "def helper():\n    return 1 / 0\n\ndef transform(image, params):\n    return helper()\n")
    assert 'File "<recipe code>", line 5, in transform\n    return helper()' in message
    assert 'File "<recipe code>", line 2, in helper\n    return 1 / 0' in message
    assert message.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "pipeline" not in message.replace("pipeline-report", "")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def transform(image, params)\n    return image", "SyntaxError"),
        ("x = 1", "there is no function transform(image, params)"),
        ("def transform(image, params):\n    return 5", "transform returned int"),
        ("def transform(image):\n    return image", "takes 1 positional argument"),
    ],
)
def test_code_that_cannot_work_says_why(run: Run, source: str, words: str) -> None:
    assert words in failure(run, source)


def test_code_that_takes_too_long_is_stopped(run: Run) -> None:
    source = "def transform(image, params):\n  while True:\n    try: pass\n    except Exception: pass"
    assert "ran longer than 0.2 s" in failure(run, source, seconds=0.2)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_code_that_takes_too_much_memory_is_stopped(run: Run) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert "needs more than 64 MB" in failure(
        run, "def transform(image, params):\n    return bytes(10**9)", megabytes=64
    )
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_result_that_is_too_large_is_refused(run: Run) -> None:
    source = "def transform(image, params):\n    return image.resize((9000, 9000))"
    document = job(shared=steps(("code", {"source": source})), max_rendition_pixels=1_000_000)
    found = run(encoded(Image.new("L", (9, 9))), document)["failure"]
    assert found["kind"] == "rendition_too_large"


def test_of_a_long_complaint_the_start_and_the_end_are_told(run: Run) -> None:
    message = failure(run, "def transform(image, params):\n    raise ValueError('a' * 10_000 + ' and so it ended')\n")
    assert len(message) == MAX_MESSAGE_CHARACTERS
    assert message.startswith("the recipe's code raised\n")
    assert message.endswith("and so it ended")


def test_it_is_a_module_as_any_other_and_gone_afterwards(made: Made) -> None:
    source = (
        "from dataclasses import dataclass\n\n@dataclass\nclass Level:\n    bits: int\n\n"
        "def transform(image, params):\n    import typing\n"
        "    assert typing.get_type_hints(Level) == {'bits': int} == Level.__annotations__\n"
        "    from PIL import ImageOps\n    return ImageOps.posterize(image, Level(3).bits)\n"
    )
    assert worst(made(GRAY, job(shared=steps(("code", {"source": source})))), ImageOps.posterize(GRAY, 3)) == 0
    assert code.CODE_MODULE_NAME not in sys.modules
    future = "from __future__ import annotations\n" + source.replace(" == Level.__annotations__", "")
    assert worst(made(GRAY, job(shared=steps(("code", {"source": future})))), ImageOps.posterize(GRAY, 3)) == 0
