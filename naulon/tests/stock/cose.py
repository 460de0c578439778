"""Verifies every statement of an evidence file with two COSE libraries that know nothing of Naulon.

usage: cose.py EVIDENCE.json
Prints a line of JSON: how many signatures each library has verified. Ends with 1 if one does not hold.
"""

import base64
import json
import sys

import cbor2
import cwt
from pycose.keys import OKPKey
from pycose.keys.curves import Ed25519
from pycose.messages import Sign1Message


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def signed_parts(evidence):
    """Name, COSE_Sign1, and the payload if it is detached."""
    for name in ("goods_m", "goods_q", "header", "authorization_b"):
        if name in evidence:
            yield name, decode(evidence[name]), None
    joint = evidence.get("authorization_q")
    if joint:
        for signature in joint["signatures"]:
            yield "authorization_q", decode(signature), decode(joint["payload"])
    for decision in evidence.get("decisions", []):
        yield "decision", cbor2.loads(decode(decision))[1], None


def by_pycose(sign1, payload):
    message = Sign1Message.decode(sign1)
    if payload is not None:
        message.payload = payload
    key = cbor2.loads(cbor2.loads(sign1).value[0])[4]
    message.key = OKPKey(crv=Ed25519, x=key)
    return message.verify_signature()


def by_cwt(sign1, payload):
    key = cbor2.loads(cbor2.loads(sign1).value[0])[4]
    # Labels and values of RFC 9053: kty OKP, kid, alg EdDSA, crv Ed25519, x.
    public = cwt.COSEKey.new({1: 1, 2: key, 3: -8, -1: 6, -2: key})
    cwt.COSE.new().decode(sign1, public, detached_payload=payload)
    return True


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        evidence = json.load(file)
    verified = {"pycose": 0, "cwt": 0}
    for name, sign1, payload in signed_parts(evidence):
        for library, verify in (("pycose", by_pycose), ("cwt", by_cwt)):
            if not verify(sign1, payload):
                raise SystemExit(f"{library}: the signature of {name} does not hold")
            verified[library] += 1
    print(json.dumps(verified))


main()
