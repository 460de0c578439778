//! Changes to the wallet: each is rows in the store, and the same in memory once the rows are durable.

use std::sync::Arc;

use naulon_blind::{Brand, KnownBrand};
use naulon_exchange::register::RegisterMemory;
use naulon_exchange::{RequestId, UnverifiedRecord};
use naulon_statement::{Digest, PublicKey, Signed, Timestamp, cbor};

use crate::check::HeldCheck;
use crate::operation::{Operation, OperationId};
use crate::peers::BankTerms;
use crate::restoring::{Probe, RestoreRow, probe_key};
use crate::store::{Kind, Write};
use crate::token::Held;

/// The key of the counter's row, and of the seed's.
pub(crate) const ONLY: &[u8] = b"";

/// One change. Several are committed together.
pub(crate) enum Change {
    /// The next operation's number.
    Counter(u64),
    /// What a bank says of itself.
    Terms(PublicKey, BankTerms),
    /// What was seen of a bank's register.
    Register(PublicKey, RegisterMemory),
    /// The newest checkpoint of a log that came with a decision.
    Tree(PublicKey, String),
    /// The account is named by what is no operation.
    Named(Timestamp),
    /// A brand that was accepted.
    Brand(Signed<Brand>, Arc<KnownBrand>),
    /// The next index of a brand.
    Index(Digest, u32),
    /// The next index of a bank's keys that several tokens share.
    Key(PublicKey, u32),
    /// A token that is new, or has another state.
    Token(Held),
    /// A token that is gone: given up for something else.
    Gone(PublicKey),
    /// A check that is new, or stands otherwise. The next one has a later number.
    Check(Box<HeldCheck>),
    /// An operation that is new, further, or ended.
    Operation(Box<Operation>),
    /// An operation that has ended is forgotten.
    Discarded(OperationId),
    /// The bank certainly knows a brand's indices below this one.
    Known(Digest, u32),
    /// A restoration begins.
    Restore(RestoreRow),
    /// What a restoration has found out about an index; none: it is to be asked about again.
    Probe(Digest, u32, Option<Probe>),
    /// A purchase that a restoration has found.
    Found(RequestId, Box<UnverifiedRecord>),
    /// A restoration is done: these rows of it go.
    Restored(Vec<Vec<u8>>),
}

impl Change {
    /// The rows it writes.
    pub fn writes(&self) -> Vec<Write> {
        let put = |kind, key: &[u8], value| vec![Write::Put { kind, key: key.to_vec(), value }];
        match self {
            Change::Counter(next) => put(Kind::Counter, ONLY, next.to_be_bytes().to_vec()),
            Change::Terms(bank, terms) => put(Kind::Bank, bank.as_bytes(), cbor::to_vec(terms)),
            Change::Register(bank, memory) => put(Kind::Register, bank.as_bytes(), cbor::to_vec(memory)),
            Change::Tree(log, note) => put(Kind::Tree, log.as_bytes(), note.clone().into_bytes()),
            Change::Named(at) => put(Kind::Named, ONLY, at.0.to_be_bytes().to_vec()),
            Change::Brand(signed, known) => put(Kind::Brand, known.key_id(), signed.bytes().to_vec()),
            Change::Index(brand, next) => put(Kind::Index, brand.as_bytes(), next.to_be_bytes().to_vec()),
            Change::Key(bank, next) => put(Kind::Key, bank.as_bytes(), next.to_be_bytes().to_vec()),
            Change::Token(held) => put(Kind::Token, held.token.nonce(), cbor::to_vec(held)),
            Change::Gone(q) => vec![Write::Remove { kind: Kind::Token, key: q.as_bytes().to_vec() }],
            Change::Check(held) => put(Kind::Check, &held.number.to_be_bytes(), cbor::to_vec(&**held)),
            Change::Discarded(id) => vec![Write::Remove { kind: Kind::Past, key: id.0.to_be_bytes().to_vec() }],
            Change::Known(brand, next) => put(Kind::Known, brand.as_bytes(), next.to_be_bytes().to_vec()),
            Change::Restore(row) => put(Kind::Restoring, ONLY, cbor::to_vec(row)),
            Change::Probe(brand, index, Some(probe)) => {
                put(Kind::Restoring, &probe_key(brand, *index), cbor::to_vec(probe))
            }
            Change::Probe(brand, index, None) => {
                vec![Write::Remove { kind: Kind::Restoring, key: probe_key(brand, *index) }]
            }
            Change::Found(a, record) => put(Kind::Restoring, a.as_bytes(), cbor::to_vec(&**record)),
            Change::Restored(keys) => {
                let remove = |key: &Vec<u8>| Write::Remove { kind: Kind::Restoring, key: key.clone() };
                keys.iter().map(remove).collect()
            }
            Change::Operation(operation) => {
                let key = operation.id.0.to_be_bytes();
                match operation.ended {
                    None => put(Kind::Operation, &key, operation.to_row()),
                    Some(_) => {
                        let mut writes = put(Kind::Past, &key, operation.to_row());
                        writes.push(Write::Remove { kind: Kind::Operation, key: key.to_vec() });
                        writes
                    }
                }
            }
        }
    }
}
