//! A bank, a merchant and the log they both heed, for the tests.
#![allow(dead_code)] // every test file uses its part

use naulon_exchange::{Entry, Header, LogDecision, LogIdentity, Outcome, ProvenDecision, key_commitment};
use naulon_log::{Log, LogKeys, LogStore, OpenError};
use naulon_purchase::{AuthorizationM, LogRules};
use naulon_statement::{Digest, Duration, PublicKey, SecretKey, Signed, Timestamp, Unverified};
use naulon_wire::{LogCall, LogReply, Problem};

pub const ORIGIN: &str = "log.example/fares";
pub const EXPIRY: Timestamp = Timestamp(1_000_000);
pub const BEFORE: Timestamp = Timestamp(EXPIRY.0 - 1);
pub const RETENTION: Duration = Duration::days(90);

pub fn bank() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

pub fn merchant() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

pub fn keys() -> LogKeys {
    LogKeys::from_secret(&[3; 64], ORIGIN).unwrap()
}

pub fn rules() -> LogRules {
    LogRules::of(keys().statements.public(), [bank().public()].into(), RETENTION)
}

pub fn open<S: LogStore>(store: S) -> Result<Log<S>, OpenError> {
    Log::open(keys(), rules(), ORIGIN, store)
}

/// What a merchant holds about one purchase.
pub struct Purchase {
    pub header: Header,
    pub k: [u8; 32],
}

impl Purchase {
    /// The purchase with this number, expiring then.
    pub fn new(number: u64, expiry: Timestamp) -> Self {
        let mut n = [0; 16];
        n[8..].copy_from_slice(&number.to_be_bytes());
        let k = Digest::of(&[b"k", &n]).0;
        let header = Header {
            bank: bank().public(),
            merchant: merchant().public(),
            n,
            expiry,
            log: rules().log,
            a: Digest::of(&[b"a", &n]),
            c: key_commitment(&n, &k),
            q: number.is_multiple_of(2).then_some(PublicKey([9; 32])),
            entry: Entry::Plain,
        };
        Purchase { header, k }
    }

    pub fn subject(&self) -> Digest {
        self.header.digest()
    }

    pub fn signed_header(&self) -> Unverified<Header> {
        (&Signed::sign(&bank(), self.header.clone())).into()
    }

    pub fn commit(&self) -> LogCall {
        let authorization = AuthorizationM { a: self.header.a, k: self.k };
        LogCall::Commit {
            header: self.signed_header(),
            authorization: (&Signed::sign(&merchant(), authorization)).into(),
        }
    }

    pub fn abort(&self) -> LogCall {
        LogCall::Abort { header: self.signed_header() }
    }

    pub fn ask(&self) -> LogCall {
        LogCall::Decision(self.subject())
    }
}

/// The decision in a reply, once its signature, inclusion and checkpoint have been verified.
pub fn proven(reply: LogReply, log: &LogIdentity) -> ProvenDecision {
    let LogReply::Decision(decision) = reply else { panic!("not a decision: {reply:?}") };
    decision.verify(log).expect("the decision is proven")
}

/// Asks, and gives the proven decision.
pub fn decision<S: LogStore>(log: &mut Log<S>, call: LogCall, now: Timestamp) -> Result<LogDecision, Problem> {
    let identity = log.identity();
    log.handle(call, now).map(|reply| proven(reply, &identity).decision().clone())
}

pub fn is_commit(decision: &LogDecision) -> bool {
    matches!(decision.outcome, Outcome::Commit { .. })
}

/// A public file.
pub fn public<S: LogStore>(log: &mut Log<S>, path: &str) -> Result<Vec<u8>, Problem> {
    match log.handle(LogCall::Public(path.to_owned()), BEFORE)? {
        LogReply::Public(file) => Ok(file.bytes.to_vec()),
        other => panic!("not a file: {other:?}"),
    }
}

/// The code of a refusal.
pub fn code<T>(outcome: Result<T, Problem>) -> String {
    outcome.err().map(|problem| problem.code).unwrap_or_else(|| "ok".to_owned())
}
