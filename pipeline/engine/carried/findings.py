"""Findings: collect what the containers of a source hold, before any of it is parsed."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_BLOCK_BYTES = 16 * 1024 * 1024
"""Longest block of metadata that is searched. Longer blocks count as absent."""

MAX_PACKETS = 8
"""Largest number of XMP packets. Files have one, and a JPEG with a long one has its extension, too."""


@dataclass
class Findings:
    """Names (`encode.dropped`) of information in a source, and its XMP packets and IPTC-IIM blocks.

    `index` is the selected frame or page.
    """

    index: int = 0
    names: set[str] = field(default_factory=set)
    packets: list[bytes] = field(default_factory=list)
    iim: list[bytes] = field(default_factory=list)

    def add_packet(self, packet: object) -> None:
        """Add an XMP packet, if it is one, and within the limits."""
        if isinstance(packet, bytes) and 0 < len(packet) <= MAX_BLOCK_BYTES and len(self.packets) < MAX_PACKETS:
            self.packets.append(packet)
