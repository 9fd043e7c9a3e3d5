"""Findings: collect what the containers of a source hold, before any of it is parsed."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_BLOCK_BYTES = 16 * 1024 * 1024
"""Length of a block of metadata that is read. The rest of a longer block is not searched."""

MAX_PACKETS = 8
"""Largest number of XMP packets, and of IPTC-IIM blocks. Files have one or two."""

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_IIM_BYTES = 1024 * 1024


@dataclass
class Findings:
    """Names (`encode.dropped`) of information in a source, its XMP packets, IPTC-IIM blocks and C2PA manifest store.

    `index` is the selected frame or page.
    """

    index: int = 0
    names: set[str] = field(default_factory=set)
    packets: list[bytes] = field(default_factory=list)
    iim: list[bytes] = field(default_factory=list)
    manifests: bytes = b""

    def add_packet(self, packet: object) -> None:
        """Add an XMP packet, if it is one."""
        if isinstance(packet, bytes) and packet and len(self.packets) < MAX_PACKETS:
            self.packets.append(packet[:MAX_BLOCK_BYTES])

    def add_manifests(self, store: bytes) -> None:
        """Add the C2PA manifest store. A file has one; the first counts."""
        self.names.add("c2pa")
        self.manifests = self.manifests or store[:MAX_MANIFEST_BYTES]

    def add_iim(self, *blocks: bytes) -> None:
        """Add IPTC-IIM blocks."""
        self.iim += [block[:MAX_IIM_BYTES] for block in blocks if block][: MAX_PACKETS - len(self.iim)]
