"""Torrents to exchange: bencode, a metainfo file and its content."""

import hashlib
import random
from dataclasses import dataclass
from urllib.parse import quote

PIECE = 64 * 1024
# A few MiB, and not a multiple of the piece: the last piece is a short one.
SIZE = 4 * 1024 * 1024 + 12_345


@dataclass(frozen=True)
class Torrent:
    """One file named like its torrent, the same in every run."""

    name: str
    content: bytes
    info: bytes

    @classmethod
    def named(cls, name, *, private=True):
        content = random.Random(name).randbytes(SIZE)
        pieces = (content[at : at + PIECE] for at in range(0, SIZE, PIECE))
        info = {
            "length": SIZE,
            "name": name,
            "piece length": PIECE,
            "pieces": b"".join(hashlib.sha1(piece).digest() for piece in pieces),
        }
        if private:
            # BEP 27: a client must ask nobody but the tracker for peers.
            info["private"] = 1
        return cls(name, content, bencode(info))

    @property
    def info_hash(self):
        return hashlib.sha1(self.info).digest()

    def metainfo(self, announce):
        """The .torrent file for one announce URL. The info hash does not depend on it."""
        return b"d" + bencode("announce") + bencode(announce) + bencode("info") + self.info + b"e"

    def magnet(self, announce):
        """The magnet link (BEP 9) for one announce URL: no size, no names, no hashes of pieces."""
        return f"magnet:?xt=urn:btih:{self.info_hash.hex()}&tr={quote(announce, safe='')}"


def bencode(value):
    match value:
        case int():
            return b"i%de" % value
        case str():
            return bencode(value.encode())
        case bytes():
            return b"%d:%s" % (len(value), value)
        case dict():
            # BEP 3 wants the keys sorted.
            return b"d" + b"".join(bencode(k) + bencode(v) for k, v in sorted(value.items())) + b"e"
    raise TypeError(f"no bencode for {type(value).__name__}")


def bdecode(data):
    """The value; bytes stay bytes. Anything after it, or missing in it, is a ValueError."""
    try:
        value, end = _decode(data, 0)
    except IndexError:
        raise ValueError("bencode ends early") from None
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the bencoded value")
    return value


def _decode(data, at):
    kind = chr(data[at])
    if kind == "i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in "ld":
        items, at = [], at + 1
        while data[at] != ord("e"):
            item, at = _decode(data, at)
            items.append(item)
        value = items if kind == "l" else dict(zip(items[::2], items[1::2], strict=True))
        return value, at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    if end > len(data):
        raise IndexError
    return data[colon + 1 : end], end
