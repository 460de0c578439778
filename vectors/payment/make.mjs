// Makes challenges.json with mppx 0.11.0: node make.mjs > challenges.json, in a folder where that is installed.

import { Challenge } from 'mppx';

const secretKey = 'thirty-two bytes of test secret.';
const key = (byte) => Buffer.alloc(32, byte).toString('base64url');
const request = {
  amount: '3700000',
  currency: 'EUR',
  recipient: key(2),
  methodDetails: {
    item: 'a "song" ü.flac',
    offers: '/v1/offers',
    goods: key(9),
    decimals: 6,
    banks: [key(1), key(4)],
    logs: [key(3)],
  },
};
const naulon = { secretKey, realm: key(2), method: 'naulon', intent: 'charge', request };
const cases = [
  ['the challenge of a shop', { ...naulon, expires: '2027-01-15T10:00:00.000Z', description: 'A song' }],
  ['another method, every parameter', {
    ...naulon, method: 'other', realm: 'shop.example', expires: '2027-01-15T10:00:00.000Z', digest: 'sha-256=AAAA',
    opaque: 'e30', description: 'He said "no" \\ — twice',
  }],
];
const vectors = cases.map(([name, parameters]) => {
  const challenge = Challenge.from(parameters);
  return { name, header: Challenge.serialize(challenge), id: challenge.id };
});
console.log(JSON.stringify({ source: 'mppx 0.11.0', secret: secretKey, vectors }, null, 1));
