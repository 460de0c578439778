// A stock Privacy Pass client is issued tokens by a bank: once through its whole flow with a nonce of its own, once with a
// nonce that is the public half of an Ed25519 key, so that the token can be spent.
//
// usage: issue.mjs NAULON WALLET-DIR BRAND-URL CHALLENGE TOKEN-KEY        (the latter two in base64url)
// Standard input is the wallet's passphrase. Prints a line of JSON: both tokens, and the seed of the key.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { RSABSSA } from '@cloudflare/blindrsa-ts';
import {
  AuthenticatorInput,
  Token,
  TokenChallenge,
  TOKEN_TYPES,
  header_to_token,
  publicVerif,
  sendTokenRequest,
} from '@cloudflare/privacypass-ts';

const [naulon, wallet, brandUrl, challengeText, tokenKeyText] = process.argv.slice(2);
const passphrase = readFileSync(0);
const decode = (text) => Uint8Array.from(Buffer.from(text, 'base64url'));
const encode = (bytes) => Buffer.from(bytes).toString('base64url');
/// In a header RFC 9577 wants padding.
const padded = (text) => text + '='.repeat((4 - (text.length % 4)) % 4);
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
const { BLIND_RSA } = TOKEN_TYPES;

/// What pays for a request: the wallet signs an order of this very token.
function order(request) {
  const args = ['wallet', 'order-token', brandUrl, encode(request), '--dir', wallet, '--json', '--passphrase-fd', '0'];
  return JSON.parse(execFileSync(naulon, args, { input: passphrase, env: {} })).authorization;
}

/// The client looks for the issuer at https://NAME: there is none of that name, so it is led to the brand's URL.
const plainFetch = globalThis.fetch;
globalThis.fetch = (url, options = {}) => {
  const { hostname, pathname } = new URL(url);
  if (!/^[0-9a-f]{64}$/.test(hostname)) return plainFetch(url, options);
  const headers = new Headers(options.headers);
  if (options.method === 'POST') headers.set('Authorization', order(options.body));
  const base = options.method === 'POST' ? new URL(brandUrl).origin : brandUrl;
  return plainFetch(`${base}${pathname}`, { ...options, headers });
};

async function wholeFlow() {
  const header = `PrivateToken challenge="${padded(challengeText)}", token-key="${padded(tokenKeyText)}"`;
  const authorization = await header_to_token(header);
  return authorization.match(/token="?([^"]+)"?/)[1].replaceAll('=', '').replaceAll('+', '-').replaceAll('/', '_');
}

async function withOwnKey() {
  const { publicKey, privateKey } = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
  const nonce = new Uint8Array(await crypto.subtle.exportKey('raw', publicKey));
  const seed = new Uint8Array(await crypto.subtle.exportKey('pkcs8', privateKey)).slice(-32);
  const tokenKey = decode(tokenKeyText);
  const keyId = await sha256(tokenKey);
  const challenge = TokenChallenge.deserialize(decode(challengeText));
  const input = new AuthenticatorInput(BLIND_RSA, BLIND_RSA.value, nonce, await sha256(challenge.serialize()), keyId);
  const message = new Uint8Array(input.serialize());
  const spki = publicVerif.convertRSASSAPSSToEnc(tokenKey);
  const key = await crypto.subtle.importKey('spki', spki, BLIND_RSA.rsaParams, true, ['verify']);
  const suite = RSABSSA.SHA384.PSS.Deterministic();
  const { blindedMsg, inv } = await suite.blind(key, message);
  const request = new publicVerif.TokenRequest(keyId.at(-1), blindedMsg, BLIND_RSA).serialize();
  const directory = await (await fetch(`${brandUrl}/.well-known/private-token-issuer-directory`)).json();
  const url = new URL(directory['issuer-request-uri'], brandUrl).href;
  const send = () => sendTokenRequest(request, url, new Headers({ Authorization: order(request) }));
  const answer = await send();
  const again = await send();
  if (encode(answer) !== encode(again)) throw new Error('the same request has got another answer');
  const authenticator = await suite.finalize(key, message, answer, inv);
  return { token: encode(new Token(BLIND_RSA, input, authenticator).serialize()), seed: encode(seed) };
}

async function unpaid() {
  const client = new publicVerif.Client(publicVerif.BlindRSAMode.PSS);
  const request = await client.createTokenRequest(TokenChallenge.deserialize(decode(challengeText)), decode(tokenKeyText));
  try {
    await sendTokenRequest(request.serialize(), `${brandUrl}/token-request`);
  } catch (error) {
    return error.message;
  }
  throw new Error('a token was issued for nothing');
}

const stock = await wholeFlow();
const spendable = await withOwnKey();
console.log(JSON.stringify({ stock, ...spendable, unpaid: await unpaid() }));
