"""Code: run the recipe's own function.

It needs PIPELINE_ALLOW_CODE, and its session serves no other job.
"""

from __future__ import annotations

import linecache
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from .. import pil
from ..base import PixelTransform, TransformContext
from ..canvas import check_canvas
from ..constraints import Help, Range, StringRule
from ..errors import EngineError
from ..pixel_modes import to_working

if TYPE_CHECKING:
    from types import FrameType

CODE_FILE_NAME = "<recipe code>"
"""File name that tracebacks show for the recipe's code."""

CODE_MODULE_NAME = "recipe_code"
"""Module name under which the recipe's code runs."""


class _CodeTimeout(BaseException):
    """The code ran too long. Not an Exception, so that handlers in the code do not catch it."""


@dataclass(frozen=True)
class Code(
    PixelTransform,
    name="code",
    example={
        "source": "def transform(image, params):\n    return image.convert('RGB').rotate(params['turn'])",
        "params": {"turn": 180},
    },
    shorthand="source",
):
    """Run the recipe's own Python: a function `transform(image, params)` that returns an image."""

    source: Annotated[
        Annotated[str, StringRule("code has at most 20,000 characters", max_length=20_000)] | None,
        Help("the code; it may import Pillow and the standard library"),
    ] = None
    module: Annotated[
        Annotated[
            str, StringRule("a module is a dotted name, like tools or brand.frames", r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
        ]
        | None,
        Help("instead of source: a module in the folder PIPELINE_CODE_FOLDER"),
    ] = None
    params: Annotated[dict[str, Any], Help("passed to the function unchanged")] = field(default_factory=dict)
    seconds: Annotated[Annotated[float, Range(0.1, 120)], Help("time limit per frame, in seconds")] = 10.0
    megabytes: Annotated[Annotated[int, Range(64, 8192)], Help("memory limit in addition to the image, in MB")] = 1024

    def __post_init__(self) -> None:
        """Check that the recipe gives exactly one of `source` and `module`."""
        if (self.source is None) == (self.module is None):
            raise ValueError("code takes either source or module: give exactly one of them")

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Call the function and return its image in a working mode, within the limit of pixels."""
        try:
            # As far as the system allows: the host has its own limits.
            with _time_limit(self.seconds), _memory_limit(self.megabytes):
                made = self._call(image)
        except _CodeTimeout:
            raise EngineError(
                "code_failed", f"the recipe's code ran longer than {self.seconds:g} s: make it faster, or raise seconds"
            ) from None
        if not isinstance(made, pil.Image.Image):
            raise EngineError("code_failed", f"transform returned {type(made).__name__}: it must return an image")
        check_canvas(made.size, context.max_pixels, "the recipe's code")
        context.focal = context.focal if made.size == image.size else None
        return to_working(made.copy())

    def _call(self, image: pil.Image.Image) -> Any:  # noqa: ANN401 - the function may return anything
        """Call the function, and convert its exceptions."""
        module = ModuleType(CODE_MODULE_NAME)
        try:
            # Dataclasses look up their own module.
            sys.modules[CODE_MODULE_NAME] = module
            return self._function(module)(image, dict(self.params))
        except MemoryError:
            text = f"the recipe's code needs more than {self.megabytes} MB: reduce its memory use, or raise megabytes"
        except EngineError:
            raise
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            text = "the recipe's code raised\n" + _traceback(error)
        finally:
            sys.modules.pop(CODE_MODULE_NAME, None)
        raise EngineError("code_failed", text) from None

    def _function(self, module: ModuleType) -> Callable[[pil.Image.Image, dict[str, Any]], Any]:
        """Compile the code and return its function `transform`."""
        if self.source is None:
            raise EngineError("bad_job", f"the host did not send the code of module {self.module}")
        source = self.source
        # Tracebacks read their source lines from this cache.
        linecache.cache[CODE_FILE_NAME] = (len(source), None, source.splitlines(keepends=True), CODE_FILE_NAME)
        # dont_inherit: only the code's own __future__ imports count.
        exec(compile(source, CODE_FILE_NAME, "exec", dont_inherit=True), vars(module))  # noqa: S102 - the sandbox exists for this
        function = vars(module).get("transform")
        if not callable(function):
            raise TypeError("there is no function transform(image, params)")
        checked: Callable[[pil.Image.Image, dict[str, Any]], Any] = function
        return checked


def _traceback(error: Exception) -> str:
    """Format the traceback for the author of the code: from the recipe's first line on."""
    found = traceback.TracebackException.from_exception(error)
    mine = next((at for at, frame in enumerate(found.stack) if frame.filename == CODE_FILE_NAME), len(found.stack))
    found.stack = traceback.StackSummary.from_list(list(found.stack)[mine:])
    return "".join(found.format()).rstrip()


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise _CodeTimeout after `seconds`."""
    import signal

    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _CodeTimeout

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _memory_limit(megabytes: int) -> Iterator[None]:
    """Limit the address space to its current size plus `megabytes`."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        with open("/proc/self/statm") as stream:  # noqa: PTH123 - not a file that needs a path
            used = int(stream.read().split()[0]) * resource.getpagesize()
    except OSError:
        yield  # not Linux: only the host's limit applies
        return
    most = used + megabytes * 1024 * 1024
    most = most if before[1] == resource.RLIM_INFINITY else min(most, before[1])
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
