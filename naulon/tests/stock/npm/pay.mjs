// A stock mppx client asks for an item, reads the shop's 402, has a wallet pay, and shows its credential.
//
// usage: pay.mjs NAULON WALLET-DIR URL
// Standard input is the wallet's passphrase. Prints a line of JSON: what was asked, what was answered, the receipt, and how
// the shop takes credentials that do not fit.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Challenge, Credential, Method, Receipt, z } from 'mppx';
import { Mppx } from 'mppx/client';

const [naulon, wallet, url] = process.argv.slice(2);
const passphrase = readFileSync(0);
const seen = {};

/// What method `naulon` wants is paid by the wallet: it fetches the goods, locks its tokens, and says what to show.
function payload() {
  const args = ['wallet', 'authorize', url, '--max-price', '5', '--dir', wallet, '--json', '--passphrase-fd', '0'];
  return JSON.parse(execFileSync(naulon, args, { input: passphrase, env: {} })).payload;
}

const charge = Method.from({
  name: 'naulon',
  intent: 'charge',
  schema: {
    credential: { payload: z.record(z.string(), z.string()) },
    request: z.object({
      amount: z.string(),
      currency: z.string(),
      recipient: z.string(),
      methodDetails: z.record(z.string(), z.unknown()),
    }),
  },
});
const client = Method.toClient(charge, {
  async createCredential({ challenge }) {
    seen.challenge = challenge;
    seen.payload = payload();
    return Credential.serialize({ challenge, payload: seen.payload });
  },
});
const mppx = Mppx.create({ methods: [client], polyfill: false });

const response = await mppx.fetch(url);
const answer = await response.json();
const receipt = Receipt.fromResponse(response);

/// A credential for this challenge, and what the shop says to it.
async function refused(challenge, paid = seen.payload) {
  const authorization = Credential.serialize({ challenge, payload: paid });
  const refusal = await fetch(url, { headers: { Authorization: authorization } });
  const again = Challenge.fromResponse(refusal);
  const { code } = await refusal.json();
  return { code, status: refusal.status, fresh: again.id === seen.challenge.id };
}
const request = { ...seen.challenge.request, amount: '1' };
console.log(
  JSON.stringify({
    status: response.status,
    answer,
    receipt,
    challenge: { ...seen.challenge, serialized: Challenge.serialize(seen.challenge) },
    cache: response.headers.get('cache-control'),
    wrongId: await refused({ ...seen.challenge, id: 'AAAA' }),
    altered: await refused({ ...seen.challenge, request }),
    otherMethod: await refused({ ...seen.challenge, method: 'other' }),
    noPayload: await refused(seen.challenge, {}),
  }),
);
