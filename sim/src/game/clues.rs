//! What a guess can rest on. A clue gives each account a score for a purchase: the higher, the more it looks like hers.
//!
//! Scores are whole numbers, compared within one purchase only. A clue by which all accounts score the same says nothing.

use std::collections::{BTreeMap, BTreeSet};

use naulon_blind::{Token, TokenSecrets};
use naulon_money::Amount;
use naulon_statement::{Digest, Timestamp};

use super::keys;
use super::link::Unlinked;
use super::picture::{Account, Contact, Picture, Spend};

/// A case: a purchase, among everything that is known.
pub struct Case<'p> {
    /// Which game it is of: a bank that chose its customers' seeds knows them.
    pub trial: u64,
    /// Everything.
    pub picture: &'p Picture,
    /// The purchase.
    pub spend: &'p Spend,
}

/// Scores every account.
pub type Clue = fn(&Case, &Account, usize) -> i64;

/// All clues, by name.
pub const CLUES: [(&str, Clue); 15] = [
    ("a blinding factor that the bank can compute", known_factor),
    ("one blinding factor twice", repeated_factor),
    ("a connection in common", common_connection),
    ("a key in common", common_key),
    ("the amount withdrawn is the price", same_amount),
    ("the amount withdrawn is what the tokens are worth", same_worth),
    ("the last thing done under a name before it", last_before),
    ("the first thing done under a name after it", first_after),
    ("the order in which people came", same_order),
    ("how often requests came again", same_repetitions),
    ("the sizes of requests", same_size),
    ("the second of the minute", same_second),
    ("the hours in which restored wallets ask", asked_together),
    ("the nearest question of a restored wallet", asked_nearest),
    ("questions of restored wallets on one connection", asked_on_one),
];

/// How many of the bank's own indices are tried with a seed that it knows.
const INDICES: u32 = 24;

/// r = s'/s is 1, or what the wallet of this customer would have drawn from a seed that the bank knows.
fn known_factor(case: &Case, account: &Account, customer: usize) -> i64 {
    let seed = keys::customer_seed(case.trial, customer);
    let mut hits = 0;
    for token in &case.spend.tokens {
        let brand = Digest(*token.key_id());
        let Some(key) = keys::issuer_key(&brand) else { continue };
        let Ok(unlinked) = Unlinked::new(key, token.authenticator()) else { continue };
        let guess = |index| unlinked.reduced(TokenSecrets::derive(&seed, &brand.0, index).r()).ok();
        let guesses: BTreeSet<Vec<u8>> = (0..INDICES).filter_map(guess).chain([vec![1]]).collect();
        let of_brand = account.signed.iter().filter(|(signed, _)| *signed == brand);
        hits += of_brand.filter_map(|(_, blind)| unlinked.factor(blind).ok()).filter(|r| guesses.contains(r)).count();
    }
    hits as i64
}

/// The same r for two tokens of this purchase, if they are this account's.
fn repeated_factor(case: &Case, account: &Account, _: usize) -> i64 {
    let mut factors: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for token in &case.spend.tokens {
        let Some(key) = keys::issuer_key(&Digest(*token.key_id())) else { continue };
        let Ok(unlinked) = Unlinked::new(key, token.authenticator()) else { continue };
        let of_brand = account.signed.iter().filter(|(brand, _)| brand.0 == *token.key_id());
        let distinct: BTreeSet<Vec<u8>> = of_brand.filter_map(|(_, blind)| unlinked.factor(blind).ok()).collect();
        distinct.into_iter().for_each(|factor| *factors.entry(factor).or_default() += 1);
    }
    factors.values().filter(|times| **times > 1).count() as i64
}

fn common_connection(case: &Case, account: &Account, _: usize) -> i64 {
    let of = |contacts: &[Contact]| contacts.iter().map(|contact| contact.connection).collect::<BTreeSet<_>>();
    of(&account.contacts).intersection(&of(&case.spend.contacts)).count() as i64
}

fn common_key(case: &Case, account: &Account, _: usize) -> i64 {
    account.deposited.intersection(&case.spend.keys).count() as i64
}

fn same_amount(case: &Case, account: &Account, _: usize) -> i64 {
    account.withdrawn.iter().filter(|(_, amount)| *amount == case.spend.price).count() as i64
}

fn same_worth(case: &Case, account: &Account, _: usize) -> i64 {
    let brands = keys::brands(super::town::bank_key());
    let value = |token: &Token| brands.get(&Digest(*token.key_id())).map(|known| known.brand().denomination);
    let worth = Amount::checked_sum(case.spend.tokens.iter().filter_map(value));
    account.withdrawn.iter().filter(|(_, amount)| Some(*amount) == worth).count() as i64
}

fn last_before(case: &Case, account: &Account, _: usize) -> i64 {
    let before = account.contacts.iter().filter(|contact| contact.at < case.spend.at);
    before.map(|contact| contact.at.0).max().map_or(i64::MIN, |at| at as i64)
}

fn first_after(case: &Case, account: &Account, _: usize) -> i64 {
    let after = account.contacts.iter().filter(|contact| contact.at > case.spend.at);
    after.map(|contact| contact.at.0).min().map_or(i64::MIN, |at| -(at as i64))
}

/// Who withdrew as the i-th pays as the i-th.
fn same_order(case: &Case, account: &Account, _: usize) -> i64 {
    let came = |account: &Account| account.withdrawn.first().map(|(at, _)| *at);
    let place = case.picture.accounts.values().filter(|other| came(other) < came(account)).count();
    let earlier = case.picture.spends.values().filter(|spend| spend.at < case.spend.at).count();
    let (people, spends) = (case.picture.accounts.len().max(1), case.picture.spends.len().max(1));
    -((place * spends).abs_diff(earlier * people) as i64)
}

fn same_repetitions(case: &Case, account: &Account, _: usize) -> i64 {
    -(account.repeated.abs_diff(case.spend.repeated) as i64)
}

fn same_size(case: &Case, account: &Account, _: usize) -> i64 {
    let len = |contacts: &[Contact]| contacts.iter().map(|contact| contact.len).max().unwrap_or_default();
    -(len(&account.contacts).abs_diff(len(&case.spend.contacts)) as i64)
}

/// People who do things at a full minute, or always at the same second.
fn same_second(case: &Case, account: &Account, _: usize) -> i64 {
    let second = |at: Timestamp| (at.0 % 60_000) as i64;
    let apart = |contact: &Contact| {
        let apart = (second(contact.at) - second(case.spend.at)).abs();
        apart.min(60_000 - apart)
    };
    account.contacts.iter().map(apart).min().map_or(i64::MIN, |apart| -apart)
}

/// How many questions about the purchase fall into the hours in which this account's outputs are asked about.
fn asked_together(case: &Case, account: &Account, _: usize) -> i64 {
    let times = account.asked.iter().map(|contact| contact.at);
    let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return 0 };
    // Questions about tokens come after those about outputs, and take as long.
    let within = |contact: &&Contact| contact.at >= first && contact.at.0 <= last.0 + (last.0 - first.0) + 60_000;
    case.spend.asked.iter().filter(within).count() as i64
}

/// How near the nearest question about the purchase is to one about this account.
fn asked_nearest(case: &Case, account: &Account, _: usize) -> i64 {
    let apart = |one: &Contact| account.asked.iter().map(|other| one.at.0.abs_diff(other.at.0)).min();
    case.spend.asked.iter().filter_map(apart).min().map_or(i64::MIN, |apart| -(apart as i64))
}

fn asked_on_one(case: &Case, account: &Account, _: usize) -> i64 {
    let of = |contacts: &[Contact]| contacts.iter().map(|contact| contact.connection).collect::<BTreeSet<_>>();
    of(&account.asked).intersection(&of(&case.spend.asked)).count() as i64
}
