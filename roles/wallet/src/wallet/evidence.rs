//! What convicts others, kept as soon as the wallet meets it.

use naulon_exchange::register::RegisterEvidence;
use naulon_purchase::{Buyer, Evidence, LogEvidence};
use naulon_statement::PublicKey;

use super::Wallet;
use crate::change::Change;
use crate::error::WalletError;
use crate::operation::{Operation, OperationId, Purchase, Work};
use crate::store::WalletStore;

/// Something that `naulon verify` judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptEvidence {
    /// A bank has shown two registers, or two brands for one place.
    Register(RegisterEvidence),
    /// A bank has promised something else than it was authorized to.
    Promise(Box<Evidence>),
    /// A log has signed two trees.
    Log(LogEvidence),
}

impl<S: WalletStore> Wallet<S> {
    /// What was found since the last call of this. It is found again when it is met again, and what concerns a purchase is
    /// written down with it ([`evidence`](Self::evidence)).
    pub fn kept_evidence(&mut self) -> Vec<KeptEvidence> {
        std::mem::take(&mut self.kept)
    }

    /// Everything that the wallet can show a judge of a purchase (AAT §4). If the bank has promised nothing that fits, it is
    /// what it promised instead.
    pub fn evidence(&mut self, op: OperationId) -> Result<Evidence, WalletError> {
        let operation = match self.operations.get(&op) {
            Some(operation) => operation.clone(),
            None => self.past(op)?.ok_or(WalletError::UnknownOperation(op))?,
        };
        if let Work::Recovery(recovery) = &operation.work {
            return Ok(super::recovery::evidence(recovery));
        }
        shown(&operation).ok_or(WalletError::NotNow(op))
    }

    /// Keeps a promise of the bank that does not fit, with the purchase.
    pub(super) fn keep_misfit(&mut self, operation: Operation) -> Result<(), WalletError> {
        let evidence = shown(&operation);
        self.commit(vec![Change::Operation(Box::new(operation))])?;
        self.kept.extend(evidence.map(|evidence| KeptEvidence::Promise(Box::new(evidence))));
        Ok(())
    }

    /// Compares the tree that a purchase's first decision stands in with the one that was seen of its log before, and
    /// remembers the newer one. Two of one size and different roots convict the log. Others cannot be compared without asking the log for the way
    /// from the one to the other, and by these two sizes it would know the wallet again: `naulon log watch` does it.
    pub(super) fn new_tree(&mut self, before: &Buyer, purchase: &Purchase) -> Option<Change> {
        let proven = purchase.buyer.decision().filter(|_| before.decision().is_none())?;
        let (log, note) = (self.peers.logs.get(&purchase.log)?.clone(), proven.checkpoint());
        let new = log.checkpoints.open(note).ok()?;
        if let Some(seen) = self.trees.get(&log.key) {
            let before = log.checkpoints.open(seen).ok()?;
            if before.size == new.size && before.root != new.root {
                let checkpoints = vec![seen.clone(), note.to_owned()];
                self.kept.push(KeptEvidence::Log(LogEvidence { checkpoints, ..LogEvidence::default() }));
            }
            if before.size >= new.size {
                return None;
            }
        }
        Some(Change::Tree(log.key, note.to_owned()))
    }

    /// The newest checkpoint of each log that came with a decision: for whoever watches it.
    pub fn seen_trees(&self) -> impl Iterator<Item = (&PublicKey, &str)> {
        self.trees.iter().map(|(log, note)| (log, note.as_str()))
    }
}

fn shown(operation: &Operation) -> Option<Evidence> {
    let purchase = operation.purchase()?;
    let mut evidence = purchase.buyer.evidence();
    if let (None, Some((header, authorization_b))) = (&evidence.header, &purchase.misfit) {
        evidence.header = Some(header.bytes().to_vec());
        evidence.authorization_b = Some(authorization_b.bytes().to_vec());
    }
    Some(evidence)
}
