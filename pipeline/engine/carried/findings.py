"""Findings: collect what the containers of a source hold, before any of it is parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_BLOCK_BYTES = 16 * 1024 * 1024
"""Longest block of metadata that is searched. Longer blocks count as absent."""

_XMP_SIGNS: tuple[tuple[str, bytes], ...] = (
    ("gain_map", b"ns.adobe.com/hdr-gain-map/"),
    ("gain_map", b"ns.apple.com/HDRGainMap/"),
    ("depth", b"ns.google.com/photos/1.0/depthmap/"),
    ("panorama", b"ns.google.com/photos/1.0/panorama/"),
    ("motion_photo", b'MotionPhoto="1"'),
    ("motion_photo", b"MotionPhoto>1"),
    ("motion_photo", b'MicroVideo="1"'),
    ("motion_photo", b"MicroVideo>1"),
    ("c2pa", b"dcterms:provenance"),
)
"""Byte strings in an XMP packet that are the sign of other information in the file."""

_SEMANTIC = re.compile(rb"Semantic(?:=[\"']|>)\s*(\w{1,40})")
"""The role of a further image or video in the file (Google's GContainer)."""

_SEMANTICS = {b"GainMap": "gain_map", b"Depth": "depth", b"DepthMap": "depth", b"MotionPhoto": "motion_photo"}


@dataclass
class Findings:
    """Names (`encode.dropped`) of information in a source, and its XMP packets and IPTC-IIM blocks."""

    names: set[str] = field(default_factory=set)
    packets: list[bytes] = field(default_factory=list)
    iim: list[bytes] = field(default_factory=list)

    def add_packet(self, packet: object) -> None:
        """Add an XMP packet, and the names of other information of which it is a sign."""
        if not isinstance(packet, bytes) or not packet or len(packet) > MAX_BLOCK_BYTES:
            return
        self.packets.append(packet)
        self.names.update(name for name, sign in _XMP_SIGNS if sign in packet)
        if b"Semantic" in packet:
            roles = {found[1] for found in _SEMANTIC.finditer(packet)}
            self.names.update(name for role, name in _SEMANTICS.items() if role in roles)
