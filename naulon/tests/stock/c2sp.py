"""Checks a running log with a C2SP client that knows nothing of Naulon.

usage: c2sp.py URL VKEY [OLD-CHECKPOINT-FILE]
Fetches the checkpoint, verifies its signature, authenticates every tile and entry against it, proves the inclusion of every
entry, and the consistency with an older checkpoint. Prints a line of JSON.
"""

import json
import sys

import aics_tlog as tlog


def signed_checkpoint(note, vkey):
    verified = tlog.verify_checkpoint(tlog.parse_note(note), vkey)
    require(verified.ok, f"the checkpoint: {verified.error}")
    return verified


def require(holds, what):
    if not holds:
        raise SystemExit(what)


def main():
    vkey = tlog.parse_vkey(sys.argv[2])
    reader = tlog.HttpTileReader(sys.argv[1], proxies={})
    note = reader.read_checkpoint().decode()
    now = signed_checkpoint(note, vkey)
    tlog.audit_tiles(reader, now.size, now.root)
    verified = tlog.VerifiedTileReader(reader, now.size, now.root)
    for index in range(now.size):
        entry = verified.entry(index)
        require(len(entry) == 72, f"entry {index} has {len(entry)} bytes")
        proof = tlog.inclusion_proof_from_tiles(verified, index, now.size)
        included = tlog.verify_leaf_inclusion(entry, index, now.size, proof, now.root)
        require(included, f"entry {index} is not included")
    consistent_from = None
    if len(sys.argv) > 3:
        with open(sys.argv[3], encoding="utf-8") as file:
            old = signed_checkpoint(file.read(), vkey)
        proof = tlog.consistency_proof_from_tiles(verified, old.size, now.size)
        require(tlog.verify_consistency(old.size, now.size, old.root, now.root, proof), "the tree was rewritten")
        consistent_from = old.size
    print(json.dumps({"size": now.size, "consistent_from": consistent_from, "checkpoint": note}))


main()
