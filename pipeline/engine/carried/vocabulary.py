"""Vocabulary of XMP: the properties that renditions may keep, with the shape and the limits of their values."""

from __future__ import annotations

import re
from typing import NamedTuple

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XML = "http://www.w3.org/XML/1998/namespace"

NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "plus": "http://ns.useplus.org/ldf/xmp/1.0/",
    "cc": "http://creativecommons.org/ns#",
}

MAX_TEXT_CHARACTERS = 2000
MAX_ITEMS = 20
MAX_PACKET_BYTES = 32_000
"""Longest packet that a rendition gets. A JPEG segment holds 65,502 bytes, of which a gain map needs some."""


class Shape(NamedTuple):
    """Shape of a value.

    Attributes:
        container: rdf:Alt (texts by language), rdf:Seq, rdf:Bag, or empty for a single value.
        fields: The names of the fields of a structure; empty for a text.
        pattern: Pattern of the text.
        resource: The text is a URI, written as rdf:resource.
    """

    container: str = ""
    fields: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    resource: bool = False


_TEXT = Shape()
_LANGUAGES = Shape("Alt")
_LINK = Shape(pattern=re.compile(r"\S+"))
_RESOURCE = Shape(pattern=re.compile(r"\S+"), resource=True)
_PARTY = ("Name", "ID")
_LICENSOR = ("Name", "ID", "City", "Country", "Telephone1", "Telephone2", "Email", "URL")

RIGHTS: dict[str, Shape] = {
    "dc:creator": Shape("Seq"),
    "dc:rights": _LANGUAGES,
    "xmpRights:Certificate": _LINK,
    "xmpRights:Marked": Shape(pattern=re.compile("True|False", re.IGNORECASE)),
    "xmpRights:Owner": Shape("Bag"),
    "xmpRights:UsageTerms": _LANGUAGES,
    "xmpRights:WebStatement": _LINK,
    "photoshop:Credit": _TEXT,
    "photoshop:Instructions": _TEXT,
    "photoshop:Source": _TEXT,
    "Iptc4xmpCore:CreatorContactInfo": Shape(fields=("CiEmailWork", "CiTelWork", "CiUrlWork")),
    "plus:CopyrightOwner": Shape("Seq", tuple(f"CopyrightOwner{name}" for name in _PARTY)),
    "plus:ImageCreator": Shape("Seq", tuple(f"ImageCreator{name}" for name in _PARTY)),
    "plus:ImageSupplier": Shape("Seq", tuple(f"ImageSupplier{name}" for name in _PARTY)),
    "plus:Licensor": Shape("Seq", tuple(f"Licensor{name}" for name in _LICENSOR)),
    "plus:CreditLineRequired": _LINK,
    "plus:DataMining": _LINK,
    "plus:OtherConstraints": _LANGUAGES,
    "cc:attributionName": _TEXT,
    "cc:attributionURL": _RESOURCE,
    "cc:license": _RESOURCE,
}
"""Properties that `keep: [xmp_rights]` keeps. Postal addresses of creators are not among them."""

LABEL = "Iptc4xmpExt:DigitalSourceType"
LABEL_SHAPE = Shape(
    pattern=re.compile(r"https?://cv\.iptc\.org/newscodes/digitalsourcetype/[A-Za-z][A-Za-z0-9]{0,63}/?")
)
"""Values are URIs of the IPTC vocabulary."""

IIM_PROPERTIES = {80: "dc:creator", 110: "photoshop:Credit", 115: "photoshop:Source", 116: "dc:rights"}
"""Property for each dataset of IPTC-IIM with rights (Metadata Working Group, guidelines 2.0, 4.1)."""
