"""Makes strict.json: signatures and keys that implementations of Ed25519 disagree about, and what Naulon says to each.

The constructions are those of Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs" (2020), table of test vectors; the
numbers are our own. The four signatures named rfc8032 are from RFC 8032 §7.1.
"""

import json
import os

from ed25519 import BASE, IDENTITY, L, P, add, decode_leniently, encode, equations, hash_int, mul, neg, public, secret, sign

SEED = bytes([1]) * 32
A_SCALAR, _ = secret(SEED)
A_SCALAR %= L


def torsion():
    """The eight points of small order: multiples of one of order eight."""
    y = 2
    while True:
        point = decode_leniently(y.to_bytes(32, "little"))
        if point is not None:
            eighth = mul(L, point)
            if mul(4, eighth) != IDENTITY:
                return [mul(i, eighth) for i in range(8)]
        y += 1


TORSION = torsion()
EIGHTH = TORSION[1]


def le(n):
    return n.to_bytes(32, "little")


def grind(key, big_r, wanted):
    """A message for which k has the wanted property, and that k."""
    for i in range(10_000):
        message = b"naulon/ed25519/" + i.to_bytes(4, "big")
        k = hash_int(big_r, key, message) % L
        if wanted(k):
            return message, k
    raise SystemExit("no message found")


VECTORS = []


def vector(name, why, key, message, signature, accept):
    cofactorless, cofactored = equations(key, message, signature)
    VECTORS.append(
        {
            "name": name,
            "why": why,
            "public_key": key.hex(),
            "message": message.hex(),
            "signature": signature.hex(),
            "cofactorless_equation": cofactorless,
            "cofactored_equation": cofactored,
            "accept": accept,
        }
    )


def rfc8032():
    for number, seed, message in [
        (1, "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", ""),
        (2, "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "72"),
        (3, "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", "af82"),
        (
            "sha-abc",
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ]:
        seed, message = bytes.fromhex(seed), bytes.fromhex(message)
        vector(f"rfc8032-{number}", "an ordinary signature", public(seed), message, sign(seed, message), True)


def ordinary():
    key, message = public(SEED), b"pay the bearer"
    signature = sign(SEED, message)
    big_r, s = signature[:32], int.from_bytes(signature[32:], "little")
    vector("another-message", "not what was signed", key, b"pay the bearer twice", signature, False)
    vector("another-key", "not who signed", public(bytes([2]) * 32), message, signature, False)
    vector("s-plus-l", "S is not below L: anybody makes a second signature of a first", key, message, big_r + le(s + L), False)
    vector("s-plus-15-l", "S far above L, its top bits set", key, message, big_r + le(s + 15 * L), False)
    vector("s-zero", "S is zero, R is not", key, message, big_r + le(0), False)
    vector("r-negated", "another R of the same y", key, message, encode(neg(mul(1, decode_leniently(big_r)))) + le(s), False)


def small_order():
    for i, point in enumerate(TORSION):
        key = encode(point)
        big_r = encode(TORSION[1])
        message, _ = grind(key, big_r, lambda k: add(TORSION[1], mul(k, point)) == IDENTITY) if i % 2 else (b"any", 0)
        if i % 2 == 0:
            big_r = encode(IDENTITY)
            message, _ = grind(key, big_r, lambda k: mul(k, point) == IDENTITY)
        why = "a key of small order: the signature (R, 0) fits many messages, so nothing was promised"
        vector(f"small-order-a-{i}", why, key, message, big_r + le(0), False)
    # A of small order, R and S ordinary.
    r = 12345
    key, big_r = encode(TORSION[2]), encode(mul(r, BASE))
    message, _ = grind(key, big_r, lambda k: mul(k, TORSION[2]) == IDENTITY)
    vector("small-order-a-ordinary-r", "a key of small order, with an ordinary R", key, message, big_r + le(r), False)
    # R of small order, A ordinary, and A of mixed order.
    key = public(SEED)
    big_r = encode(IDENTITY)
    message, k = grind(key, big_r, lambda k: True)
    vector("r-identity", "R is the identity: small order", key, message, big_r + le(k * A_SCALAR % L), False)
    mixed = encode(add(mul(A_SCALAR, BASE), EIGHTH))
    big_r = encode(TORSION[3])
    message, k = grind(mixed, big_r, lambda k: add(TORSION[3], mul(k, EIGHTH)) == IDENTITY)
    why = "R of small order, A of mixed order; both equations hold"
    vector("small-order-r-mixed-a", why, mixed, message, big_r + le(k * A_SCALAR % L), False)


def mixed_order():
    key = encode(add(mul(A_SCALAR, BASE), EIGHTH))
    r = 67890
    big_r = encode(add(mul(r, BASE), TORSION[5]))
    message, k = grind(key, big_r, lambda k: add(TORSION[5], mul(k, EIGHTH)) == IDENTITY)
    why = "A and R of mixed order, and the cofactorless equation holds: the owner made the key so, and is bound by it"
    vector("mixed-order-cofactorless", why, key, message, big_r + le((r + k * A_SCALAR) % L), True)
    message, k = grind(key, big_r, lambda k: add(TORSION[5], mul(k, EIGHTH)) != IDENTITY)
    why = "only the cofactored equation holds: verifiers that multiply by eight, or verify in batches, would accept"
    vector("cofactored-only", why, key, message, big_r + le((r + k * A_SCALAR) % L), False)
    big_r = encode(mul(r, BASE))
    message, k = grind(key, big_r, lambda k: mul(k, EIGHTH) != IDENTITY)
    why = "only the cofactored equation holds, R is ordinary"
    vector("cofactored-only-ordinary-r", why, key, message, big_r + le((r + k * A_SCALAR) % L), False)


def not_canonical():
    key = public(SEED)
    for name, big_r in [("p-plus-1", le(P + 1)), ("minus-zero", le(1 | 1 << 255)), ("minus-zero-of-p-plus-1", le(P + 1 | 1 << 255))]:
        message, k = grind(key, big_r, lambda k: True)
        why = "R is the identity in another encoding"
        vector(f"r-{name}", why, key, message, big_r + le(k * A_SCALAR % L), False)
    for name, other in [("p-plus-1", le(P + 1)), ("minus-zero", le(1 | 1 << 255)), ("minus-one-minus-zero", le(P - 1 | 1 << 255))]:
        r = 24680
        big_r = encode(mul(r, BASE))
        point = decode_leniently(other)
        message, _ = grind(other, big_r, lambda k: mul(k, point) == IDENTITY)
        vector(f"a-{name}", "the key is a point of small order in another encoding", other, message, big_r + le(r), False)
    big_r = le(2)
    while decode_leniently(big_r) is not None:
        big_r = le(int.from_bytes(big_r, "little") + 1)
    vector("r-no-point", "R is no point at all", key, b"any", big_r + le(1), False)


def keys():
    found = [{"name": "ordinary", "public_key": public(SEED).hex(), "usable": True}]
    found.append({"name": "mixed-order", "public_key": encode(add(mul(A_SCALAR, BASE), EIGHTH)).hex(), "usable": True})
    found += [{"name": f"small-order-{i}", "public_key": encode(t).hex(), "usable": False} for i, t in enumerate(TORSION)]
    for y in range(19):
        for odd in (0, 1):
            data = le(P + y | odd << 255)
            if decode_leniently(data) is not None:
                found.append({"name": f"y-p-plus-{y}-sign-{odd}", "public_key": data.hex(), "usable": False})
    found.append({"name": "identity-minus-zero", "public_key": le(1 | 1 << 255).hex(), "usable": False})
    found.append({"name": "order-two-minus-zero", "public_key": le(P - 1 | 1 << 255).hex(), "usable": False})
    no_point = next(y for y in range(2, 99) if decode_leniently(le(y)) is None)
    found.append({"name": "no-point", "public_key": le(no_point).hex(), "usable": False})
    return found


if __name__ == "__main__":
    for part in (rfc8032, ordinary, small_order, mixed_order, not_canonical):
        part()
    text = json.dumps({"source": __doc__.strip(), "signatures": VECTORS, "keys": keys()}, indent=2)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "strict.json")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")
