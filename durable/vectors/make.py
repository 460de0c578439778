#!/usr/bin/env python3
"""Writes the vectors of docs/spec/sealed-file.md, without Naulon's code (needs PyPI `cryptography` 44 or later)."""

import hashlib
import hmac
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HERE = Path(__file__).parent


def text(value):
    return bytes([0x60 | len(value)]) + value  # up to 23 bytes


def octets(value):
    return (bytes([0x40 | len(value)]) if len(value) < 24 else bytes([0x58, len(value)])) + value


# The file: passphrase "horse", 8 KiB, 1 pass, 1 lane, salt and nonce all 07.
salt, nonce = bytes([7]) * 16, bytes([7]) * 12
fields = text(b"naulon/sealed-file/1") + bytes([8, 1, 1]) + octets(salt) + octets(nonce)
key = Argon2id(salt=salt, length=32, iterations=1, lanes=1, memory_cost=8).derive(b"horse")
ciphertext = AESGCM(key).encrypt(nonce, b"twenty-four words", b"\x86" + fields)
(HERE / "sealed-file.bin").write_bytes(b"\x87" + fields + octets(ciphertext))

# The row: secret all 01, nonce all 09, context "token/7", plaintext and look-up value "q".


def subkey(info):
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(bytes([1]) * 32)


row_nonce = bytes([9]) * 12
row = row_nonce + AESGCM(subkey(b"naulon/row/seal/1")).encrypt(row_nonce, b"q", b"token/7")
(HERE / "row-seal.bin").write_bytes(row)
(HERE / "row-lookup.bin").write_bytes(hmac.new(subkey(b"naulon/row/lookup/1"), b"q", hashlib.sha256).digest())
