"""Makes cosignatures.json: notes that a witness policy takes or refuses, named for the attack.

The cosignatures are made with the plain integers of ../ed25519/ed25519.py. The published note is from a public log.
"""

import base64
import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ed25519"))
from ed25519 import L, public, sign  # noqa: E402

LOG, COSIGNATURE = 1, 4
ORIGIN = "log.example/fares"
SEEDS = {"log": bytes([7]) * 32, "w1": bytes([11]) * 32, "w2": bytes([12]) * 32, "w3": bytes([13]) * 32}
NAMES = {"log": ORIGIN, **{w: f"witness.example/{w}" for w in ("w1", "w2", "w3")}}
TIMES = {"w1": 1_700_000_001, "w2": 1_700_000_002, "w3": 1_700_000_003}
ROOT = hashlib.sha256(b"\x00root").digest()


def b64(data):
    return base64.b64encode(data).decode()


def text(origin=ORIGIN, size=12, root=ROOT):
    return f"{origin}\n{size}\n{b64(root)}\n"


def key_id(name, kind, key):
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:4]


def vkey(who, kind):
    name, key = NAMES[who], public(SEEDS[who])
    return f"{name}+{key_id(name, kind, key).hex()}+{b64(bytes([kind]) + key)}"


def line(name, kid, signature):
    return f"\u2014 {name} {b64(kid + signature)}\n"


def by_log(body=None, seed=SEEDS["log"]):
    body = body or text()
    return line(ORIGIN, key_id(ORIGIN, LOG, public(seed)), sign(seed, body.encode()))


def signed(seed, body, time, header="cosignature/v1"):
    return sign(seed, f"{header}\ntime {time}\n{body}".encode())


def by(who, body=None, time=None, name=None, kind=COSIGNATURE, shown=None, signature=None):
    seed, time = SEEDS[who], TIMES[who] if time is None else time
    signature = signature or signed(seed, body or text(), time)
    shown = time if shown is None else shown
    kid = key_id(name or NAMES[who], kind, public(seed))
    return line(name or NAMES[who], kid, shown.to_bytes(8, "big") + signature)


def note(*lines, body=None):
    return (body or text()) + "\n" + "".join(lines)


def unreduced(signature):
    return signature[:32] + (int.from_bytes(signature[32:], "little") + L).to_bytes(32, "little")


def good():
    stranger = line("stranger.example", bytes(4), bytes(72))
    newer = line(NAMES["w3"], bytes([1, 2, 3, 4]), bytes(8 + 2420))
    yield "two of three", note(by_log(), by("w1"), by("w3")), ["w1", "w3"]
    yield "all three, in another order", note(by("w3"), by_log(), by("w2"), by("w1")), ["w1", "w2", "w3"]
    yield "lines of keys that nobody knows", note(stranger, by_log(), by("w1"), by("w2"), stranger), ["w1", "w2"]
    yield "a witness's line of another type", note(by_log(), by("w1"), by("w2"), newer), ["w1", "w2"]


def bad():
    one = note(by_log(), by("w1"))
    few, wrong, twice = "too_few", "bad_cosignature", "repeated"
    yield "no cosignature", note(by_log()), few
    yield "one cosignature of two", one, few
    yield "one witness counted twice", one + by("w1"), twice
    yield "one witness counted twice, at two times", one + by("w1", time=TIMES["w1"] + 1), twice
    yield "an unknown witness", one + by("w2", name="witness.example/w9"), few
    yield "one witness's key under another's name", one + by("w1", name=NAMES["w2"]), few
    yield "a key id of a log's type", one + by("w2", kind=LOG), few
    yield "cosignature over another origin", one + by("w2", body=text(origin="other.example/fares")), wrong
    yield "cosignature over another size", one + by("w2", body=text(size=11)), wrong
    yield "cosignature over another root", one + by("w2", body=text(root=bytes(32))), wrong
    yield "another time than was signed", one + by("w2", shown=TIMES["w2"] + 86_400), wrong
    yield "a time of 2^63", one + by("w2", time=1 << 63), wrong
    yield "another header", one + by("w2", signature=signed(SEEDS["w2"], text(), TIMES["w2"], "cosignature/v2")), wrong
    yield "the checkpoint alone is signed", one + by("w2", signature=sign(SEEDS["w2"], text().encode())), wrong
    yield "S is not reduced", one + by("w2", signature=unreduced(signed(SEEDS["w2"], text(), TIMES["w2"]))), wrong
    kid = key_id(NAMES["w2"], COSIGNATURE, public(SEEDS["w2"]))
    yield "truncated to the time", one + line(NAMES["w2"], kid, TIMES["w2"].to_bytes(8, "big")), wrong
    yield "truncated within the time", one + line(NAMES["w2"], kid, bytes(7)), wrong
    cut = signed(SEEDS["w2"], text(), TIMES["w2"])[:-1]
    yield "truncated within the signature", one + line(NAMES["w2"], kid, TIMES["w2"].to_bytes(8, "big") + cut), wrong
    longer = signed(SEEDS["w2"], text(), TIMES["w2"]) + b"\x00"
    yield "a byte too many", one + line(NAMES["w2"], kid, TIMES["w2"].to_bytes(8, "big") + longer), wrong
    yield "truncated within the line", (one + by("w2"))[:-1], "checkpoint"
    yield "no signature of the log", note(by("w1"), by("w2"), by("w3")), "checkpoint"
    yield "signed by another log", note(by_log(seed=bytes([8]) * 32), by("w1"), by("w2")), "checkpoint"
    body = text(size=13)
    yield "cosignatures moved under another checkpoint", note(by_log(body), by("w1"), by("w2"), body=body), wrong


PUBLISHED = {
    "name": "A checkpoint of Google's CT staging log Arche 2025h1 with cosignatures of public witnesses, as quoted in the"
    " tests of a Python implementation of signed notes; the other lines have keys that are not known here",
    "log": "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f",
    "witness": "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "size": 1432088532,
    "time": 0x6A122120,
    "note": "arche2025h1.staging.ct.transparency.dev\n1432088532\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n"
    "\u2014 arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkpt"
    "QIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=\n"
    "\u2014 arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8E"
    "i59RA23oHP7Ry1k3ZFWwQ=\n"
    "\u2014 transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4Ascy"
    "lP3v7sEodkRAErumC2q44vdgJY096st5BQ==\n"
    "\u2014 witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmN"
    "WVuE0tgh0XwzdZsDsUAQ==\n"
    "\u2014 remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrA"
    "WfBw==\n"
    "\u2014 witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKF"
    "Ye/TmN9DAg==\n",
}

ARMORED_KEY = bytes.fromhex("e90299398a4d39d030da888a0923ecf16786881ac12243db73c9f0cf2a2d80e6")
ARMORED = {
    "name": "The Armored Witness firmware log, as quoted in the README of transparency-dev/distributor, with the key of one"
    " of its witnesses",
    "log": "transparency.dev-aw-ftlog-ci-3+3f689522+Aa1Eifq6rRC8qiK+bya07yV1fXyP156pEMsX7CFBC6gg",
    "origin": "transparency.dev/armored-witness/firmware_transparency/ci/3",
    "witness": f"ArmoredWitness-floral-sky+c7cf0b6d+{b64(bytes([COSIGNATURE]) + ARMORED_KEY)}",
    "size": 59,
    "time": 0x67191AC3,
    "note": "transparency.dev/armored-witness/firmware_transparency/ci/3\n59\nkOFMkeamIdrYFLx5zbWFhflak6dlEEDOU++fxYEZMBw=\n\n"
    "\u2014 transparency.dev-aw-ftlog-ci-3 P2iVIt3Jsaha3E2i0MHdKZ6fgYJTgXO86nUsxKPVq6uTwRSclTSh/ELnDGbNL+XDyD3EkWIdL2AGGNmbN7"
    "IN2rB/7gE=\n"
    "\u2014 ArmoredWitness-weathered-rain CnjfIAAAAABnGRrHjQi7IZQqVea4YnU/ADsv844r1ezGjvubUy1MMJm4as9bRiT70xNWQ67RCA76LMy7SdX4"
    "qJNIzL3eSS1BGFWqCw==\n"
    "\u2014 ArmoredWitness-floral-sky x88LbQAAAABnGRrDEq4Tfy7IIVPqkdXbcufUkCzRRbE3fABZ/jvtg5aFHVMuMR8cV6dVqECDBiH1zRxhNaCQOXSw"
    "NLSeJs+NzWt1BA==\n",
}


def main():
    vectors = {
        "source": "Cosigned checkpoints (C2SP tlog-cosignature): published ones, and ones made for this project by"
        " cosignatures.py. Taken or refused by the policy that wants `threshold` of `witnesses`.",
        "published": [PUBLISHED, ARMORED],
        "log": vkey("log", LOG),
        "witnesses": [vkey(who, COSIGNATURE) for who in ("w1", "w2", "w3")],
        "seeds": {NAMES[who]: SEEDS[who].hex() for who in NAMES},
        "threshold": 2,
        "size": 12,
        "good": [
            {"name": name, "note": text, "times": {NAMES[who]: TIMES[who] for who in whose}} for name, text, whose in good()
        ],
        "bad": [{"name": name, "note": text, "error": error} for name, text, error in bad()],
    }
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cosignatures.json")
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(vectors, indent=2, ensure_ascii=False) + "\n")


main()
