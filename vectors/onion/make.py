"""Makes onion.json with no code of Naulon's, after docs/spec/onion.md. Needs PyPI's `cryptography`."""

import hashlib
import json
import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCK, HEADER, TAG, HOPS = 4096, 21, 16, 3
FARE_ROOM = (BLOCK - HEADER) // HOPS - 33 - TAG - 56
SET_UP, DATA, FARE, PACKET, REPLY, RETURN = 1, 2, 3, 4, 5, 6


def u32(number):
    return number.to_bytes(4, "big")


def noise(label, length):
    """Stands for randomness: any bytes would do."""
    return hashlib.shake_256(label.encode()).digest(length)


def public(seed):
    return X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def derive(seed, hop_key, label, length):
    shared = X25519PrivateKey.from_private_bytes(seed).exchange(X25519PublicKey.from_public_bytes(hop_key))
    info = label + b"\x01" + public(seed) + hop_key
    return HKDF(hashes.SHA256(), length, None, info).derive(shared)


def seal(key, direction, counter, aad, plain):
    return AESGCM(key).encrypt(bytes([direction]) + bytes(7) + u32(counter), plain, aad)


def header(kind, session, counter):
    return bytes([kind]) + session + u32(counter)


def pay(index, tick, flags=0, slot=0):
    return bytes([flags | slot << 4]) + u32(index) + tick


def fare(content, room=FARE_ROOM):
    return len(content).to_bytes(2, "big") + content + bytes(room - len(content))


hop_seeds = [noise(f"hop {i}", 32) for i in range(HOPS)]
hop_keys = [public(seed) for seed in hop_seeds]
mixes = [noise(f"mix {i}", 32) for i in range(HOPS)]
ephemerals = [noise(f"ephemeral {i}", 32) for i in range(HOPS)]
sessions = [noise(f"session {i}", 16) for i in range(HOPS + 1)]
fares = [noise(f"fare {i}", 400 + i) for i in range(HOPS)]
checks = [noise(f"check {i}", 32) for i in range(HOPS)]
EPOCH, PROTOCOL, TRAFFIC = 258, 2, 1  # before/recipient, cohort
keys = []
for i in range(HOPS):
    four = derive(ephemerals[i], hop_keys[i], b"naulon/onion/session/1", 128)
    keys.append([four[n : n + 32] for n in range(0, 128, 32)])

# Set-up: from the inside out.
inner = noise("rest of the set-up", BLOCK - HEADER - HOPS * (33 + 56 + FARE_ROOM + TAG))
for i in reversed(range(HOPS)):
    following = mixes[i + 1] if i + 1 < HOPS else bytes(32)
    part = following + sessions[i + 1] + bytes([PROTOCOL, TRAFFIC]) + u32(EPOCH) + fare(fares[i])
    lead = b"\x01" + public(ephemerals[i])
    inner = lead + seal(keys[i][0], 0, 0, header(SET_UP, sessions[i], i + 1) + lead, part + inner)
set_up = header(SET_UP, sessions[0], 1) + inner


def forward(kind, counter, parts, payload):
    body = payload
    for i in reversed(range(HOPS)):
        body = seal(keys[i][1], 1, counter, header(kind, sessions[i], counter), parts[i] + body)
    return header(kind, sessions[0], counter) + body


ticks = [noise(f"tick {i}", 16) for i in range(HOPS)]
payload = noise("payload", BLOCK - HEADER - HOPS * (21 + TAG))
data = forward(DATA, 0, [pay(i + 5, ticks[i], flags=2, slot=i) for i in range(HOPS)], payload)
more = [pay(i + 9, ticks[i]) + fare(fares[i]) for i in range(HOPS)]
fare_block = forward(FARE, 1, more, bytes(BLOCK - HEADER - HOPS * (21 + 2 + FARE_ROOM + TAG)))

packet_payload = noise("packet", BLOCK - HEADER - HOPS * (33 + 64 + 21 + TAG))
body = packet_payload
packet_seeds = [noise(f"packet ephemeral {i}", 32) for i in range(HOPS)]
for i in reversed(range(HOPS)):
    following = mixes[i + 1] if i + 1 < HOPS else bytes(32)
    key = derive(packet_seeds[i], hop_keys[i], b"naulon/onion/packet/1", 32)
    lead = b"\x01" + public(packet_seeds[i])
    plain = following + checks[i] + pay(i + 5, ticks[i]) + body
    body = lead + seal(key, 0, 0, header(PACKET, bytes(16), i + 1) + lead, plain)
packet = header(PACKET, bytes(16), 1) + body

onion = b""
for i in range(HOPS):
    onion = seal(keys[i][3], 3, 77, bytes([RETURN]), pay(i + 5, ticks[i]) + onion)

reply_payload = noise("reply", BLOCK - HEADER - HOPS * TAG)
body = reply_payload
for i in reversed(range(HOPS)):
    body = seal(keys[i][2], 2, 0, bytes([REPLY]), body)

blocks = dict(set_up=set_up, data=data, fare=fare_block, packet=packet)
assert all(len(block) == BLOCK for block in blocks.values())
vectors = {
    "note": "A path of three mixes; all bytes hexadecimal; blocks as they come to the first mix. README.md says what is what.",
    "epoch": EPOCH,
    "hop_seeds": [seed.hex() for seed in hop_seeds],
    "hop_keys": [key.hex() for key in hop_keys],
    "mixes": [mix.hex() for mix in mixes],
    "sessions": [session.hex() for session in sessions],
    "fares": [content.hex() for content in fares],
    "checks": [check.hex() for check in checks],
    "ticks": [tick.hex() for tick in ticks],
    "payload": payload.hex(),
    "packet_payload": packet_payload.hex(),
    "reverse_onion": {"number": 77, "bytes": onion.hex()},
    "reply": {"payload": reply_payload.hex(), "sealed": body.hex()},
    "blocks": {name: block.hex() for name, block in blocks.items()},
}
with open(os.path.join(HERE, "onion.json"), "w") as file:
    json.dump(vectors, file, indent=1)
    file.write("\n")
