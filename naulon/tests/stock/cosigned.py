"""Checks a running log's cosigned checkpoint with a C2SP client that knows nothing of Naulon.

usage: cosigned.py URL VKEY QUORUM WITNESS-VKEY...
Verifies the log's signature and that QUORUM of the witnesses have cosigned, lately. Prints a line of JSON.
"""

import json
import sys
import urllib.request

import aics_tlog as tlog


def main():
    url, vkey, quorum, *witnesses = sys.argv[1:]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    note = opener.open(f"{url}/checkpoint/cosigned").read().decode()
    policy = tlog.WitnessPolicy(int(quorum), tuple(map(tlog.parse_vkey, witnesses)), max_age_seconds=600)
    verified = tlog.verify_checkpoint(tlog.parse_note(note), tlog.parse_vkey(vkey), policy=policy)
    if not verified.ok:
        raise SystemExit(f"the cosigned checkpoint: {verified.error}")
    print(json.dumps({"size": verified.size, "cosignatures": verified.cosignature_count}))


main()
