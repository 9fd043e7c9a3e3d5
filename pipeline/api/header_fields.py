"""Values of HTTP header fields with parameters, such as `multipart/form-data; boundary=x` (RFC 9110, section 5.6)."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote_to_bytes

# Clients send unquoted boundaries with characters that a token must not have, such as `=` and `:`.
_PARAMETER = re.compile(r'\s*;\s*(?:([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;,\s"]*))?')
_MEDIA_TYPE = re.compile(r"[!#$&^_.+*0-9a-z-]{1,100}/[!#$&^_.+*0-9a-z-]{1,100}")


@dataclass(frozen=True)
class HeaderField:
    """The value of a header field in lower case, and its parameters by lower-case name."""

    value: str
    parameters: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a value with parameters. Raises ValueError if it is malformed or has a parameter twice."""
        value, parameters = text.partition(";")[0], dict[str, str]()
        end = len(value)
        while end < len(text):
            match = _PARAMETER.match(text, end)
            if not match:
                raise ValueError(f"malformed at {text[end : end + 40].strip()!r}")
            end = match.end()
            name = (match[1] or "").lower()
            if name in parameters:
                raise ValueError(f"{name} is given twice")
            if name:
                parameters[name] = _unquoted(match[2])
        return cls(value.strip().lower(), parameters)

    @property
    def is_media_type(self) -> bool:
        """True if the value is one media type."""
        return _MEDIA_TYPE.fullmatch(self.value) is not None

    def text(self, name: str) -> str | None:
        """Return a parameter; the extended form `name*=charset'language'text` precedes the plain one (RFC 8187).

        Raises ValueError if the extended form is malformed.
        """
        extended = self.parameters.get(f"{name}*")
        if extended is None:
            return self.parameters.get(name)
        charset, language, encoded = [*extended.split("'", 2), "", ""][:3]
        if charset.lower() not in ("utf-8", "iso-8859-1") or not language.isascii():
            raise ValueError(f"{name}* must have the form UTF-8''text")
        return unquote_to_bytes(encoded).decode(charset)


def _unquoted(text: str) -> str:
    """Return a parameter without quotation marks. Only these two escapes count: file names may have backslashes."""
    return re.sub(r'\\(["\\])', r"\1", text[1:-1]) if text.startswith('"') else text
