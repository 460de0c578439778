//! What the adversary makes of everything that was seen: accounts and what each did, purchases and what belongs to them.

use std::collections::{BTreeMap, BTreeSet};

use naulon_blind::{BlindSignature, Token};
use naulon_exchange::{Exchange, Input, Output, RequestId, State, output_key, spending_key};
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Timestamp, UnverifiedJoint};
use naulon_wire::{BankCall, BankReply, Call, ShopCall};

use super::town::{Door, Seen};

/// A call that belongs to somebody or something.
#[derive(Clone, Copy, Debug)]
pub struct Contact {
    /// When.
    pub at: Timestamp,
    /// On which connection.
    pub connection: u64,
    /// How long the request's body is.
    pub len: usize,
}

/// An account, and what its owner did under her name.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Every call that names it.
    pub contacts: Vec<Contact>,
    /// What was withdrawn, and when: the amounts of the orders.
    pub withdrawn: Vec<(Timestamp, Amount)>,
    /// Blind signatures that its money paid for.
    pub signed: Vec<(Digest, BlindSignature)>,
    /// The names of the blinded outputs that its money paid for.
    pub outputs: BTreeSet<Digest>,
    /// Keys of the tokens that were deposited to it.
    pub deposited: BTreeSet<PublicKey>,
    /// How often a request came again.
    pub repeated: usize,
    /// When somebody asked what became of one of its outputs.
    pub asked: Vec<Contact>,
}

/// A purchase.
#[derive(Clone, Debug, Default)]
pub struct Spend {
    /// When the authorization came first.
    pub at: Timestamp,
    /// Every call that carried it to the bank.
    pub contacts: Vec<Contact>,
    /// The tokens.
    pub tokens: Vec<Token>,
    /// Their keys.
    pub keys: BTreeSet<PublicKey>,
    /// The price.
    pub price: Amount,
    /// How often its authorization came again.
    pub repeated: usize,
    /// The names of its change.
    pub change: BTreeSet<Digest>,
    /// When somebody asked what became of its tokens, or of its change.
    pub asked: Vec<Contact>,
    /// Calls to the shop at most a minute around it.
    pub visits: Vec<Contact>,
}

/// Everything that bank, shop and log know together.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// By account.
    pub accounts: BTreeMap<PublicKey, Account>,
    /// By request id of the authorization, those that were locked.
    pub spends: BTreeMap<RequestId, Spend>,
}

/// How far before and after a purchase a visit to the shop may be part of it, in milliseconds.
const VISIT: u64 = 60_000;

impl Picture {
    /// Reads everything.
    pub fn of(seen: &[Seen]) -> Self {
        let mut picture = Picture::default();
        let mut requests = BTreeSet::new();
        let at_bank = || seen.iter().filter(|seen| seen.door == Door::Bank);
        for seen in at_bank() {
            let again = !requests.insert((seen.request.path.clone(), seen.request.body.clone()));
            picture.bank(seen, again);
        }
        // Questions of restored wallets may come before the payment that they tell something about.
        at_bank().for_each(|seen| picture.question(seen));
        for seen in seen.iter().filter(|seen| seen.door == Door::Shop) {
            if ShopCall::from_http(&seen.request).is_ok() {
                picture.visit(seen);
            }
        }
        picture
    }

    fn bank(&mut self, seen: &Seen, again: bool) {
        let contact = contact(seen);
        let Ok(call) = BankCall::from_http(&seen.request) else { return };
        let reply = call.reply_from_http(&seen.response).ok().filter(|_| seen.response.status < 400);
        match &call {
            BankCall::OpenAccount(opening) => {
                let account = self.accounts.entry(opening.claimed_body().account).or_default();
                account.contacts.push(contact);
                account.repeated += usize::from(again);
            }
            BankCall::Exchange(joint) => self.exchange(joint, reply, contact, again),
            _ => {}
        }
    }

    fn question(&mut self, seen: &Seen) {
        let contact = contact(seen);
        let asked = |asked: &mut Vec<Contact>| asked.push(contact);
        match BankCall::from_http(&seen.request) {
            Ok(BankCall::Output { brand, message }) => {
                let name = output_key(&brand, &message);
                self.accounts.values_mut().filter(|it| it.outputs.contains(&name)).for_each(|it| asked(&mut it.asked));
                self.spends.values_mut().filter(|it| it.change.contains(&name)).for_each(|it| asked(&mut it.asked));
            }
            Ok(BankCall::Token(query)) => {
                let q = query.claimed_body().q;
                self.spends.values_mut().filter(|it| it.keys.contains(&q)).for_each(|it| asked(&mut it.asked));
            }
            _ => {}
        }
    }

    fn exchange(&mut self, joint: &UnverifiedJoint<Exchange>, reply: Option<BankReply>, contact: Contact, again: bool) {
        let (id, body) = (joint.id(), joint.claimed_body());
        let Some(BankReply::Exchange(reply)) = reply else { return };
        let paying = body.inputs.iter().find_map(|input| match input {
            Input::Account { account, amount, .. } => Some((*account, *amount)),
            _ => None,
        });
        let credited = body.outputs.iter().find_map(|output| match output {
            Output::Account { account, .. } => Some(*account),
            Output::Blinded { .. } | Output::Chain { .. } | Output::Load { .. } => None,
        });
        let outputs = body.blinded().map(|(brand, message)| output_key(brand, message));
        let keys = body.inputs.iter().filter_map(|input| match input {
            Input::Token { token, key, .. } => Some(spending_key(token, key.as_ref())),
            _ => None,
        });
        match (paying, credited, &body.condition) {
            (Some((account, amount)), ..) => {
                let account = self.accounts.entry(account).or_default();
                account.contacts.push(contact);
                account.repeated += usize::from(again);
                if !again {
                    account.withdrawn.push((contact.at, amount));
                    account.outputs.extend(outputs);
                    let brands = body.blinded().map(|(brand, _)| *brand);
                    account.signed.extend(brands.zip(reply.signatures.iter().copied()));
                }
            }
            (None, _, Some(_)) => {
                let spend = self.spends.entry(id).or_insert_with(|| Spend { at: contact.at, ..Spend::default() });
                spend.contacts.push(contact);
                spend.repeated += usize::from(again);
                spend.tokens = body.tokens().copied().collect();
                spend.keys = keys.collect();
                spend.price = body.price().unwrap_or_default();
                spend.change = outputs.collect();
            }
            (None, Some(account), None) if body.tokens().next().is_some() && reply.state == State::Done => {
                let account = self.accounts.entry(account).or_default();
                account.contacts.push(contact);
                account.repeated += usize::from(again);
                account.deposited.extend(keys);
            }
            _ => {}
        }
    }

    fn visit(&mut self, seen: &Seen) {
        let near = |spend: &&mut Spend| spend.at.0.abs_diff(seen.at.0) <= VISIT;
        self.spends.values_mut().filter(near).for_each(|spend| spend.visits.push(contact(seen)));
    }
}

fn contact(seen: &Seen) -> Contact {
    Contact { at: seen.at, connection: seen.connection, len: seen.request.body.len() }
}
