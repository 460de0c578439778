"""Ed25519 in plain integers, after RFC 8032 §5.1: slow, not constant in time, for test vectors only."""

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
IDENTITY = (0, 1)


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + t, P - 2, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - t, P - 2, P) % P
    return x, y


def mul(n, a):
    r = IDENTITY
    while n:
        if n & 1:
            r = add(r, a)
        a, n = add(a, a), n >> 1
    return r


def neg(a):
    return -a[0] % P, a[1]


def encode(a):
    return (a[1] | (a[0] & 1) << 255).to_bytes(32, "little")


def x_of(y, odd):
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if x * x % P != xx:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != xx:
        return None
    return x if x & 1 == odd else -x % P


def decode_leniently(data):
    """The point of 32 bytes as a careless implementation reads them: y is reduced, and −0 is 0."""
    n = int.from_bytes(data, "little")
    y, odd = (n & (1 << 255) - 1) % P, n >> 255
    x = x_of(y, odd)
    return None if x is None else (x, y)


BASE = (x_of(4 * pow(5, P - 2, P) % P, 0), 4 * pow(5, P - 2, P) % P)


def hash_int(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def secret(seed):
    h = hashlib.sha512(seed).digest()
    a = int.from_bytes(h[:32], "little")
    return a & (1 << 254) - 8 | 1 << 254, h[32:]


def public(seed):
    return encode(mul(secret(seed)[0], BASE))


def sign(seed, message):
    a, prefix = secret(seed)
    r = hash_int(prefix, message) % L
    big_r = encode(mul(r, BASE))
    k = hash_int(big_r, public(seed), message) % L
    return big_r + ((r + k * a) % L).to_bytes(32, "little")


def equations(key, message, signature):
    """Whether the cofactorless and the cofactored equation hold, S not being reduced and encodings read leniently."""
    a, r = decode_leniently(key), decode_leniently(signature[:32])
    if a is None or r is None:
        return False, False
    s = int.from_bytes(signature[32:], "little")
    k = hash_int(signature[:32], key, message) % L
    difference = add(mul(s, BASE), neg(add(r, mul(k, a))))
    return difference == IDENTITY, mul(8, difference) == IDENTITY
