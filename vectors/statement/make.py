"""Makes sign1.json and purchase.json with no code of Naulon's: CBOR and COSE by hand, Ed25519 from ../ed25519."""

import hashlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, "..", "ed25519"))

from ed25519 import public, sign  # noqa: E402


class Tag:
    def __init__(self, number, value):
        self.number, self.value = number, value


class Raw(bytes):
    """Bytes that are CBOR already."""


def head(major, n):
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 24:
            return bytes([major << 5 | n])
        if n < 1 << 8 * size:
            return bytes([major << 5 | info]) + n.to_bytes(size, "big")
    raise ValueError(n)


def cbor(value):
    """Deterministic CBOR (RFC 8949 §4.2); dictionaries are written in the order of their encoded keys."""
    if isinstance(value, Raw):
        return bytes(value)
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, dict):
        items = sorted((cbor(key), cbor(item)) for key, item in value.items())
        return head(5, len(items)) + b"".join(key + item for key, item in items)
    if isinstance(value, Tag):
        return head(6, value.number) + cbor(value.value)
    raise TypeError(value)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


ALG, CONTENT_TYPE, KID, EDDSA = 1, 3, 4, -8


def protected(seed, content_type):
    return cbor({ALG: EDDSA, CONTENT_TYPE: content_type, KID: public(seed)})


def signature(seed, header, payload):
    return sign(seed, cbor(["Signature1", header, b"", payload]))


def sign1(seed, content_type, body, detached=False):
    header, payload = protected(seed, content_type), cbor(body)
    return cbor(Tag(18, [header, {}, None if detached else payload, signature(seed, header, payload)]))


def seed(number):
    return bytes([number]) * 32


NOTE = "application/naulon.test-note+cbor"
OTHER = "application/naulon.test-other+cbor"
ME, STRANGER = seed(1), seed(2)


def refusals():
    body = {1: 7}
    payload, header = cbor(body), protected(ME, NOTE)
    right = signature(ME, header, payload)
    message = [header, {}, payload, right]

    def case(name, why, code, data):
        return {"name": name, "why": why, "code": code, "sign1": data.hex()}

    def changed(**change):
        parts = dict(zip(("header", "unprotected", "payload", "signature"), message)) | change
        return cbor(Tag(18, list(parts.values())))

    def with_header(header, payload=payload):
        return cbor(Tag(18, [header, {}, payload, signature(ME, header, payload)]))

    fields = {ALG: EDDSA, CONTENT_TYPE: NOTE, KID: public(ME)}
    reordered = b"\xa3" + b"".join(cbor(key) + cbor(fields[key]) for key in (CONTENT_TYPE, ALG, KID))
    long_key = b"\xa1\x18\x01\x07"
    return [
        case("untagged", "the CBOR tag 18 is missing", "malformed", cbor(message)),
        case("other-tag", "tagged as COSE_Sign", "malformed", cbor(Tag(98, message))),
        case("unprotected-header", "something that is not signed", "malformed", changed(unprotected={KID: public(STRANGER)})),
        case("no-algorithm", "no algorithm", "malformed", with_header(cbor({k: v for k, v in fields.items() if k != ALG}))),
        case("other-algorithm", "ES256", "malformed", with_header(cbor(fields | {ALG: -7}))),
        case("other-content-type", "another kind of statement", "malformed", sign1(ME, OTHER, body)),
        case("no-content-type", "no kind of statement", "malformed", with_header(cbor({ALG: EDDSA, KID: public(ME)}))),
        case("short-key", "a key of 31 bytes", "malformed", with_header(cbor(fields | {KID: public(ME)[:31]}))),
        case("extra-header", "a further protected header", "malformed", with_header(cbor(fields | {5: b"iv"}))),
        case("critical-header", "a critical header", "malformed", with_header(cbor(fields | {2: [ALG]}))),
        case("reordered-header", "the protected header in another order", "not_canonical", with_header(reordered)),
        case("detached", "the payload is elsewhere", "malformed", sign1(ME, NOTE, body, detached=True)),
        case("long-integer", "a payload with an integer longer than need be", "not_canonical", with_header(header, long_key)),
        case("unknown-field", "a payload with a further field", "not_canonical", sign1(ME, NOTE, {1: 7, 2: 8})),
        case("payload-and-more", "a byte behind the payload", "not_canonical", with_header(header, payload + b"\0")),
        case("not-a-note", "a payload of another shape", "malformed", sign1(ME, NOTE, ["seven"])),
        case("message-and-more", "a byte behind the message", "malformed", changed() + b"\0"),
        case("short-signature", "a signature of 63 bytes", "malformed", changed(signature=right[:63])),
        case("long-signature", "a signature of 65 bytes", "malformed", changed(signature=right + b"\0")),
        case("another-payload", "signed was another payload", "bad_signature", changed(signature=signature(ME, header, cbor({1: 8})))),
        case(
            "another-kind",
            "signed was another kind of statement with the same payload",
            "bad_signature",
            changed(signature=signature(ME, protected(ME, OTHER), payload)),
        ),
        case("bare-signature", "signed was the payload alone", "bad_signature", changed(signature=sign(ME, payload))),
        case("another-signer", "signed, soundly, by another key", "wrong_signer", sign1(STRANGER, NOTE, body)),
        case(
            "borrowed-name",
            "signed by another key in this one's name",
            "bad_signature",
            changed(signature=signature(STRANGER, header, payload)),
        ),
    ]


def sign1_file():
    body = {1: 7}
    payload = cbor(body)
    signers = sorted((ME, STRANGER, seed(3)), key=public)
    return {
        "source": __doc__.strip(),
        "content_type": NOTE,
        "signer_seed": ME.hex(),
        "signer": public(ME).hex(),
        "value": 7,
        "payload": payload.hex(),
        "sign1": sign1(ME, NOTE, body).hex(),
        "joint": {
            "seeds": [s.hex() for s in signers],
            "id": sha256(payload).hex(),
            "signatures": [sign1(s, NOTE, body, detached=True).hex() for s in signers],
        },
        "refused": refusals(),
    }


def purchase_file():
    bank, merchant, log, tokens = seed(1), seed(3), seed(10), [seed(30), seed(31)]
    n, k = bytes([7]) * 16, bytes([8]) * 32
    c = sha256(b"naulon/k", n, k)
    q = public(tokens[0])
    expiry, price, currency = 100_000, 4_000_000, "EUR"
    statements = []

    def statement(name, key, body):
        content_type = f"application/naulon.{name}+cbor"
        data = sign1(key, content_type, body)
        statements.append({"content_type": content_type, "signer": public(key).hex(), "sign1": data.hex()})
        return data

    contract = {1: "A thing", 2: "It is a thing.", 3: 12, 4: sha256(b"what is sold")}
    goods_m = statement(
        "goods-m",
        merchant,
        {
            1: contract, 2: price, 3: currency, 4: public(merchant), 5: n, 6: bytes([0x11]) * 32, 7: c, 8: bytes([0x22]) * 48,
            9: [public(bank)], 10: [public(log)], 11: 80_000, 12: 10_000, 13: True,
        },
    )
    statement("goods-q", tokens[0], {1: sha256(goods_m)})
    token = lambda key: b"\x00\x02" + public(key) + bytes([9]) * 320
    authorization_q = {
        1: public(bank),
        2: currency,
        3: [[2, [token(key)]] for key in tokens],
        4: [[0, [public(merchant), price]], [1, [bytes([5]) * 32, bytes([6]) * 256]]],
        5: {1: n, 2: public(merchant), 3: expiry, 4: public(log), 5: c, 6: q},
    }
    a = sha256(cbor(authorization_q))
    header = {1: public(bank), 2: public(merchant), 3: n, 4: expiry, 5: public(log), 6: a, 7: c, 8: q}
    digest = sha256(cbor(header))
    statement("header", bank, header)
    statement("authorization-b", bank, {1: digest, 2: price, 3: currency})
    statement("authorization-m", merchant, {1: a, 2: k})
    commit = statement("decision", log, {1: a, 2: digest, 3: expiry, 4: q, 5: 99_999, 6: [0, [k]]})
    statement("decision", log, {1: a, 2: digest, 3: expiry, 4: q, 5: expiry, 6: [1, []]})
    account = seed(4)
    statement("open-account", account, {1: public(bank), 2: public(account)})
    statement("balance-query", account, {1: public(bank), 2: public(account), 3: 1_000})
    exchange = "application/naulon.exchange+cbor"
    others = {
        1: public(bank),
        2: currency,
        3: [[0, [3_000_000, bytes([1]) * 16]], [1, [public(account), 2_000_000, bytes([2]) * 16]]],
        4: [[0, [public(account), 5_000_000]]],
    }
    return {
        "source": __doc__.strip(),
        "n": n.hex(),
        "k": k.hex(),
        "c": c.hex(),
        "header_digest": digest.hex(),
        "log_entry_of_commit": ((99_999).to_bytes(8, "big") + sha256(b"naulon/log-index", a) + sha256(commit)).hex(),
        "statements": statements,
        "authorization_q": {
            "content_type": exchange,
            "payload": cbor(authorization_q).hex(),
            "a": a.hex(),
            "signatures": [sign1(key, exchange, authorization_q, True).hex() for key in sorted(tokens, key=public)],
        },
        "exchange_of_other_instruments": cbor(others).hex(),
    }


if __name__ == "__main__":
    for name, content in (("sign1.json", sign1_file()), ("purchase.json", purchase_file())):
        with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")
