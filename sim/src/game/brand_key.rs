//! The bank gives each person a brand key of her own, and knows her by it when she pays.
//!
//! Registers are fetched anonymously, so the bank does not know whom it shows which; but who withdraws under a key that was
//! shown once only has told it, and so has whoever pays with such a token.

use naulon_blind::Brand;
use naulon_exchange::register::{RegisterCopy, RegisterEntry};
use naulon_statement::{PublicKey, Signed, Timestamp, Unverified};
use naulon_tlog::{AddCheckpoint, Checkpoint, Tree, WitnessPolicy};
use naulon_wire::{WitnessCall, WitnessReply};
use naulon_witness::Witness;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::figure::{self, Expected, Row};
use super::habits::Habits;
use super::keys::{self, BEGINNING, DAY, cents};
use super::people::{Act, People};
use super::picture::Picture;
use super::town::{Town, bank_key};
use crate::fault::below;

/// How many people there are: as many as there are keys to spare.
const PEOPLE: usize = 6;
/// How many witnesses there are, and how many of them the wallets want.
const WITNESSES: (u8, usize) = (3, 2);

/// How the bank goes about it, or what is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    /// To each who asks another register; the witnesses cosign the first.
    RegisterEach,
    /// The same register to all, and beside it a brand that does not stand in it.
    BesideTheRegister,
    /// A register each, and wallets that want no witnesses.
    NoWitnesses,
    /// A register each, and two of the three witnesses cosign whatever the bank asks.
    LyingWitnesses,
}

/// Plays the game.
pub fn play(trials: u64, seed: u64) -> figure::Played {
    let mut notes = Vec::new();
    let fewer = (trials / 4).max(12);
    let rows = [
        ("honest", Expected::Nothing, trials, [Trick::RegisterEach, Trick::BesideTheRegister]),
        ("no-witnesses", Expected::Teeth, fewer, [Trick::NoWitnesses; 2]),
        ("lying-witnesses", Expected::Teeth, fewer, [Trick::LyingWitnesses; 2]),
    ];
    let rows = rows.map(|(name, expected, trials, tricks)| {
        let played = super::in_parallel(trials, |number| trial(tricks[(number % 2) as usize], seed, number));
        let refused: u64 = played.iter().map(|(_, refused)| refused).sum();
        notes.push(format!("{name}: wallets refused {refused} registers"));
        let right = played.iter().filter(|(right, _)| *right).count() as u64;
        Row { name, trials: played.len() as u64, right, choices: PEOPLE as u64, expected }
    });
    figure::Played { game: "brand-key", rows: rows.to_vec(), notes }
}

/// One trial: whether the bank named the right person, and how many registers were refused.
fn trial(trick: Trick, seed: u64, number: u64) -> Option<(bool, u64)> {
    let trial = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number ^ 0x6b65_7973;
    let mut rng = ChaCha8Rng::seed_from_u64(trial);
    let marked: Vec<Brand> = (0..PEOPLE).filter_map(|person| keys::marked_brand(bank_key(), person)).collect();
    let timetables = (0..PEOPLE).map(|_| timetable(&mut rng)).collect();
    let town = Town::new(&marked, &registers(trick, &marked)?)?;
    let mut people = People::new(town, timetables, Habits::ALL, trial, &policy(trick)?)?;
    if !people.live() || !people.refused.is_empty() {
        return None;
    }
    let picture = Picture::of(&people.town.seen);
    let drawn = below(&mut rng, people.truth.len().max(1) as u64) as usize;
    let (target, truth) = people.truth.iter().nth(drawn)?;
    let of_token: Vec<[u8; 32]> = picture.spends.get(target)?.tokens.iter().map(|token| *token.key_id()).collect();
    let marked: Vec<[u8; 32]> = marked.iter().map(Brand::key_id).filter(|key| of_token.contains(key)).collect();
    // Whoever withdrew under a key that the spent tokens have, if it was a key for one person.
    let withdrew = |account: &&PublicKey| {
        let signed = picture.accounts.get(*account).map(|account| &account.signed);
        signed.is_some_and(|signed| signed.iter().any(|(brand, _)| marked.contains(&brand.0)))
    };
    let found: Vec<usize> = (0..PEOPLE).filter(|person| withdrew(&&people.accounts[*person])).collect();
    let among = if found.is_empty() { (0..PEOPLE).collect() } else { found };
    let guess = among[below(&mut rng, among.len() as u64) as usize];
    Some((guess == *truth, people.registers_refused))
}

/// Everybody withdraws, and buys something that costs a token of 1 EUR.
fn timetable(rng: &mut ChaCha8Rng) -> Vec<(Timestamp, Act)> {
    let acts = [
        (0, Act::Open),
        (0, Act::PayIn(cents(5_000))),
        (0, Act::Learn),
        (1, Act::Withdraw(cents(1_000))),
        (2, Act::Buy(3 + below(rng, 3) as usize)),
    ];
    let mut at = 0;
    let timed = acts.map(|(day, act)| {
        at = match act {
            Act::PayIn(_) | Act::Learn => at + 5_000,
            _ => BEGINNING.0 + day * DAY + below(rng, DAY),
        };
        (Timestamp(at), act)
    });
    timed.to_vec()
}

fn policy(trick: Trick) -> Option<WitnessPolicy> {
    if trick == Trick::NoWitnesses {
        return Some(WitnessPolicy::unwitnessed());
    }
    let (count, threshold) = WITNESSES;
    WitnessPolicy::new((0..count).map(|number| keys::witness(number).verifier().clone()).collect(), threshold).ok()
}

/// What is shown, one after the other to whoever asks.
fn registers(trick: Trick, marked: &[Brand]) -> Option<Vec<RegisterCopy>> {
    let mut witnesses: Vec<Witness<naulon_witness::MemoryStore>> = Vec::new();
    for number in 0..WITNESSES.0 {
        let store = naulon_witness::MemoryStore::new(naulon_durable::fault::Faults::none());
        let logs = vec![keys::register_signer().verifier().clone()];
        witnesses.push(Witness::new(keys::witness(number), logs, store).ok()?);
    }
    let everybodys: Vec<Brand> = keys::brands(bank_key()).values().map(|known| known.brand().clone()).collect();
    let mut shown = Vec::new();
    if trick == Trick::BesideTheRegister {
        let register = register(&everybodys, trick, &mut witnesses)?;
        for brand in marked {
            let mut beside = register.clone();
            // In front, so that whoever takes brands as they come would take this one.
            beside.brands.insert(0, Unverified::from(&Signed::sign(&keys::secret_key("bank"), brand.clone())));
            shown.push(beside);
        }
        return Some(shown);
    }
    for brand in marked {
        let others = everybodys.iter().filter(|other| other.denomination != brand.denomination);
        let hers: Vec<Brand> = others.chain([brand]).cloned().collect();
        shown.push(register(&hers, trick, &mut witnesses)?);
    }
    if trick == Trick::RegisterEach {
        // In the end it has to show what was cosigned, or nobody comes to it any more.
        shown.push(shown.first()?.clone());
    }
    Some(shown)
}

/// A register with these brands, signed by the bank, with the cosignatures that it gets for it.
fn register(
    brands: &[Brand],
    trick: Trick,
    witnesses: &mut [Witness<naulon_witness::MemoryStore>],
) -> Option<RegisterCopy> {
    let bank = keys::secret_key("bank");
    let statements: Vec<Signed<Brand>> = brands.iter().map(|brand| Signed::sign(&bank, brand.clone())).collect();
    let entries: Vec<RegisterEntry> = statements.iter().map(RegisterEntry::of).collect();
    let mut tree = Tree::default();
    tree.append(&entries.iter().map(RegisterEntry::leaf).collect::<Vec<_>>());
    let signer = keys::register_signer();
    let origin = signer.verifier().origin().to_owned();
    let checkpoint = Checkpoint { origin, size: tree.size(), root: tree.root() };
    let signed = signer.sign(&checkpoint).ok()?.into_string();
    let mut note = signed.clone();
    for (number, witness) in (0..).zip(witnesses) {
        let ask = AddCheckpoint { old: 0, proof: Vec::new(), checkpoint: signed.clone() };
        let line = match witness.handle(&WitnessCall::AddCheckpoint(ask), BEGINNING) {
            Ok(WitnessReply::Cosigned(lines)) => Some(lines),
            _ if trick == Trick::LyingWitnesses && number < 2 => {
                Some(keys::witness(number).cosign(&checkpoint, BEGINNING.0 / 1_000).ok()?.line().to_owned())
            }
            _ => None,
        };
        note.extend(line);
    }
    Some(RegisterCopy {
        checkpoint: note,
        entries,
        brands: statements.iter().map(Unverified::from).collect(),
        fees: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One register for all with everybody's own keys in it is refused, shown whole (rivals) or in part (withheld); and a
    /// wallet without witnesses that has seen one register takes no other.
    #[test]
    fn own_keys_in_one_register_are_refused_and_so_is_a_second_register() {
        let brands: Vec<Brand> = (0..PEOPLE).filter_map(|person| keys::marked_brand(bank_key(), person)).collect();
        let identity = super::super::town::bank_identity();
        let unwitnessed = WitnessPolicy::unwitnessed();
        let all = register(&brands, Trick::NoWitnesses, &mut []).expect("a register");
        assert!(all.read(&identity, &unwitnessed, None).is_err());
        let mut part = all.clone();
        part.brands.truncate(1);
        assert!(part.read(&identity, &unwitnessed, None).is_err());
        let [first, second] = [0, 1].map(|at| register(&brands[at..=at], Trick::NoWitnesses, &mut []).expect("one"));
        let memory = first.read(&identity, &unwitnessed, None).expect("taken").memory;
        assert!(first.read(&identity, &unwitnessed, Some(&memory)).is_ok());
        assert!(second.read(&identity, &unwitnessed, Some(&memory)).is_err());
    }
}
