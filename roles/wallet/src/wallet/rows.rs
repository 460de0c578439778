//! What is in the store, and the same in memory.

use std::sync::Arc;

use naulon_blind::{Brand, KnownBrand};
use naulon_durable::Retry;
use naulon_statement::{Digest, PublicKey, Timestamp, Unverified, cbor};

use super::Wallet;
use crate::change::Change;
use crate::check::HeldCheck;
use crate::error::WalletError;
use crate::operation::{Operation, OperationId};
use crate::restoring::Restoring;
use crate::store::{Kind, WalletStore, Write};
use crate::token::Held;

impl<S: WalletStore> Wallet<S> {
    pub(super) fn load(&mut self) -> Result<(), WalletError> {
        for (key, value) in self.store.list(Kind::Bank)? {
            let bank = PublicKey(fixed(&key, "bank")?);
            self.terms.insert(bank, cbor::from_slice(&value).map_err(|_| WalletError::Damaged("bank"))?);
        }
        for (key, value) in self.store.list(Kind::Register)? {
            let bank = PublicKey(fixed(&key, "register")?);
            self.registers.insert(bank, cbor::from_slice(&value).map_err(|_| WalletError::Damaged("register"))?);
        }
        for (key, value) in self.store.list(Kind::Tree)? {
            let note = String::from_utf8(value).map_err(|_| WalletError::Damaged("tree"))?;
            self.trees.insert(PublicKey(fixed(&key, "tree")?), note);
        }
        for (_, value) in self.store.list(Kind::Named)? {
            self.named = Some(Timestamp(u64::from_be_bytes(fixed(&value, "named")?)));
        }
        for (_, value) in self.store.list(Kind::Brand)? {
            let signed = Unverified::<Brand>::parse(&value).map_err(|_| WalletError::Damaged("brand"))?;
            let known = KnownBrand::new(signed.from_own_store().into_body());
            let known = known.map_err(|_| WalletError::Damaged("brand"))?;
            self.brands.insert(Digest(*known.key_id()), Arc::new(known));
        }
        for (key, value) in self.store.list(Kind::Index)? {
            let next = u32::from_be_bytes(fixed(&value, "index")?);
            self.indices.insert(Digest(fixed(&key, "index")?), next);
        }
        for (key, value) in self.store.list(Kind::Known)? {
            let next = u32::from_be_bytes(fixed(&value, "index")?);
            self.known.insert(Digest(fixed(&key, "index")?), next);
        }
        self.restoring = Restoring::read(self.store.list(Kind::Restoring)?)?;
        for (key, value) in self.store.list(Kind::Key)? {
            let next = u32::from_be_bytes(fixed(&value, "key")?);
            self.keys.insert(PublicKey(fixed(&key, "key")?), next);
        }
        for (_, value) in self.store.list(Kind::Token)? {
            let held: Held = cbor::from_slice(&value).map_err(|_| WalletError::Damaged("token"))?;
            self.tokens.insert(held.q(), held);
        }
        for (_, value) in self.store.list(Kind::Check)? {
            let held: HeldCheck = cbor::from_slice(&value).map_err(|_| WalletError::Damaged("check"))?;
            self.note_check(held);
        }
        for (key, value) in self.store.list(Kind::Operation)? {
            let operation = read_operation(&key, &value)?;
            self.operations.insert(operation.id, operation);
        }
        Ok(())
    }

    fn note_check(&mut self, held: HeldCheck) {
        self.next_check = self.next_check.max(held.number.saturating_add(1));
        self.checks.insert(held.number, held);
    }

    /// An operation that has ended.
    pub(super) fn past(&mut self, op: OperationId) -> Result<Option<Operation>, WalletError> {
        let key = op.0.to_be_bytes();
        let row = self.store.load(Kind::Past, &key)?;
        row.map(|row| read_operation(&key, &row)).transpose()
    }

    pub(super) fn check_usable(&self) -> Result<(), WalletError> {
        if self.lost { Err(WalletError::Reopen) } else { Ok(()) }
    }

    /// As [`check_usable`](Self::check_usable), for what begins something.
    pub(super) fn check_whole(&self) -> Result<(), WalletError> {
        self.check_usable()?;
        if self.restoring.is_some() { Err(WalletError::Restoring) } else { Ok(()) }
    }

    /// Writes the changes in one transaction, and then makes them in memory.
    pub(super) fn commit(&mut self, changes: Vec<Change>) -> Result<(), WalletError> {
        let writes: Vec<Write> = changes.iter().flat_map(Change::writes).collect();
        if let Err(error) = self.store.commit(&writes) {
            self.lost = error.retry() == Retry::AfterReopening;
            return Err(error.into());
        }
        for change in changes {
            match change {
                Change::Counter(next) => self.next = next,
                Change::Terms(bank, terms) => {
                    self.terms.insert(bank, terms);
                }
                Change::Register(bank, memory) => {
                    self.registers.insert(bank, memory);
                }
                Change::Tree(log, note) => {
                    self.trees.insert(log, note);
                }
                Change::Named(at) => self.named = Some(at),
                Change::Brand(_, known) => {
                    self.brands.insert(Digest(*known.key_id()), known);
                }
                Change::Index(brand, next) => {
                    self.indices.insert(brand, next);
                }
                Change::Key(bank, next) => {
                    self.keys.insert(bank, next);
                }
                Change::Token(held) => {
                    self.tokens.insert(held.q(), held);
                }
                Change::Gone(q) => {
                    self.tokens.remove(&q);
                }
                Change::Operation(operation) if operation.ended.is_some() => {
                    self.operations.remove(&operation.id);
                    self.tracks.remove(&operation.id);
                }
                Change::Operation(operation) => {
                    self.operations.insert(operation.id, *operation);
                }
                Change::Check(held) => self.note_check(*held),
                Change::Discarded(_) => {}
                Change::Known(brand, next) => {
                    self.known.insert(brand, next);
                }
                Change::Restore(row) => self.restoring = Some(Restoring::new(row)),
                Change::Probe(brand, index, probe) => {
                    if let Some(restoring) = &mut self.restoring {
                        restoring.note(brand, index, probe);
                    }
                }
                Change::Found(a, record) => {
                    if let Some(restoring) = &mut self.restoring {
                        restoring.found.insert(a, *record);
                    }
                }
                Change::Restored(_) => self.restoring = None,
            }
        }
        Ok(())
    }
}

pub(super) fn read_operation(key: &[u8], row: &[u8]) -> Result<Operation, WalletError> {
    let id = OperationId(u64::from_be_bytes(fixed(key, "operation")?));
    Operation::from_row(id, row).map_err(|_| WalletError::Damaged("operation"))
}

pub(super) fn fixed<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], WalletError> {
    bytes.try_into().map_err(|_| WalletError::Damaged(what))
}
