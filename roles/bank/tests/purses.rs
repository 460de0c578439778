//! Purses at the bank, through its HTTP messages: loads, checks that purses made out, and a key that is out.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use naulon_bank::{Bank, BankStore, KeyRing, MemoryStore, SqliteStore};
use naulon_blind::{Brand, IssuerSecret, KnownBrand, Method, Purpose, Token, TokenSecrets};
use naulon_durable::fault::Faults;
use naulon_exchange::{Challenge, Exchange, Input, Loaded, OpenAccount, Output, Rules, purse_account, purse_stop};
use naulon_statement::{Digest, Duration, PublicKey, SecretKey, Signed, Timestamp, Unverified};
use naulon_tick::{ChainId, Check, Front, Walker};
use naulon_wire::{BankCall, BankReply, Call, ExchangeReply, Problem};
use world::*;

const PURSE_KEY: &[u8] = include_bytes!("../../../vectors/brand-keys/test-only-05.pkcs8.der");

fn purse_secret() -> IssuerSecret {
    IssuerSecret::from_der(PURSE_KEY).expect("a key")
}

/// A brand of purse checks that are worth 1 in all.
fn purse_brand() -> Arc<KnownBrand> {
    let money = brand(ONE);
    let brand = Brand {
        purpose: Purpose::PurseCheck,
        denomination: amount("1"),
        method: Method::BlindRsa2048,
        key: *purse_secret().public().spki(),
        ..money.brand().clone()
    };
    Arc::new(KnownBrand::new(brand).expect("a sound brand"))
}

fn id() -> Digest {
    Digest(*purse_brand().key_id())
}

fn opened<S: BankStore>(store: S) -> Bank<S> {
    let mut brands: BTreeMap<_, _> = rules().brands;
    brands.insert(id(), purse_brand());
    let rules = Rules { brands, ..rules() };
    let ring = KeyRing::new(issuer_secrets().iter().cloned().chain([purse_secret()]));
    Bank::open(keys(), rules, Arc::new(ring), store).expect("the bank opens")
}

/// A bank where alice and the shop have accounts, and alice has 10.
fn stocked<S: BankStore>(store: S) -> Bank<S> {
    let mut bank = opened(store);
    for name in ["alice", "shop"] {
        let open = OpenAccount { bank: key("bank").public(), account: key(name).public() };
        let open = Unverified::from(&Signed::sign(&key(name), open));
        bank.handle(BankCall::OpenAccount(open), NOW).expect("opens");
    }
    let input = Input::Outside { amount: amount("10"), reference: [1; 16] };
    let body = exchange(vec![input], vec![Output::Account { account: key("alice").public(), amount: amount("10") }]);
    post(&mut bank, body, &key("operator"), NOW).expect("paid in");
    bank
}

fn send<S: BankStore>(bank: &mut Bank<S>, call: BankCall, now: Timestamp) -> Result<BankReply, Problem> {
    let reply = bank.handle(BankCall::from_http(&call.to_http())?, now)?;
    Ok(call.reply_from_http(&BankCall::reply_to_http(reply)).expect("reads"))
}

fn post<S: BankStore>(
    bank: &mut Bank<S>,
    body: Exchange,
    by: &SecretKey,
    now: Timestamp,
) -> Result<ExchangeReply, Problem> {
    match send(bank, call(body, [by]), now)? {
        BankReply::Exchange(reply) => Ok(*reply),
        other => panic!("{other:?}"),
    }
}

fn challenge<S: BankStore>(bank: &mut Bank<S>, now: Timestamp) -> Challenge {
    match send(bank, BankCall::Challenge, now) {
        Ok(BankReply::Challenge(challenge)) => challenge,
        other => panic!("{other:?}"),
    }
}

fn load(value: &str, number: u8) -> Exchange {
    let input = Input::Account { account: key("alice").public(), amount: amount(value), order: [number; 16] };
    exchange(vec![input], vec![Output::Load { brand: id(), amount: amount(value), number: [number; 16] }])
}

/// The check of this number, of five ticks of 0.20 for the shop, as a purse makes it out: whoever has the key can.
fn made(number: u8) -> (Check, Token) {
    let check = Check {
        id: ChainId([number; 32]),
        root: walker(number).root(),
        length: 5,
        value: amount("0.20"),
        currency: rules().currency,
        payee: key("shop").public(),
        salt: [number; 16],
        bank: key("bank").public(),
        expiry: NOW.plus(Duration::seconds(1_000)),
        refund: refund(number).public(),
    };
    let (brand, blinding) = (purse_brand(), TokenSecrets::derive(&[number; 64], &id().0, 0));
    let input = brand.token_input(check.commitment().0);
    let (message, unblinder) = input.blind(brand.issuer_key(), blinding.salt(), blinding.r()).expect("blinds");
    let signature = purse_secret().blind_sign(&message).expect("signs");
    let token = input.finalize(brand.issuer_key(), &signature, &unblinder).expect("a token");
    (check, token)
}

fn walker(number: u8) -> Walker {
    Walker::new(ChainId([number; 32]), &[number; 32], 5).expect("a length")
}

fn refund(number: u8) -> SecretKey {
    SecretKey::from_seed(&[100 + number; 32])
}

/// Has the check's row made from the purse's signature.
fn set_aside(number: u8, signer: &SecretKey) -> Exchange {
    let (check, token) = made(number);
    let row = Output::chain(&check).expect("countable");
    exchange(vec![Input::Purse { check, token, signer: signer.public() }], vec![row])
}

fn cash(number: u8, to: u32, challenge: Challenge) -> Exchange {
    let check = made(number).0;
    let front: Front = walker(number).advance(to).expect("a tick");
    let worth = check.worth(to).expect("countable");
    let input = Input::Chain { from: check.front(), to: front, check, challenge };
    exchange(vec![input], vec![Output::Account { account: key("shop").public(), amount: worth }])
}

fn code<T: std::fmt::Debug>(answer: Result<T, Problem>) -> String {
    answer.expect_err("is refused").code
}

#[test]
fn a_purse_is_loaded_and_its_check_is_cashed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bank.sqlite");
    let mut bank = stocked(SqliteStore::open(&path).expect("opens"));
    let loaded = post(&mut bank, load("2", 1), &key("alice"), NOW).expect("loaded");
    let word = loaded.loads[0].clone().verify(&key("bank").public()).expect("the bank's word");
    let stated = Loaded {
        bank: key("bank").public(),
        currency: rules().currency,
        brand: id(),
        amount: amount("2"),
        load: [1; 16],
    };
    assert_eq!(*word, stated);
    // Whoever lost the reply gets the same word again, and it is paid once.
    drop(bank);
    let mut bank = opened(SqliteStore::open(&path).expect("opens"));
    let again = post(&mut bank, load("2", 1), &key("alice"), NOW).expect("known");
    assert_eq!(again.loads, loaded.loads);
    assert_eq!(bank.store().balance(&key("alice").public()), Ok(Some(amount("8"))));
    assert_eq!(bank.store().balance(&purse_account(&id())), Ok(Some(amount("2"))));
    // The payee has the check's row made when it likes to cash, be it after the expiry, and cashes as ever.
    let late = NOW.plus(Duration::days(1));
    let reply = post(&mut bank, set_aside(1, &key("shop")), &key("shop"), late).expect("set aside");
    assert_eq!(reply.certificates.len(), 1);
    let question = challenge(&mut bank, late);
    post(&mut bank, cash(1, 3, question), &key("shop"), late).expect("cashed");
    assert_eq!(bank.store().balance(&key("shop").public()), Ok(Some(amount("0.60"))));
    // The same check once more: its signature is spent.
    assert_eq!(code(post(&mut bank, set_aside(1, &refund(1)), &refund(1), late)), "spent");
    // What was not spent goes back to the refund key, into tokens or another account: the purse's holder is not named.
    let free = NOW.plus(Duration::seconds(1_000)).plus(rules().chains.grace);
    let (commitment, refund_key) = (made(1).0.commitment(), refund(1).public());
    let rest =
        Input::Remainder { commitment, refund: refund_key, returned: amount("0"), amount: amount("0.40"), early: None };
    let back = Output::Account { account: key("alice").public(), amount: amount("0.40") };
    post(&mut bank, exchange(vec![rest], vec![back]), &refund(1), free).expect("given back");
    bank.audit().expect("the books agree");
    // A check of which nothing was cashed comes back, too: its maker has the row made.
    post(&mut bank, set_aside(2, &refund(2)), &refund(2), free).expect("set aside");
    assert_eq!(bank.store().balance(&purse_account(&id())), Ok(Some(amount("0"))));
    bank.audit().expect("the books agree");
}

#[test]
fn what_a_purse_has_not_made_is_refused_by_name() {
    let store = MemoryStore::new(Faults::none());
    let mut bank = stocked(store);
    post(&mut bank, load("2", 1), &key("alice"), NOW).expect("loaded");
    let (check, token) = made(1);
    let row = || Output::chain(&check).expect("countable");
    let purse = |check: &Check, token, signer: PublicKey| Input::Purse { check: check.clone(), token, signer };
    let shop = key("shop").public();
    let mut ask = |input, outputs, by: &SecretKey| code(post(&mut bank, exchange(vec![input], outputs), by, NOW));
    // Somebody else, who saw check and signature.
    assert_eq!(ask(purse(&check, token, key("alice").public()), vec![row()], &key("alice")), "wrong_payee");
    assert_eq!(ask(purse(&check, token, shop), vec![row()], &key("alice")), "signature_missing");
    // To somewhere else than the check's own row.
    let credit = Output::Account { account: shop, amount: amount("1") };
    assert_eq!(ask(purse(&check, token, shop), vec![credit], &key("shop")), "wrong_purpose");
    let other_row = Output::chain(&made(2).0).expect("countable");
    assert_eq!(ask(purse(&check, token, shop), vec![other_row], &key("shop")), "wrong_purpose");
    // Altered, or with another check's signature.
    let dear = Check { length: 6, ..check.clone() };
    assert_eq!(ask(purse(&dear, token, shop), vec![row()], &key("shop")), "purse_value");
    let other = Check { salt: [9; 16], ..check.clone() };
    assert_eq!(ask(purse(&other, token, shop), vec![row()], &key("shop")), "purse_signature");
    assert_eq!(ask(purse(&check, made(2).1, shop), vec![row()], &key("shop")), "purse_signature");
    let foreign = Check { currency: "USD".parse().expect("a currency"), ..check.clone() };
    assert_eq!(ask(purse(&foreign, token, shop), vec![row()], &key("shop")), "purse_brand");
    let late = Check { expiry: NOW.plus(Duration::days(61)), ..check.clone() };
    assert_eq!(ask(purse(&late, token, shop), vec![row()], &key("shop")), "purse_dates");
    // As money it is worth nothing.
    assert_eq!(ask(Input::token(token), vec![row()], &key("shop")), "wrong_purpose");
    // Loads: of money's brands, and of odd amounts.
    let order = |number| Input::Account { account: key("alice").public(), amount: amount("1"), order: [number; 16] };
    let of_money = Output::Load { brand: brand_id(ONE), amount: amount("1"), number: [7; 16] };
    assert_eq!(ask(order(7), vec![of_money], &key("alice")), "wrong_purpose");
    let odd = vec![
        Output::Load { brand: id(), amount: amount("0.50"), number: [8; 16] },
        Output::Account { account: key("alice").public(), amount: amount("0.50") },
    ];
    assert_eq!(ask(order(8), odd, &key("alice")), "amount_out_of_range");
    // Nobody orders from what is loaded: its account is no key.
    let steal = Input::Account { account: purse_account(&id()), amount: amount("1"), order: [9; 16] };
    let credit = Output::Account { account: shop, amount: amount("1") };
    assert_eq!(ask(steal, vec![credit], &key("shop")), "signature_missing");
    assert_eq!(bank.store().balance(&purse_account(&id())), Ok(Some(amount("2"))));
}

#[test]
fn a_key_that_is_out_costs_what_was_loaded_and_stops_the_brand() {
    let store = MemoryStore::new(Faults::none());
    let mut bank = stocked(store.clone());
    post(&mut bank, load("2", 1), &key("alice"), NOW).expect("loaded");
    // Three checks, each with the brand's true signature: one more than were loaded for.
    for number in [1, 2] {
        post(&mut bank, set_aside(number, &key("shop")), &key("shop"), NOW).expect("covered");
    }
    assert_eq!(code(post(&mut bank, set_aside(3, &key("shop")), &key("shop"), NOW)), "purse_overdrawn");
    // From here on nobody loads the brand, and the alarm is there after a restart.
    assert_eq!(code(post(&mut bank, load("1", 2), &key("alice"), NOW)), "purse_stopped");
    drop(bank);
    let mut bank = opened(store);
    assert_eq!(bank.store().balance(&purse_stop(&id())), Ok(Some(amount("0"))));
    assert_eq!(code(post(&mut bank, set_aside(3, &key("shop")), &key("shop"), NOW)), "purse_stopped");
    // What was set aside before is paid.
    let question = challenge(&mut bank, NOW);
    post(&mut bank, cash(1, 5, question), &key("shop"), NOW).expect("cashed");
    post(&mut bank, cash(2, 5, question), &key("shop"), NOW).expect("cashed");
    assert_eq!(bank.store().balance(&key("shop").public()), Ok(Some(amount("2"))));
    bank.audit().expect("the books agree");
}
