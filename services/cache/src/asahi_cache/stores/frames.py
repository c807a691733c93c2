"""How an entry lies in a shared store: version, size, a checksum over it and its name, compressed where that pays.

What is of another version, truncated, damaged or of another name reads as nothing. The checksum finds accidents and
values that were moved; it is no signature: who can write to the store can write answers.
"""

import struct
from hashlib import blake2b

import zstandard
from google.protobuf.message import DecodeError

from asahi.cache.v1.cache_pb2 import CacheEntry

VERSION = 1
MAX_BYTES = 1024 * 1024
"""Most bytes of a frame, and of the entry in it."""
_COMPRESSED_FROM = 512
_PLAIN, _ZSTD = 0, 1
_HEAD = struct.Struct(">BBI16s")  # version, codec, bytes of the entry, checksum


class Frames:
    """Writes and reads frames; not for several threads at once."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=1, write_checksum=False)
        self._decompressor = zstandard.ZstdDecompressor()

    def frame(self, organization_id: str, fingerprint: bytes, entry: CacheEntry) -> bytes | None:
        """The entry as it is kept; None: it is too big to be shared."""
        data = entry.SerializeToString()
        if len(data) > MAX_BYTES:
            return None
        codec, body = _PLAIN, data
        if len(data) >= _COMPRESSED_FROM:
            compressed = self._compressor.compress(data)
            if len(compressed) < len(data):
                codec, body = _ZSTD, compressed
        checksum = _checksum(organization_id, fingerprint, codec, len(data), body)
        return _HEAD.pack(VERSION, codec, len(data), checksum) + body

    def read(self, organization_id: str, fingerprint: bytes, frame: bytes) -> CacheEntry | None:
        """The entry; None: this is not the frame of one with this name."""
        if not _HEAD.size <= len(frame) <= MAX_BYTES + _HEAD.size:
            return None
        version, codec, size, checksum = _HEAD.unpack_from(frame)
        body = frame[_HEAD.size :]
        if version != VERSION or size > MAX_BYTES:
            return None
        if checksum != _checksum(organization_id, fingerprint, codec, size, body):
            return None
        try:
            if codec == _ZSTD:
                if zstandard.frame_content_size(body) != size:
                    return None
                body = self._decompressor.decompress(body)
            return CacheEntry.FromString(body) if len(body) == size else None
        except (zstandard.ZstdError, DecodeError):
            return None


def _checksum(organization_id: str, fingerprint: bytes, codec: int, size: int, body: bytes) -> bytes:
    digest = blake2b(body, digest_size=16, person=b"asahi-entry")
    digest.update(struct.pack(">BI", codec, size) + fingerprint + organization_id.encode())
    return digest.digest()
