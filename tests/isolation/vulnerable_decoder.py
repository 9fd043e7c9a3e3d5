"""A decoder with a vulnerability, for sessions of these tests: it executes the text `exploit` of a PNG file.

Sessions import this module before their first job, so it stands for a Pillow that has the vulnerability.
"""

from PIL import PngImagePlugin

_open = PngImagePlugin.PngImageFile._open


def _open_and_be_exploited(self: PngImagePlugin.PngImageFile) -> None:
    _open(self)
    code = self.info.get("exploit")
    if code:
        exec(code, {"__name__": "exploit"})  # noqa: S102 - the vulnerability


PngImagePlugin.PngImageFile._open = _open_and_be_exploited  # type: ignore[method-assign]
