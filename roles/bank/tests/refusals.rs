//! Bad input, as a table: for each request the code of its refusal, and the books are what they were.
//!
//! Every request goes through the form in which it travels, and through the whole bank.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use std::collections::BTreeSet;

use naulon_bank::{Bank, MemoryStore};
use naulon_blind::ReusedKey;
use naulon_durable::fault::Faults;
use naulon_exchange::{
    BalanceQuery, Condition, Exchange, Input, LogDecision, MAX_OUTPUTS, MAX_PARTS, OpenAccount, Outcome, Output,
    ProvenDecision, UnverifiedDecision,
};
use naulon_money::Amount;
use naulon_statement::{
    Digest, Duration, Joint, PublicKey, SecretKey, Signed, Timestamp, Unverified, UnverifiedJoint, base64url_decode,
    base64url_encode, cbor,
};
use naulon_wire::{BankCall, BankReply, Call, ExchangeReply, HttpRequest, IssueOrder, MAX_ORDER_LEN, Problem, codes};
use world::*;

/// A bank at work, and what its customers have.
struct Scene {
    store: MemoryStore,
    /// Two ones and a five that can be spent.
    one: Coin,
    other_one: Coin,
    five: Coin,
    /// A one that was deposited.
    spent: Coin,
    /// A one that is locked for the purchase of n = 1.
    locked: Coin,
    lock: ExchangeReply,
    /// The reply and the decision of n = 2, which was committed.
    committed: (ExchangeReply, ProvenDecision),
    /// A one whose key Q is a point of small order; anybody can make "signatures" by it.
    weak: naulon_blind::Token,
    /// A one that is spent in parts, of which only the last may follow.
    parted: Coin,
}

fn scene() -> Scene {
    let store = MemoryStore::new(Faults::none());
    let mut bank = furnished(store.clone());
    let coins = withdraw(&mut bank, 1, &[ONE, ONE, FIVE, ONE, ONE, ONE]);
    let [one, other_one, five, spent, locked, bought] = <[Coin; 6]>::try_from(coins).ok().expect("six");
    ask(&mut bank, deposit(&[&spent], &key("alice"))).expect("deposited");
    let lock = ask_exchange(&mut bank, world::lock(&[&locked], amount("1"), &[], condition(1))).expect("locked");
    let second = ask_exchange(&mut bank, world::lock(&[&bought], amount("1"), &[], condition(2))).expect("locked");
    let decision = TestLog::default().decide(&header(&second), NOW, Outcome::Commit { k: K });
    ask(&mut bank, settle(&decision)).expect("settled");
    let weak = weak_token(&mut bank);
    let parted = withdraw(&mut bank, 2, &[ONE]).remove(0);
    for micros in 1..u64::from(MAX_PARTS) {
        ask(&mut bank, part_of(&parted, micros)).expect("a part");
    }
    Scene { store, one, other_one, five, spent, locked, lock, committed: (second, decision), weak, parted }
}

/// So many micro-units of a token, for alice.
fn part_of(coin: &Coin, micros: u64) -> BankCall {
    let part = Amount::from_micros(micros);
    let input = Input::Token { token: coin.token, key: None, part: Some(part) };
    let output = Output::Account { account: key("alice").public(), amount: part };
    call(exchange(vec![input], vec![output]), [&coin.q])
}

/// Tokens that share a key, and tokens that are spent in parts.
fn parts_cases(scene: &Scene) -> Vec<Case> {
    let reused = ReusedKey { q: scene.one.q.public(), s: [1; 32] };
    let shown = |token| Input::Token { token, key: Some(reused), part: None };
    let serial = exchange(vec![shown(scene.one.token)], vec![to(&key("alice"), "1")]);
    let mut bytes = scene.one.token.to_bytes();
    bytes[2..34].copy_from_slice(&reused.nonce());
    let two_sided = Exchange {
        condition: Some(Condition { q: Some(reused.q), ..condition(9) }),
        ..exchange(vec![shown(naulon_blind::Token::parse(&bytes).expect("parses"))], vec![to(&key("shop"), "1")])
    };
    vec![
        case("a token with a serial number that is not its own", "wrong_serial", of(call(serial, [&scene.one.q]))),
        case("two-sided with a reusable key", "reusable_q", of(call(two_sided, [&scene.one.q]))),
        case("the whole of a token that is spent in parts", "in_parts", {
            of(deposit(&[&scene.parted], &key("alice")))
        }),
        case("a part after which nothing could follow", "too_many_parts", of(part_of(&scene.parted, 99))),
    ]
}

/// The bank signs blind, so it cannot refuse this one at the withdrawal.
fn weak_token(bank: &mut Bank<MemoryStore>) -> naulon_blind::Token {
    let known = brand(ONE);
    let input = known.token_input(SMALL_ORDER);
    let (message, unblinder) = input.blind(known.issuer_key(), &[1; 48], &[2; 320]).expect("blinds");
    let output = Output::Blinded { brand: brand_id(ONE), message };
    let reply = ask_exchange(bank, order(&key("alice"), amount("1"), 99, vec![output])).expect("withdrawn");
    input.finalize(known.issuer_key(), &reply.signatures[0], &unblinder).expect("holds")
}

/// The neutral element: a point of small order.
const SMALL_ORDER: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
};

/// The neutral element in another encoding: y = p + 1.
const NOT_CANONICAL: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xee;
    bytes[31] = 0x7f;
    bytes
};

/// The order of the group, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// One line of the table.
struct Case {
    name: &'static str,
    code: &'static str,
    request: HttpRequest,
    now: Timestamp,
}

fn case(name: &'static str, code: &'static str, request: HttpRequest) -> Case {
    Case { name, code, request, now: NOW }
}

fn of(call: BankCall) -> HttpRequest {
    call.to_http()
}

fn at(now: Timestamp, case: Case) -> Case {
    Case { now, ..case }
}

#[test]
fn every_bad_request_has_its_code_and_changes_nothing() {
    let scene = scene();
    let mut cases = bytes_cases(&scene);
    cases.extend(signature_cases(&scene));
    cases.extend(exchange_cases(&scene));
    cases.extend(state_cases(&scene));
    cases.extend(purchase_cases(&scene));
    cases.extend(decision_cases(&scene));
    cases.extend(query_cases());
    cases.extend(parts_cases(&scene));
    cases.extend(issuance_cases());
    let mut names = BTreeSet::new();
    for Case { name, code, request, now } in &cases {
        assert!(names.insert(*name), "{name} twice");
        let store = scene.store.copy();
        let mut bank = open(store.clone());
        let refusal = |bank: &mut Bank<MemoryStore>| match BankCall::from_http(request) {
            Ok(call) => bank.handle(call, *now).map(|_| ()).expect_err(name),
            Err(problem) => problem,
        };
        let problem = refusal(&mut bank);
        assert_eq!(problem.code, *code, "{name}: {problem}");
        assert_eq!(problem.status, codes::find(code).expect("a known code").status, "{name}");
        assert!(store.has_same_books(&scene.store), "{name} has changed the books");
        bank.audit().expect("the books agree");
        assert_eq!(refusal(&mut bank), problem, "{name}: the same request gets the same refusal");
    }
    every_code_is_here(&cases);
}

/// The codes of bytes and of the exchange, but for those of goods, of a slow client, and of methods that are not used, which
/// are the HTTP front's (`naulon-wire` tests them).
fn every_code_is_here(cases: &[Case]) {
    let end = codes::CODES.iter().position(|page| page.code == "stale").expect("the last of the exchange");
    let expected: BTreeSet<_> = codes::CODES[..=end].iter().map(|page| page.code).collect();
    let found: BTreeSet<_> = cases.iter().map(|case| case.code).collect();
    // The first two are in tests/errands.rs.
    let elsewhere = ["lapsed", "no_delivery", "range", "too_slow", "wrong_listener", "wrong_method"];
    let is_elsewhere = |code: &str| elsewhere.contains(&code) || OF_CHECKS.contains(&code) || OF_PURSES.contains(&code);
    let missing: Vec<_> = expected.difference(&found).filter(|code| !is_elsewhere(code)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

/// They have cases of their own, in tests/checks.rs.
const OF_CHECKS: [&str; 15] = [
    "bad_close",
    "chain_advanced",
    "chain_bounds",
    "chain_exceeded",
    "chain_length",
    "chain_misfit",
    "chain_taken",
    "challenge_forged",
    "challenge_stale",
    "remainder_early",
    "remainder_moved",
    "tick_forged",
    "unknown_chain",
    "wrong_payee",
    "wrong_refund_key",
];

/// And these in tests/purses.rs.
const OF_PURSES: [&str; 7] = [
    "purse_brand",
    "purse_dates",
    "purse_overdrawn",
    "purse_signature",
    "purse_stopped",
    "purse_value",
    "wrong_purpose",
];

/// What the cases alter is accepted as it is, so each is refused for what was altered.
#[test]
fn what_the_cases_alter_is_accepted_unaltered() {
    let scene = scene();
    let due = condition(1).expiry;
    let abort = TestLog::default().decide(&header(&scene.lock), due, Outcome::Abort);
    let calls = [
        good_deposit(&scene),
        good_lock(&scene, condition(3)),
        good_exchange(&scene),
        settle(&abort),
        settle(&scene.committed.1),
        open_account(&key("bob")),
        query(&key("alice"), NOW),
    ];
    for call in calls {
        let request = call.to_http();
        let mut bank = open(scene.store.copy());
        let call = BankCall::from_http(&request).expect("reads");
        bank.handle(call, NOW).expect("is accepted");
    }
}

fn good_deposit(scene: &Scene) -> BankCall {
    deposit(&[&scene.one], &key("alice"))
}

fn good_lock(scene: &Scene, condition: Condition) -> BankCall {
    lock(&[&scene.five], amount("4"), &[&Blind::new(ONE, 7)], condition)
}

/// Five and one for two twos and two ones.
fn good_exchange(scene: &Scene) -> BankCall {
    call(six_for(vec![TWO, TWO, ONE, ONE], scene), [&scene.five.q, &scene.one.q])
}

fn six_for(which: Vec<usize>, scene: &Scene) -> Exchange {
    let outputs = which.into_iter().zip(20..).map(|(which, index)| Blind::new(which, index).output());
    exchange(vec![scene.five.input(), scene.one.input()], outputs.collect())
}

fn query(account: &SecretKey, at: Timestamp) -> BankCall {
    let query = BalanceQuery { bank: key("bank").public(), account: account.public(), at };
    BankCall::Balance(Unverified::from(&Signed::sign(account, query)))
}

/// The request with the bytes of one of its base64url fields changed.
fn with_field(request: HttpRequest, field: &str, change: impl FnOnce(&mut Vec<u8>)) -> HttpRequest {
    with_text(request, field, |text| {
        let mut bytes = base64url_decode(text).expect("base64url");
        change(&mut bytes);
        base64url_encode(&bytes)
    })
}

/// The request with the text of a field changed; of a list, the first.
fn with_text(request: HttpRequest, field: &str, change: impl FnOnce(&str) -> String) -> HttpRequest {
    let body = String::from_utf8(request.body).expect("JSON");
    let field = format!("\"{field}\":");
    let start = body.find(&field).expect("the field") + field.len();
    let start = start + body[start..].find('"').expect("a string") + 1;
    let end = start + body[start..].find('"').expect("its end");
    let changed = [&body[..start], &change(&body[start..end]), &body[end..]].concat();
    HttpRequest { body: changed.into_bytes(), ..request }
}

/// Puts other bytes in the place of these, wherever they stand.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    assert_eq!(old.len(), new.len());
    let mut found = 0;
    for start in 0..=bytes.len() - old.len() {
        if bytes[start..start + old.len()] == *old {
            bytes[start..start + old.len()].copy_from_slice(new);
            found += 1;
        }
    }
    assert_ne!(found, 0, "nothing to replace");
}

fn bytes_cases(scene: &Scene) -> Vec<Case> {
    let good = || of(good_deposit(scene));
    let opening = || of(open_account(&key("bob")));
    let body = |text: &str| HttpRequest { body: text.as_bytes().to_vec(), ..good() };
    let as_account = |request: HttpRequest| HttpRequest { path: "/v1/accounts".into(), ..request };
    let long = "A".repeat(400 * 1024);
    let two_keys = || of(good_exchange(scene));
    let swapped = |request: HttpRequest| {
        let mut body: serde_like::Joint = serde_like::parse(&request.body);
        body.signatures.swap(0, 1);
        HttpRequest { body: body.text().into_bytes(), ..request }
    };
    vec![
        case("no body", "malformed", body("")),
        case("a body that is no JSON", "malformed", body("{\"payload\":")),
        case("an unknown field", "malformed", body("{\"payload\":\"AA\",\"signatures\":[],\"more\":1}")),
        case("a missing field", "malformed", body("{\"payload\":\"AA\"}")),
        case("a field of another type", "malformed", body("{\"payload\":7,\"signatures\":[]}")),
        case("padded base64", "malformed", with_text(good(), "payload", |text| format!("{text}="))),
        case("no payload", "malformed", body("{\"payload\":\"\",\"signatures\":[]}")),
        case("a truncated payload", "malformed", with_field(good(), "payload", |b| b.truncate(b.len() - 1))),
        case("a payload with something behind", "not_canonical", with_field(good(), "payload", |b| b.push(0))),
        case(
            "an indefinite map",
            "not_canonical",
            with_field(good(), "payload", |b| {
                assert_eq!(b[0] >> 5, 5);
                b[0] = 0xbf;
                b.push(0xff);
            }),
        ),
        case("a truncated signature", "malformed", with_field(good(), "signatures", |b| b.truncate(b.len() - 1))),
        case("a signature with something behind", "malformed", with_field(good(), "signatures", |b| b.push(0))),
        case("signatures out of order", "not_canonical", swapped(two_keys())),
        case("the same signature twice", "not_canonical", {
            let mut body = serde_like::parse(&good().body);
            body.signatures.push(body.signatures[0].clone());
            HttpRequest { body: body.text().into_bytes(), ..good() }
        }),
        case("a payload of 300 KiB", "too_long", with_text(good(), "payload", |_| long.clone())),
        case("a statement of 300 KiB", "too_long", with_text(opening(), "statement", |_| long.clone())),
        case("more signatures than keys can sign", "too_long", {
            let mut body = serde_like::parse(&good().body);
            body.signatures = vec![body.signatures[0].clone(); 257];
            HttpRequest { body: body.text().into_bytes(), ..good() }
        }),
        case("a statement of another kind", "malformed", as_account(of(query(&key("alice"), NOW)))),
        case("an exchange where a statement is expected", "malformed", as_account(good())),
        case("a truncated statement", "malformed", with_field(opening(), "statement", |b| b.truncate(40))),
        case(
            "a truncated decision",
            "malformed",
            with_field(of(settle(&scene.committed.1)), "decision", |b| {
                b.truncate(b.len() / 2);
            }),
        ),
        case("a decision with something behind", "not_canonical", {
            with_field(of(settle(&scene.committed.1)), "decision", |b| b.push(0))
        }),
        case("a path that leads nowhere", "not_found", HttpRequest::get("/v1/coins")),
        case("an id that is none", "malformed", HttpRequest::get("/v1/exchanges/abc")),
        case("a blinded message that is not below the modulus", "malformed", {
            let output = Output::Blinded { brand: brand_id(ONE), message: [0xff; 256].into() };
            of(call(exchange(vec![scene.one.input()], vec![output]), [&scene.one.q]))
        }),
        case(
            "a token of another type",
            "malformed",
            with_field(good(), "payload", |b| {
                let token = scene.one.token.to_bytes();
                let mut other = token;
                other[1] = 1;
                replace(b, &token, &other);
            }),
        ),
    ]
}

/// Just enough to take a joint statement's body apart.
mod serde_like {
    pub struct Joint {
        payload: String,
        pub signatures: Vec<String>,
    }

    pub fn parse(body: &[u8]) -> Joint {
        let texts: Vec<&str> = std::str::from_utf8(body).expect("text").split('"').collect();
        let [_, "payload", _, payload, _, "signatures", rest @ ..] = &texts[..] else {
            panic!("not a joint statement")
        };
        let signatures = rest.iter().filter(|text| text.len() > 3).map(|text| (*text).to_owned()).collect();
        Joint { payload: (*payload).to_owned(), signatures }
    }

    impl Joint {
        pub fn text(&self) -> String {
            format!("{{\"payload\":\"{}\",\"signatures\":[\"{}\"]}}", self.payload, self.signatures.join("\",\""))
        }
    }
}

fn signature_cases(scene: &Scene) -> Vec<Case> {
    let bob = key("bob");
    let opening = || of(open_account(&bob));
    // Key, body and signature of another account, all consistent in form.
    let by_weak = |key: [u8; 32], r: [u8; 32]| {
        with_field(opening(), "statement", |bytes| {
            replace(bytes, bob.public().as_bytes(), &key);
            let end = bytes.len();
            bytes[end - 64..end - 32].copy_from_slice(&r);
            bytes[end - 32..].fill(0);
        })
    };
    let altered = |change: fn(&mut [u8])| {
        with_field(of(good_deposit(scene)), "signatures", |bytes| {
            let end = bytes.len();
            change(&mut bytes[end - 64..]);
        })
    };
    let by = |keys: &[&SecretKey]| {
        of(call(exchange(vec![scene.one.input()], vec![to(&key("alice"), "1")]), keys.iter().copied()))
    };
    let other_bank = Exchange { bank: key("other bank").public(), ..deposit_of(scene) };
    let by_other_key = Signed::sign(&key("mallory"), OpenAccount { bank: rules().bank, account: bob.public() });
    let weak_deposit = {
        let body = exchange(vec![Input::token(scene.weak)], vec![to(&key("alice"), "1")]);
        with_field(of(call(body, [&bob])), "signatures", |bytes| {
            replace(bytes, bob.public().as_bytes(), &SMALL_ORDER);
            let end = bytes.len();
            bytes[end - 64..end - 32].copy_from_slice(&SMALL_ORDER);
            bytes[end - 32..].fill(0);
        })
    };
    vec![
        case("an account key of small order", "bad_signature", by_weak(SMALL_ORDER, SMALL_ORDER)),
        case("an account key in another encoding", "bad_signature", by_weak(NOT_CANONICAL, SMALL_ORDER)),
        case("an account key that is no point", "bad_signature", by_weak([2; 32], SMALL_ORDER)),
        case("a token key of small order", "bad_signature", weak_deposit),
        case("another bit of R", "bad_signature", altered(|s| s[3] ^= 1)),
        case("another bit of S", "bad_signature", altered(|s| s[33] ^= 1)),
        case("R of small order", "bad_signature", altered(|s| s[..32].copy_from_slice(&SMALL_ORDER))),
        case("R in another encoding", "bad_signature", altered(|s| s[..32].copy_from_slice(&NOT_CANONICAL))),
        case(
            "S plus the group order",
            "bad_signature",
            altered(|s| {
                let mut carry = 0;
                for (byte, l) in s[32..].iter_mut().zip(L) {
                    let sum = u16::from(*byte) + u16::from(l) + carry;
                    *byte = sum.to_le_bytes()[0];
                    carry = sum >> 8;
                }
            }),
        ),
        case("a signature over another request", "bad_signature", {
            let other = Joint::sign(six_for(vec![FIVE, ONE], scene), [&scene.one.q]);
            let mixed = Joint::sign(deposit_of(scene), [&scene.one.q]);
            let mixed = UnverifiedJoint::parse(mixed.payload(), &[other.signatures()[0].bytes()]);
            of(BankCall::Exchange(mixed.expect("parses")))
        }),
        case("a signature over the same words to another bank", "bad_signature", {
            let other = Joint::sign(other_bank.clone(), [&scene.one.q]);
            let ours = Joint::sign(deposit_of(scene), [&scene.one.q]);
            let mixed = UnverifiedJoint::parse(ours.payload(), &[other.signatures()[0].bytes()]);
            of(BankCall::Exchange(mixed.expect("parses")))
        }),
        case("an account opened by another key", "wrong_signer", of(BankCall::OpenAccount((&by_other_key).into()))),
        case("no signature", "signature_missing", by(&[])),
        case("the signature of another token", "signature_missing", by(&[&scene.five.q])),
        case("one signature too many", "signature_unneeded", by(&[&scene.one.q, &bob])),
        case("money from outside without the operator", "signature_missing", {
            let input = Input::Outside { amount: amount("1"), reference: [9; 16] };
            of(call(exchange(vec![input], vec![to(&key("alice"), "1")]), [&bob]))
        }),
        case("another's account", "signature_missing", {
            let input = Input::Account { account: key("alice").public(), amount: amount("1"), order: [9; 16] };
            of(call(exchange(vec![input], vec![to(&key("shop"), "1")]), [&bob]))
        }),
    ]
}

fn to(account: &SecretKey, value: &str) -> Output {
    Output::Account { account: account.public(), amount: amount(value) }
}

fn deposit_of(scene: &Scene) -> Exchange {
    exchange(vec![scene.one.input()], vec![to(&key("alice"), "1")])
}

fn exchange_cases(scene: &Scene) -> Vec<Case> {
    let alice = key("alice");
    let q = &scene.one.q;
    let with = |inputs: Vec<Input>, outputs: Vec<Output>, keys: &[&SecretKey]| {
        of(call(exchange(inputs, outputs), keys.iter().copied()))
    };
    let from_alice =
        |value: Amount, order| Input::Account { account: alice.public(), amount: value, order: [order; 16] };
    let micros = |n| Amount::from_micros(n);
    let all = |value: Amount| Output::Account { account: alice.public(), amount: value };
    let foreign = {
        let known = brand(ONE);
        let mut bytes = scene.one.token.to_bytes();
        bytes[66..98].copy_from_slice(&Digest::of(&[b"another bank's key"]).0);
        assert_ne!(&bytes[66..98], known.key_id());
        Input::token(naulon_blind::Token::parse(&bytes).expect("parses"))
    };
    let forged = |change: fn(&mut [u8])| {
        let mut bytes = scene.one.token.to_bytes();
        change(&mut bytes);
        Input::token(naulon_blind::Token::parse(&bytes).expect("parses"))
    };
    let as_five = {
        let mut bytes = scene.one.token.to_bytes();
        bytes[66..98].copy_from_slice(brand(FIVE).key_id());
        Input::token(naulon_blind::Token::parse(&bytes).expect("parses"))
    };
    let one_out = || vec![to(&alice, "1")];
    let unknown_output = Output::Blinded { brand: Digest([9; 32]), message: Blind::new(ONE, 30).message };
    let twin = || Blind::new(ONE, 31).output();
    let max = Amount::MAX;
    vec![
        case("an exchange for another bank", "wrong_bank", {
            let other = Exchange { bank: key("other bank").public(), ..deposit_of(scene) };
            of(call(other, [q]))
        }),
        case("an account for another bank", "wrong_bank", {
            let open = OpenAccount { bank: key("other bank").public(), account: alice.public() };
            of(BankCall::OpenAccount((&Signed::sign(&alice, open)).into()))
        }),
        case("another currency", "wrong_currency", {
            let other = Exchange { currency: "USD".parse().expect("a currency"), ..deposit_of(scene) };
            of(call(other, [q]))
        }),
        case("no inputs", "exchange_size", with(vec![], one_out(), &[])),
        case("no outputs", "exchange_size", with(vec![scene.one.input()], vec![], &[q])),
        case("too many outputs", "exchange_size", {
            let outputs = vec![all(micros(1)); MAX_OUTPUTS + 1];
            with(vec![scene.one.input()], outputs, &[q])
        }),
        case("a token of another bank", "unknown_brand", with(vec![foreign], one_out(), &[q])),
        case(
            "an output of an unknown brand",
            "unknown_brand",
            with(vec![scene.one.input()], vec![unknown_output], &[q]),
        ),
        case("a forged token", "bad_token", with(vec![forged(|b| b[353] ^= 1)], one_out(), &[q])),
        case("a signature above the modulus", "bad_token", with(vec![forged(|b| b[98..].fill(0xff))], one_out(), &[q])),
        case("a token of another challenge", "bad_token", with(vec![forged(|b| b[40] ^= 1)], one_out(), &[q])),
        case("a one that calls itself a five", "bad_token", with(vec![as_five], vec![to(&alice, "5")], &[q])),
        case("the same token twice", "duplicate_input", {
            with(vec![scene.one.input(), scene.one.input()], vec![to(&alice, "2")], &[q])
        }),
        case("the same order twice", "duplicate_input", {
            with(vec![from_alice(amount("1"), 7), from_alice(amount("2"), 7)], vec![to(&alice, "3")], &[&alice])
        }),
        case("the same blinded message twice", "duplicate_output", {
            with(vec![scene.one.input(), scene.other_one.input()], vec![twin(), twin()], &[q, &scene.other_one.q])
        }),
        case("more out than in", "unbalanced", with(vec![scene.one.input()], vec![to(&alice, "1.000001")], &[q])),
        case("less out than in", "unbalanced", with(vec![scene.one.input()], vec![to(&alice, "0.50")], &[q])),
        case("nothing for nothing", "amount_out_of_range", {
            with(vec![from_alice(Amount::ZERO, 7)], vec![all(Amount::ZERO)], &[&alice])
        }),
        case("an output of nothing", "amount_out_of_range", {
            with(vec![scene.one.input()], vec![to(&alice, "1"), all(Amount::ZERO)], &[q])
        }),
        case("an amount that cannot be counted", "amount_out_of_range", {
            let huge = micros(u64::MAX);
            with(vec![from_alice(huge, 7)], vec![all(huge)], &[&alice])
        }),
        case("a sum that wraps around", "amount_out_of_range", {
            with(vec![scene.one.input()], vec![all(max), all(max), all(micros(1_000_002))], &[q])
        }),
        case("more than an account can hold", "account_full", of(credit(&alice, max, 9))),
    ]
}

fn state_cases(scene: &Scene) -> Vec<Case> {
    let (alice, bob) = (key("alice"), key("bob"));
    let one = |which, index| vec![Blind::new(which, index).output()];
    let after = |days| NOW.plus(Duration::days(days));
    let long_lock = Condition { expiry: after(59).plus(Duration::seconds(600)), ..condition(3) };
    vec![
        case("a credit to nobody", "unknown_account", of(deposit(&[&scene.one], &bob))),
        case("an order on no account", "unknown_account", of(order(&bob, amount("1"), 9, one(ONE, 40)))),
        case("a price for no account", "unknown_account", good_lock_to(scene, &bob)),
        case(
            "more than there is",
            "insufficient_funds",
            of(order(&alice, amount("1000"), 9, vec![to(&alice, "1000")])),
        ),
        case("a spent token", "spent", of(deposit(&[&scene.spent], &key("shop")))),
        case("a spent token among good ones", "spent", of(deposit(&[&scene.one, &scene.spent], &alice))),
        case("a locked token", "locked", of(deposit(&[&scene.locked], &alice))),
        case("an order used before", "order_used", of(order(&alice, amount("1"), 1, one(ONE, 41)))),
        case("a reference used before", "order_used", of(credit(&alice, amount("2"), 1))),
        case("a brand of the period before", "brand_not_issuing", of(order(&alice, amount("1"), 9, one(OLD_ONE, 42)))),
        case("a brand of the next period", "brand_not_issuing", of(order(&alice, amount("1"), 9, one(NEXT_ONE, 43)))),
        at(
            after(29),
            case("a brand whose period is over", "brand_not_issuing", {
                of(order(&alice, amount("1"), 9, one(ONE, 44)))
            }),
        ),
        at(after(89), case("a token given up on the day its brand closes", "brand_closed", of(good_deposit(scene)))),
        at(
            after(59),
            case("a token spent on the day its spending ends", "brand_closed", {
                of(lock(&[&scene.one], amount("1"), &[], long_lock))
            }),
        ),
    ]
}

fn good_lock_to(scene: &Scene, merchant: &SecretKey) -> HttpRequest {
    of(good_lock(scene, Condition { merchant: merchant.public(), ..condition(3) }))
}

fn purchase_cases(scene: &Scene) -> Vec<Case> {
    let alice = key("alice");
    let shop = key("shop");
    let expiring = |expiry| of(good_lock(scene, Condition { expiry, ..condition(3) }));
    let limits = rules().locks;
    let millisecond = Duration(1);
    let conditional = |inputs: Vec<Input>, outputs: Vec<Output>, keys: &[&SecretKey], condition: Condition| {
        of(call(Exchange { condition: Some(condition), ..exchange(inputs, outputs) }, keys.iter().copied()))
    };
    let five = || vec![scene.five.input()];
    let q = &scene.five.q;
    vec![
        case("an n that is locked", "offer_taken", of(good_lock(scene, condition(1)))),
        case("an n that was committed", "offer_taken", of(good_lock(scene, condition(2)))),
        case("an expiry just too soon", "expiry_too_soon", expiring(NOW.plus(limits.min).minus(millisecond))),
        case("an expiry in the past", "expiry_too_soon", expiring(Timestamp(0))),
        case("an expiry just too late", "expiry_too_late", expiring(NOW.plus(limits.max).plus(millisecond))),
        case("an expiry at the end of time", "expiry_too_late", expiring(Timestamp(u64::MAX))),
        case("a log that the bank does not heed", "unknown_log", {
            of(good_lock(scene, Condition { log: key("other log").public(), ..condition(3) }))
        }),
        case("a purchase paid from an account", "condition_inputs", {
            let input = Input::Account { account: alice.public(), amount: amount("5"), order: [9; 16] };
            conditional(vec![input], vec![to(&shop, "5")], &[&alice], condition(3))
        }),
        case("a Q that is not the first token's", "condition_inputs", {
            let two_sided = Condition { q: Some(scene.one.q.public()), ..condition(3) };
            conditional(five(), vec![to(&shop, "5")], &[q], two_sided)
        }),
        case("a purchase that pays nobody", "condition_outputs", {
            conditional(five(), vec![Blind::new(FIVE, 45).output()], &[q], condition(3))
        }),
        case("a purchase that pays twice", "condition_outputs", {
            conditional(five(), vec![to(&shop, "2"), to(&shop, "3")], &[q], condition(3))
        }),
        case("a purchase that pays somebody else too", "condition_outputs", {
            conditional(five(), vec![to(&shop, "2"), to(&alice, "3")], &[q], condition(3))
        }),
    ]
}

fn decision_cases(scene: &Scene) -> Vec<Case> {
    let log = TestLog::default();
    let locked = header(&scene.lock);
    let (committed, commit) = &scene.committed;
    let committed = header(committed);
    let expiry = locked.expiry;
    let good = || log.decide(&locked, NOW, Outcome::Commit { k: K });
    let changed = |change: fn(&mut LogDecision)| {
        let mut decision = LogDecision::on(&locked, NOW, Outcome::Commit { k: K });
        change(&mut decision);
        of(settle(&log.publish(decision)))
    };
    let forged = {
        // Signed by another key, in the name of the log.
        let by_other = TestLog::named("mallory").decide(&locked, NOW, Outcome::Commit { k: K });
        with_field(of(settle(&by_other)), "decision", |bytes| {
            replace(bytes, key("mallory").public().as_bytes(), key("log").public().as_bytes());
        })
    };
    let elsewhere = {
        let (ours, other) = (UnverifiedDecision::from(&good()), UnverifiedDecision::from(commit));
        of(BankCall::Settle(UnverifiedDecision { checkpoint: other.checkpoint, ..ours }))
    };
    let at_other_place = {
        let mut ours = UnverifiedDecision::from(&good());
        ours.inclusion.index = 1;
        ours.inclusion.size = 2;
        of(BankCall::Settle(ours))
    };
    let mut not_signed = UnverifiedDecision::from(&good());
    not_signed.checkpoint = not_signed.checkpoint.replace("\n1\n", "\n2\n");
    let of_exchange = {
        let done = good_deposit(scene);
        let BankCall::Exchange(done) = &done else { panic!("an exchange") };
        let header = naulon_exchange::Header { a: done.id(), ..naulon_exchange::Header::clone(&locked) };
        of(settle(&log.decide(&header, NOW, Outcome::Commit { k: K })))
    };
    vec![
        case("a decision of a log that the bank does not heed", "unknown_log", {
            of(settle(&TestLog::named("other log").decide(&locked, NOW, Outcome::Commit { k: K })))
        }),
        case("a forged decision", "bad_decision", forged),
        case("a decision under the checkpoint of another tree", "bad_decision", elsewhere),
        case("a decision at another place of the tree", "bad_decision", at_other_place),
        case("a checkpoint that was altered", "bad_decision", of(BankCall::Settle(not_signed))),
        case("a decision on no purchase", "unknown_purchase", of_exchange),
        case("an id that the bank does not know", "unknown_purchase", of(BankCall::Status(Digest([8; 32])))),
        case(
            "a commit at the expiry",
            "decision_misfit",
            of(settle(&log.decide(&locked, expiry, Outcome::Commit { k: K }))),
        ),
        case("an abort before the expiry", "decision_misfit", {
            of(settle(&log.decide(&locked, expiry.minus(Duration(1)), Outcome::Abort)))
        }),
        case("a decision on another header", "decision_misfit", changed(|d| d.header = Digest([7; 32]))),
        case("a decision with another expiry", "decision_misfit", changed(|d| d.expiry = NOW.plus(Duration::days(1)))),
        case("a decision with another Q", "decision_misfit", changed(|d| d.q = Some(PublicKey([7; 32])))),
        case(
            "a commit to another key",
            "key_mismatch",
            of(settle(&log.decide(&locked, NOW, Outcome::Commit { k: [1; 32] }))),
        ),
        case("an abort after a commit", "log_contradiction", {
            of(settle(&log.decide(&committed, committed.expiry, Outcome::Abort)))
        }),
        case("a commit to another key after a commit", "log_contradiction", {
            of(settle(&log.decide(&committed, NOW, Outcome::Commit { k: [1; 32] })))
        }),
    ]
}

fn query_cases() -> Vec<Case> {
    let alice = key("alice");
    let limit = naulon_bank::MAX_QUERY_AGE;
    let other_bank = BalanceQuery { bank: key("other bank").public(), account: alice.public(), at: NOW };
    let by_other = BalanceQuery { bank: key("bank").public(), account: alice.public(), at: NOW };
    vec![
        case("a question of long ago", "stale", of(query(&alice, NOW.minus(limit).minus(Duration(1))))),
        case("a question from the future", "stale", of(query(&alice, NOW.plus(limit).plus(Duration(1))))),
        case("a question to another bank", "wrong_bank", {
            of(BankCall::Balance((&Signed::sign(&alice, other_bank)).into()))
        }),
        case("a question about another's account", "wrong_signer", {
            of(BankCall::Balance((&Signed::sign(&key("bob"), by_other)).into()))
        }),
        case("a question about no account", "unknown_account", of(query(&key("bob"), NOW))),
    ]
}

/// What a stock Privacy Pass client may get wrong, or whoever pays for it.
fn issuance_cases() -> Vec<Case> {
    let alice = key("alice");
    let blind = Blind::new(ONE, 70_000);
    let other = Blind::new(ONE, 70_001);
    let order_of =
        |account: &SecretKey, value: &str, outputs: Vec<Output>| match order(account, amount(value), 77, outputs) {
            BankCall::Exchange(exchange) => IssueOrder::new(exchange),
            other => panic!("not an exchange: {other:?}"),
        };
    let asked = |account: &SecretKey, value: &str, blind: &Blind| {
        let order = order_of(account, value, vec![blind.output()]).expect("an order of one token");
        of(BankCall::Issue(Box::new(order)))
    };
    let good = || asked(&alice, "1", &blind);
    let body = |change: fn(&mut Vec<u8>)| {
        let mut request = good();
        change(&mut request.body);
        request
    };
    let header = |text: String| HttpRequest { authorization: Some(text), ..good() };
    let two = order_of(&alice, "2", vec![blind.output(), other.output()]);
    assert!(two.is_err(), "two tokens are not an order of one");
    vec![
        case("a token request as JSON", "wrong_media_type", {
            HttpRequest { content_type: Some("application/json".into()), ..good() }
        }),
        case("a token request of no media type", "wrong_media_type", HttpRequest { content_type: None, ..good() }),
        case("a token request that is too short", "bad_token_request", body(|body| body.truncate(258))),
        case("a token request with something behind", "bad_token_request", body(|body| body.push(0))),
        case("a request for a token of another type", "bad_token_request", body(|body| body[1] = 1)),
        case("a token request with another key's id", "bad_token_request", body(|body| body[2] ^= 1)),
        case("a token request at another brand's URL", "bad_token_request", {
            HttpRequest { path: asked(&alice, "2", &Blind::new(TWO, 70_002)).path, ..good() }
        }),
        case("a token request without an order", "order_missing", HttpRequest { authorization: None, ..good() }),
        case("a token request with a password", "order_missing", header("Basic YTpi".into())),
        case("an order that is no base64url", "malformed", header("Naulon-Order a+b".into())),
        case("an order that is no JSON", "malformed", header("Naulon-Order AAAA".into())),
        case("an order that is too long", "too_long", header(format!("Naulon-Order {}", "A".repeat(MAX_ORDER_LEN)))),
        case("an order of another token", "order_misfit", {
            HttpRequest { authorization: asked(&alice, "1", &other).authorization, ..good() }
        }),
        case("an order of a credit", "order_misfit", {
            let output = Output::Account { account: alice.public(), amount: amount("1") };
            let credit = order(&alice, amount("1"), 77, vec![output]).to_http().body;
            header(format!("Naulon-Order {}", base64url_encode(&credit)))
        }),
        case("an order of too little money", "unbalanced", asked(&alice, "0.50", &blind)),
        case("an order of too much money", "unbalanced", asked(&alice, "2", &blind)),
        case("an order by another account's key", "signature_missing", {
            let input = Input::Account { account: alice.public(), amount: amount("1"), order: [78; 16] };
            let BankCall::Exchange(forged) = call(exchange(vec![input], vec![blind.output()]), [&key("bob")]) else {
                panic!("an exchange");
            };
            of(BankCall::Issue(Box::new(IssueOrder::new(forged).expect("an order"))))
        }),
        case("a token ordered on no account", "unknown_account", asked(&key("bob"), "1", &blind)),
        case("an order of a token that is not issued yet", "brand_not_issuing", {
            asked(&alice, "1", &Blind::new(NEXT_ONE, 70_003))
        }),
        case("the directory of no brand", "unknown_brand", of(BankCall::IssuerDirectory(Digest([9; 32])))),
        case("a GET of a token", "not_found", HttpRequest::get(good().path)),
    ]
}

/// A question is answered up to five minutes either way.
#[test]
fn a_question_is_fresh_for_five_minutes_either_way() {
    let mut bank = furnished(MemoryStore::new(Faults::none()));
    let limit = naulon_bank::MAX_QUERY_AGE;
    for at in [NOW, NOW.minus(limit), NOW.plus(limit)] {
        let reply = ask(&mut bank, query(&key("alice"), at)).expect("answered");
        assert!(matches!(reply, BankReply::Balance(balance) if balance == amount("100")));
    }
}

/// A log that breaks the protocol leaves evidence, once a purchase and kind; a decision that anybody could have made up
/// leaves none.
#[test]
fn what_convicts_a_log_is_kept() {
    let scene = scene();
    let mut bank = open(scene.store.copy());
    for Case { request, .. } in decision_cases(&scene).iter().chain(&decision_cases(&scene)) {
        let call = BankCall::from_http(request).expect("reads");
        bank.handle(call, NOW).map(|_| ()).expect_err("refused");
    }
    let faults = naulon_bank::BankStore::log_faults(bank.store()).expect("reads");
    let kept: Vec<_> = faults.iter().map(|fault| (fault.code.as_str(), fault.purchase)).collect();
    let (locked, committed) = (scene.lock.request, scene.committed.0.request);
    let expected = [("decision_misfit", locked), ("key_mismatch", locked), ("log_contradiction", committed)];
    assert_eq!(kept, expected);
    for fault in faults {
        let again: UnverifiedDecision = cbor::from_slice(&fault.decision.to_bytes()).expect("reads");
        assert!(again.verify(&TestLog::default().identity()).is_ok());
    }
    // After the wrong key and the misfit the right decision still settles.
    let right = TestLog::default().decide(&header(&scene.lock), NOW, Outcome::Commit { k: K });
    ask(&mut bank, settle(&right)).expect("settled");
}

/// The first problem of a bank is what the wallet acts on: codes that say "never" stay so over a restart with an older
/// clock.
#[test]
fn a_refusal_for_good_stays_one_when_the_clock_is_set_back() {
    let scene = scene();
    let store = scene.store.copy();
    let call = || good_lock(&scene, condition(3));
    let late = condition(3).expiry;
    let mut bank = open(store.clone());
    let refused = |bank: &mut Bank<MemoryStore>, now| -> Problem { bank.handle(call(), now).expect_err("refused") };
    let problem = refused(&mut bank, late);
    assert!(problem.code == "expiry_too_soon" && problem.is_final(), "{problem}");
    assert_eq!(refused(&mut bank, NOW).code, "expiry_too_soon", "the clock does not run backwards");
    drop(bank);
    assert_eq!(refused(&mut open(store), NOW).code, "expiry_too_soon", "nor over a restart");
    assert!(open(scene.store.copy()).handle(call(), NOW).is_ok(), "without that it is locked");
}
