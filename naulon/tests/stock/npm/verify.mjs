// A stock Privacy Pass verifier looks at a token.
//
// usage: verify.mjs TOKEN TOKEN-KEY        (base64url)
// Prints a line of JSON: whether it holds, and whether it does with one bit of it changed.

import { Token, TOKEN_TYPES, publicVerif } from '@cloudflare/privacypass-ts';

const [tokenText, tokenKeyText] = process.argv.slice(2);
const decode = (text) => Uint8Array.from(Buffer.from(text, 'base64url'));
const { BLIND_RSA } = TOKEN_TYPES;
const spki = publicVerif.convertRSASSAPSSToEnc(decode(tokenKeyText));
const key = await crypto.subtle.importKey('spki', spki, BLIND_RSA.rsaParams, true, ['verify']);
const origin = new publicVerif.Origin(publicVerif.BlindRSAMode.PSS);
const holds = (bytes) => origin.verify(Token.deserialize(BLIND_RSA, bytes), key).catch(() => false);
const changed = decode(tokenText);
changed[10] ^= 1;
console.log(JSON.stringify({ holds: await holds(decode(tokenText)), changed: await holds(changed) }));
