//! The purse as its holder, its bank and the payees see it.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use naulon_blind::{Brand, IssuerSecret, KnownBrand, Method, Purpose, SEED_LEN};
use naulon_durable::fault::{Faults, When};
use naulon_exchange::{
    BankTerms, Exchange, Funding, FundingError, Input, Loaded, Output, PurseCheckError, VerifiedFunding,
    verify_funding, verify_purse_check,
};
use naulon_money::Amount;
use naulon_onion::Shape;
use naulon_purse::{CheckWanted, Fare, KeyRing, MemoryStore, Purse, PurseError};
use naulon_statement::{Digest, Joint, PublicKey, SecretKey, Signed, Timestamp, Unverified, UnverifiedJoint, cbor};
use naulon_tick::Walker;

const DAY: u64 = 86_400_000;
const NOW: Timestamp = Timestamp(20_000 * DAY + 5_000_000);
const DERS: [&[u8]; 2] = [
    include_bytes!("../../../vectors/brand-keys/test-only-00.pkcs8.der"),
    include_bytes!("../../../vectors/brand-keys/test-only-01.pkcs8.der"),
];

fn bank() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn secrets() -> &'static [IssuerSecret] {
    static SECRETS: OnceLock<Vec<IssuerSecret>> = OnceLock::new();
    SECRETS.get_or_init(|| DERS.iter().map(|der| IssuerSecret::from_der(der).expect("a key")).collect())
}

/// Brands of checks over 10 and over 20.
fn brand(which: usize) -> KnownBrand {
    let brand = Brand {
        bank: bank().public(),
        currency: "EUR".parse().expect("a currency"),
        denomination: [amount("10"), amount("20")][which],
        method: Method::BlindRsa2048,
        purpose: Purpose::PurseCheck,
        issue_from: Timestamp(NOW.0 - DAY),
        withdraw_until: Timestamp(NOW.0 + 30 * DAY),
        spend_until: Timestamp(NOW.0 + 30 * DAY),
        redeem_until: Timestamp(NOW.0 + 60 * DAY),
        key: *secrets()[which].public().spki(),
    };
    KnownBrand::new(brand).expect("a sound brand")
}

fn id(which: usize) -> Digest {
    Digest(*brand(which).key_id())
}

fn amount(text: &str) -> Amount {
    text.parse().expect("an amount")
}

fn open(seed: u8, store: MemoryStore) -> Purse<MemoryStore> {
    let keys = KeyRing::new(secrets().iter().cloned());
    Purse::open([seed; SEED_LEN], vec![brand(0), brand(1)], Box::new(keys), store).expect("opens")
}

fn word(loaded: Loaded) -> Unverified<Loaded> {
    Unverified::from(&Signed::sign(&bank(), loaded))
}

fn load(purse: &mut Purse<MemoryStore>, which: usize, value: &str, number: u8) {
    let asked = purse.ask_load(&id(which), amount(value), &[number; 16]).expect("asked");
    purse.credit(word(asked)).expect("credited");
}

fn wanted(wish: u8) -> CheckWanted {
    CheckWanted { wish: [wish; 16], payee: PublicKey([5; 32]), value: amount("0.01"), length: 1_000 }
}

fn code<T>(answer: Result<T, PurseError>) -> &'static str {
    answer.map(drop).expect_err("is refused").code()
}

#[test]
fn a_purse_pays_what_was_loaded_and_no_more() {
    let mut purse = open(1, MemoryStore::new(Faults::none()));
    assert_eq!(code(purse.make(&wanted(1), NOW)), "purse_empty");
    load(&mut purse, 0, "20", 1);
    // What is loaded for one total pays for no other.
    let twenty = CheckWanted { length: 2_000, ..wanted(9) };
    assert_eq!(code(purse.make(&twenty, NOW)), "purse_empty");
    for wish in [1, 2] {
        let fare = purse.make(&wanted(wish), NOW).expect("made");
        verify_purse_check(&fare.check, &fare.token, &brand(0)).expect("a purse's");
        let walker = Walker::new(fare.check.id, fare.secrets.chain(), fare.check.length).expect("a chain");
        assert_eq!(walker.root(), fare.check.root);
        assert_eq!(SecretKey::from_seed(fare.secrets.refund()).public(), fare.check.refund);
    }
    assert_eq!(code(purse.make(&wanted(3), NOW)), "purse_empty");
    assert_eq!(purse.balance(&id(0)).expect("read"), Amount::ZERO);
    // Asked again by the same name it is the same check; another one is not had by it.
    let again = purse.make(&wanted(2), Timestamp(NOW.0 + DAY)).expect("the same");
    assert!(again.check == purse.made_from(1).expect("read")[0].check);
    assert_eq!(code(purse.make(&CheckWanted { payee: PublicKey([6; 32]), ..wanted(2) }, NOW)), "order_used");
}

#[test]
fn a_check_is_worth_what_a_key_signs_for() {
    let mut purse = open(1, MemoryStore::new(Faults::none()));
    load(&mut purse, 0, "20", 1);
    for (value, length) in [("0.01", 1_001), ("0.02", 1_000), ("0.01", 0), ("0.01", u32::MAX), ("10000000", 1 << 20)] {
        let odd = CheckWanted { value: amount(value), length, ..wanted(1) };
        assert!(purse.make(&odd, NOW).is_err(), "{value} × {length}");
    }
    // Beyond the brand's time no check is made, for nobody would take it.
    assert_eq!(code(purse.make(&wanted(1), Timestamp(NOW.0 + 29 * DAY))), "purse_brand");
    assert_eq!(code(purse.make(&wanted(1), Timestamp(NOW.0 - 2 * DAY))), "purse_brand");
    assert_eq!(purse.balance(&id(0)).expect("read"), amount("20"));
}

#[test]
fn a_load_is_what_the_purse_asked_for_and_counts_once() {
    let mut purse = open(1, MemoryStore::new(Faults::none()));
    for odd in ["0", "5", "15"] {
        assert_eq!(code(purse.ask_load(&id(0), amount(odd), &[9; 16])), "amount_out_of_range");
    }
    assert_eq!(code(purse.ask_load(&Digest([3; 32]), amount("10"), &[9; 16])), "purse_brand");
    let asked = purse.ask_load(&id(0), amount("10"), &[1; 16]).expect("asked");
    assert_eq!(code(purse.ask_load(&id(1), amount("20"), &[1; 16])), "order_used");
    let forged = Signed::sign(&SecretKey::from_seed(&[8; 32]), asked.clone());
    assert!(purse.credit(Unverified::from(&forged)).is_err());
    let never = Loaded { load: [2; 16], ..asked.clone() };
    assert_eq!(code(purse.credit(word(never))), "unknown_load");
    for other in [Loaded { amount: amount("1000"), ..asked.clone() }, Loaded { brand: id(1), ..asked.clone() }] {
        assert_eq!(code(purse.credit(word(other))), "load_misfit");
    }
    for _ in 0..3 {
        assert_eq!(purse.credit(word(asked.clone())).expect("credited"), amount("10"));
    }
    // The word for one purse is worth nothing in another.
    let mut other = open(2, MemoryStore::new(Faults::none()));
    assert_eq!(code(other.credit(word(asked))), "unknown_load");
}

#[test]
fn killed_at_any_write_a_purse_is_never_out_and_never_over() {
    // The whole life of a purse: two loads, then checks until it is empty. Killed at each write, before and after it.
    for when in [When::Before, When::After] {
        for nth in 1..=8 {
            let faults = Faults::none();
            let store = MemoryStore::new(faults.clone());
            faults.plan(nth, when);
            let mut purse = open(1, store.clone());
            let mut shown: BTreeSet<Vec<u8>> = BTreeSet::new();
            let mut step = 0;
            while step < 6 {
                let done = match step {
                    0 | 1 => purse
                        .ask_load(&id(0), amount("20"), &[step; 16])
                        .and_then(|asked| purse.credit(word(asked)).map(drop)),
                    wish => purse.make(&wanted(wish), NOW).map(|fare| {
                        shown.insert(cbor::to_vec(&fare.check));
                    }),
                };
                match done {
                    Ok(()) => step += 1,
                    // The process is gone; its holder starts it again and asks for the same.
                    Err(PurseError::Store(_)) => {
                        faults.restart();
                        purse = open(1, store.clone());
                    }
                    Err(error) => panic!("{error} at write {nth} {when:?}"),
                }
            }
            assert_eq!(shown.len(), 4, "at write {nth} {when:?}");
            assert_eq!(purse.balance(&id(0)).expect("read"), Amount::ZERO, "at write {nth} {when:?}");
            assert_eq!(code(purse.make(&wanted(77), NOW)), "purse_empty");
            let listed = purse.made_from(0).expect("read");
            assert!(listed.iter().all(|fare| shown.contains(&cbor::to_vec(&fare.check))));
        }
    }
}

#[test]
fn a_forged_or_altered_check_is_no_purses() {
    let mut purse = open(1, MemoryStore::new(Faults::none()));
    load(&mut purse, 0, "20", 1);
    let Fare { check, token, .. } = purse.make(&wanted(1), NOW).expect("made");
    let verify = |check: &_, brand: &KnownBrand| verify_purse_check(check, &token, brand);
    let mut other = check.clone();
    other.payee = PublicKey([6; 32]);
    assert_eq!(verify(&other, &brand(0)), Err(PurseCheckError::Signature), "another payee");
    other = check.clone();
    (other.value, other.length) = (amount("0.02"), 500);
    assert_eq!(verify(&other, &brand(0)), Err(PurseCheckError::Signature), "the same total, other ticks");
    other.length = 1_000;
    assert_eq!(verify(&other, &brand(0)), Err(PurseCheckError::Value));
    assert_eq!(verify(&check, &brand(1)), Err(PurseCheckError::Value), "another brand");
    let money = Brand { purpose: Purpose::Money, ..brand(0).brand().clone() };
    let money = KnownBrand::new(money).expect("a sound brand");
    assert_eq!(verify(&check, &money), Err(PurseCheckError::Brand), "a key of money signs no checks");
    let short = Brand { spend_until: NOW, withdraw_until: NOW, ..brand(0).brand().clone() };
    let short = KnownBrand::new(short).expect("a sound brand");
    assert_eq!(verify(&check, &short), Err(PurseCheckError::Dates), "a check that outlives its brand");
    let second = purse.make(&wanted(2), NOW).expect("made");
    assert_eq!(verify(&second.check, &brand(0)), Err(PurseCheckError::Signature), "another check's signature");
}

/// What two byte strings have in common, from eight bytes on.
fn common(one: &[u8], other: &[u8]) -> BTreeSet<Vec<u8>> {
    let windows = |bytes: &[u8]| bytes.windows(8).map(<[u8]>::to_vec).collect::<BTreeSet<_>>();
    windows(one).intersection(&windows(other)).cloned().collect()
}

#[test]
fn checks_of_one_purse_have_no_more_in_common_than_checks_of_two() {
    let [mut one, mut other] = [1, 2].map(|seed| open(seed, MemoryStore::new(Faults::none())));
    let asked = one.ask_load(&id(0), amount("20"), &[0xc1; 16]).expect("asked");
    one.credit(word(asked.clone())).expect("credited");
    load(&mut other, 0, "20", 0xc2);
    // All that mix and bank are shown of a check: the check and the signature. Made hours apart on one day.
    let shown = |purse: &mut Purse<MemoryStore>, wish: u8, later: u64| {
        let fare = purse.make(&wanted(wish), Timestamp(NOW.0 + later)).expect("made");
        let fields = [fare.check.id.0.to_vec(), fare.check.root.0.to_vec(), fare.check.salt.to_vec()];
        let keys = [fare.check.refund.0.to_vec(), fare.check.payee_digest().0.to_vec()];
        ([cbor::to_vec(&fare.check), fare.token.to_bytes().to_vec()].concat(), [&fields[..], &keys].concat())
    };
    let (first, own) = shown(&mut one, 1, 0);
    let (second, others) = shown(&mut one, 2, 7_000_000);
    let (foreign, _) = shown(&mut other, 1, 3_000_000);
    assert!(own.iter().zip(&others).all(|(one, other)| one != other), "field by field");
    // What they share is what all checks of the brand to this payee share: bank, payee, terms, day, brand.
    assert_eq!(common(&first, &second), common(&first, &foreign));
    // With the load, as the bank saw it, a check shares what every check of the brand shares with it.
    let load = cbor::to_vec(&asked);
    assert_eq!(common(&load, &first), common(&load, &foreign));
}

/// What goes to a mix beside the check: the exchange that sets its total aside, signed by the refund key.
fn funding(fare: &Fare) -> Funding {
    let Fare { check, token, secrets } = fare;
    let refund = SecretKey::from_seed(secrets.refund());
    let exchange = Exchange {
        bank: check.bank,
        currency: check.currency.clone(),
        inputs: vec![Input::Purse { check: check.clone(), token: *token, signer: check.refund }],
        outputs: vec![Output::chain(check).expect("countable")],
        condition: None,
        seal_to: None,
    };
    Funding::Online(Box::new(UnverifiedJoint::from(Joint::sign(exchange, [&refund]))))
}

#[test]
fn a_mix_posts_a_purses_check_before_the_first_block() {
    let mut purse = open(1, MemoryStore::new(Faults::none()));
    load(&mut purse, 0, "20", 1);
    let [one, other] = [1, 2].map(|wish| purse.make(&wanted(wish), NOW).expect("made"));
    let terms = BankTerms { bank: bank().public(), currency: "EUR".parse().expect("a currency") };
    let post = verify_funding(&one.check, &funding(&one), &terms, NOW);
    assert!(matches!(post, Ok(VerifiedFunding::Post(_))), "{post:?}");
    // Another check's, though it is as good.
    let misfit = verify_funding(&one.check, &funding(&other), &terms, NOW);
    assert_eq!(misfit.map(drop), Err(FundingError::NotFunding));
    // It fits into a block's room for a fare.
    let shown = cbor::to_vec(&one.check).len() + cbor::to_vec(&funding(&one)).len() + 8;
    assert!(shown <= Shape::STANDARD.fare_room(), "{shown} of {}", Shape::STANDARD.fare_room());
}
