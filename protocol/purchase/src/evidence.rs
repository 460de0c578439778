//! The messages of one purchase, as a party keeps them to show a judge (AAT §4, §5).

use naulon_statement::{Joint, StatementError, UnverifiedJoint};

use naulon_exchange::Exchange;

/// What somebody lays before a judge. Every part may be missing; nothing here is verified yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The merchant's offer, a COSE_Sign1.
    pub goods_m: Option<Vec<u8>>,
    /// The buyer's signature over it, a COSE_Sign1.
    pub goods_q: Option<Vec<u8>>,
    /// The buyer's authorization.
    pub authorization_q: Option<JointBytes>,
    /// The bank's header, a COSE_Sign1.
    pub header: Option<Vec<u8>>,
    /// The bank's promise, a COSE_Sign1.
    pub authorization_b: Option<Vec<u8>>,
    /// The log's decisions with their proofs, CBOR of `naulon_exchange::UnverifiedDecision`. An honest log makes one.
    pub decisions: Vec<Vec<u8>>,
}

/// A payload and its detached signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JointBytes {
    /// The deterministic CBOR that is signed.
    pub payload: Vec<u8>,
    /// One detached COSE_Sign1 a key, sorted by key.
    pub signatures: Vec<Vec<u8>>,
}

impl JointBytes {
    /// The bytes of a joint statement.
    pub fn of(joint: &Joint<Exchange>) -> Self {
        let signatures = joint.signatures().iter().map(|signature| signature.bytes().to_vec()).collect();
        JointBytes { payload: joint.payload().to_vec(), signatures }
    }

    /// The joint statement of the bytes.
    pub fn parse(&self) -> Result<UnverifiedJoint<Exchange>, StatementError> {
        UnverifiedJoint::parse(&self.payload, &self.signatures)
    }
}
