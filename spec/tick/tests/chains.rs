//! Chains as payer and payee see them.

use naulon_statement::{PublicKey, SecretKey, Timestamp, cbor};
use naulon_tick::{Certificate, ChainId, Check, Front, MAX_CHAIN, MAX_JUMP, Tick, TickError, Walker, step};
use proptest::prelude::*;

const ID: ChainId = ChainId([7; 32]);

/// Every tick of the chain that a walker walks, from the root on, made the plain way from its last one.
fn plain(walker: &mut Walker) -> Vec<Tick> {
    let length = walker.left();
    let last = walker.advance(length).expect("the last tick").tick;
    let mut ticks = vec![last];
    for index in (0..length).rev() {
        ticks.push(step(&ID, index, ticks.last().expect("one")));
    }
    ticks.reverse();
    ticks
}

#[test]
fn every_length_is_walked_tick_by_tick() {
    for length in (1..=130).chain([255, 256, 257, 1_000, 4_096]) {
        let ticks = plain(&mut Walker::new(ID, &[1; 32], length).expect("a chain"));
        let mut walker = Walker::new(ID, &[1; 32], length).expect("a chain");
        assert_eq!(walker.root(), ticks[0], "the root of {length}");
        for index in 1..=length {
            let front = walker.advance(1).expect("a tick");
            assert_eq!(front, Front { index, tick: ticks[index as usize] }, "{index} of {length}");
        }
        assert_eq!(walker.advance(1), Err(TickError::Exhausted));
    }
}

#[test]
fn other_names_and_secrets_are_other_chains() {
    let root = |id, secret| Walker::new(id, &secret, 8).expect("a chain").root();
    assert_ne!(root(ID, [1; 32]), root(ID, [2; 32]));
    assert_ne!(root(ID, [1; 32]), root(ChainId([8; 32]), [1; 32]));
}

#[test]
fn a_chain_has_bounds() {
    for length in [0, MAX_CHAIN + 1] {
        assert!(matches!(Walker::new(ID, &[1; 32], length), Err(TickError::Length)), "{length}");
    }
    assert!(matches!(Walker::at(ID, &[1; 32], 8, 9), Err(TickError::Exhausted)));
}

#[test]
fn what_is_not_the_next_tick_is_refused_by_name() {
    let mut walker = Walker::new(ID, &[1; 32], 10_000).expect("a chain");
    let mut front = Front::root(walker.root());
    let fifth = walker.advance(5).expect("a tick");
    let far = walker.advance(MAX_JUMP).expect("a tick");
    let mut forged = fifth;
    forged.tick.0[15] ^= 1;
    let before = front;
    for (name, to, error) in [
        ("forged", forged, TickError::Forged),
        ("of another number", Front { index: 4, ..fifth }, TickError::Forged),
        ("too far", far, TickError::TooFar),
        ("beyond every chain", Front { index: u32::MAX, ..fifth }, TickError::TooFar),
        ("the root", front, TickError::Used),
    ] {
        assert_eq!(front.advance(&ID, &to, MAX_JUMP), Err(error), "{name}");
        assert_eq!(front, before, "{name}");
    }
    assert_eq!(front.advance(&ID, &fifth, MAX_JUMP), Ok(5));
    assert_eq!(front.advance(&ID, &fifth, MAX_JUMP), Err(TickError::Used));
    assert_eq!(front.advance(&ID, &far, MAX_JUMP), Ok(MAX_JUMP));
    assert_eq!(front.advance(&ChainId([8; 32]), &walker.advance(1).expect("a tick"), 1), Err(TickError::Forged));
}

#[test]
fn what_was_paid_in_advance_is_given_back_by_a_lower_tick() {
    let mut walker = Walker::new(ID, &[1; 32], 100).expect("a chain");
    let sixtieth = walker.advance(60).expect("a tick");
    let fortieth = Walker::at(ID, &[1; 32], 100, 39).expect("a chain").advance(1).expect("a tick");
    assert_eq!(sixtieth.lower(&ID, 40), Ok(fortieth));
    assert_eq!(sixtieth.lower(&ID, 60), Ok(sixtieth));
    assert_eq!(sixtieth.lower(&ID, 61), Err(TickError::Ahead));
}

proptest! {
    /// However a payer jumps, the payee gets as far as the payer went.
    #[test]
    fn jumps_arrive(length in 1_u32..3_000, jumps in prop::collection::vec(1_u32..200, 1..40)) {
        let mut walker = Walker::new(ID, &[3; 32], length).expect("a chain");
        let mut front = Front::root(walker.root());
        for jump in jumps {
            let left = walker.left();
            match walker.advance(jump) {
                Ok(to) => prop_assert_eq!(front.advance(&ID, &to, MAX_JUMP), Ok(jump)),
                Err(error) => {
                    prop_assert_eq!((error, jump > left), (TickError::Exhausted, true));
                    prop_assert_eq!(walker.left(), left);
                }
            }
            prop_assert_eq!(front.index, walker.position());
        }
    }
}

fn check() -> Check {
    let key = |seed| SecretKey::from_seed(&[seed; 32]).public();
    Check {
        id: ID,
        root: Walker::new(ID, &[1; 32], 1_000).expect("a chain").root(),
        length: 1_000,
        value: "0.00001".parse().expect("an amount"),
        currency: "EUR".parse().expect("a currency"),
        payee: key(1),
        salt: [4; 16],
        bank: key(2),
        expiry: Timestamp(5_000),
        refund: key(3),
    }
}

#[test]
fn a_check_is_committed_to_in_every_field() {
    let whole = check();
    assert_eq!(whole.maximum(), Some("0.01".parse().expect("an amount")));
    assert_eq!(cbor::from_slice(&cbor::to_vec(&whole)), Ok(whole.clone()));
    let certificate = Certificate {
        bank: whole.bank,
        currency: whole.currency.clone(),
        commitment: whole.commitment(),
        maximum: "0.01".parse().expect("an amount"),
        expiry: whole.expiry,
        payee: whole.payee_digest(),
    };
    assert!(certificate.covers(&whole));
    let other = PublicKey([9; 32]);
    let changed = [
        Check { id: ChainId([8; 32]), ..whole.clone() },
        Check { root: Tick([0; 16]), ..whole.clone() },
        Check { length: 999, ..whole.clone() },
        Check { value: "0.00002".parse().expect("an amount"), ..whole.clone() },
        Check { currency: "USD".parse().expect("a currency"), ..whole.clone() },
        Check { payee: other, ..whole.clone() },
        Check { salt: [5; 16], ..whole.clone() },
        Check { bank: other, ..whole.clone() },
        Check { expiry: Timestamp(5_001), ..whole.clone() },
        Check { refund: other, ..whole.clone() },
    ];
    for (field, check) in changed.iter().enumerate() {
        assert_ne!(check.commitment(), whole.commitment(), "field {field}");
        assert!(!certificate.covers(check), "field {field}");
    }
    for bad in [
        Check { length: 0, ..whole.clone() },
        Check { length: MAX_CHAIN + 1, ..whole.clone() },
        Check { value: naulon_money::Amount::ZERO, ..whole.clone() },
        Check { value: naulon_money::Amount::MAX, ..whole },
    ] {
        assert_eq!(bad.check_form(), Err(TickError::Length));
    }
}
