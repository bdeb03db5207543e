#!/usr/bin/env python3
"""Opens one sealed object of a Lifeboat vault in a directory, with stock libraries only.

    pip install cryptography argon2-cffi zstandard
    open.py VAULT OBJECT [FRAME]     e.g. open.py /srv/vault services/orders-db/points/2026…

Asks for the passphrase; or takes the 32 bytes that `age --decrypt` gave from the file in VAULT_KEY.
Writes the object to standard output: one frame, all chunks of a layer's index, a pack's directory, or
frame FRAME of a pack. The format is described in ../format.md.
"""
import base64, getpass, json, os, pathlib, struct, sys
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
import zstandard


def frame(key, name, sealed, number, header):
    """Opens frame `number` of the object `name`, whose first 48 bytes are `header`."""
    assert header[:8] == b"LIFEBOAT" and header[8] == 1, "not a sealed object of version 1"
    info = b"lifeboat object v1\0" + name.encode()
    object_key = HKDF(hashes.SHA256(), 32, salt=header[16:48], info=info).derive(key)
    place = name.encode() + b"\0" + struct.pack(">I", number)
    plain = AESGCM(object_key).decrypt(number.to_bytes(12, "big"), sealed, place)
    return zstandard.ZstdDecompressor().decompress(plain[1:]) if plain[0] else plain[1:]


def vault_key(vault):
    if "VAULT_KEY" in os.environ:
        return pathlib.Path(os.environ["VAULT_KEY"]).read_bytes()
    wrapped = json.loads(next(iter(sorted(vault.glob("keys/*-passphrase")))).read_bytes())
    wrapping = hash_secret_raw(
        getpass.getpass().encode(), base64.b64decode(wrapped["salt"]), wrapped["passes"],
        wrapped["memory_kib"], wrapped["lanes"], 32, Type.ID)
    sealed = base64.b64decode(wrapped["sealed"])
    return frame(wrapping, "keys/passphrase", sealed[48:], 0, sealed[:48])


def main(vault, name, wanted=None):
    key, raw = vault_key(vault), (vault / name).read_bytes()
    header, body, kind = raw[:48], raw[48:], name.rsplit("/", 1)[1]
    if kind == "index":  # frames with their length before each
        number = 0
        while body:
            (length,) = struct.unpack_from("<I", body)
            yield frame(key, name, body[4:4 + length], number, header) + b"\n"
            number, body = number + 1, body[4 + length:]
    elif kind.startswith("pack-"):  # frames, their directory, a trailer that tells where it is
        offset, number, magic = struct.unpack("<QI4s", raw[-16:])
        assert magic == b"PACK"
        directory = frame(key, name, raw[offset:-16], number, header)
        if wanted is None:
            yield directory
        else:
            entry = json.loads(directory)["frames"][wanted]
            yield frame(key, name, raw[entry["o"]:entry["o"] + entry["s"]], wanted, header)
    else:
        yield frame(key, name, body, 0, header)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    for part in main(pathlib.Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])):
        sys.stdout.buffer.write(part)
