//! The log's decision on a purchase, and how anybody checks it (AAT §3.3, P5; §8.4, §8.5).

use minicbor::{Decode, Encode};
use naulon_statement::{Digest, PublicKey, Signed, Statement, StatementError, Timestamp, Unverified, cbor};
use naulon_tlog::{CheckpointError, CheckpointVerifier, InclusionProof, ProofError, leaf_hash};

use crate::entry::{BlindDecision, Entry};
use crate::promise::Header;
use crate::request::RequestId;

/// The length of a log entry in bytes.
pub const LOG_ENTRY_LEN: usize = 72;

/// *commit* or *abort*: exactly one of them exists for each a. It is published, so it names neither n nor M. A blind log
/// signs a [`BlindDecision`] instead; whoever has the header reads from that what stands here.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogDecision {
    /// a: the request id of *authorization_q*.
    #[n(1)]
    pub a: RequestId,
    /// The digest of the bank's header.
    #[n(2)]
    pub header: Digest,
    /// The header's expiry.
    #[n(3)]
    pub expiry: Timestamp,
    /// The header's Q, for two-sided delivery.
    #[n(4)]
    pub q: Option<PublicKey>,
    /// The log's clock when it decided (AAT §8.4).
    #[n(5)]
    pub time: Timestamp,
    /// What was decided.
    #[n(6)]
    pub outcome: Outcome,
}

impl Statement for LogDecision {
    const CONTENT_TYPE: &'static str = "application/naulon.decision+cbor";
}

/// What a log decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// The purchase happened; k is the merchandise key.
    #[n(0)]
    Commit {
        /// The merchandise key.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        k: [u8; 32],
    },
    /// The purchase did not and will not happen.
    #[n(1)]
    Abort,
}

impl LogDecision {
    /// The log's decision on the purchase of this header.
    pub fn on(header: &Header, time: Timestamp, outcome: Outcome) -> LogDecision {
        LogDecision { a: header.a, header: header.digest(), expiry: header.expiry, q: header.q, time, outcome }
    }

    /// The merchandise key, if this is a commit.
    pub fn key(&self) -> Option<&[u8; 32]> {
        match &self.outcome {
            Outcome::Commit { k } => Some(k),
            Outcome::Abort => None,
        }
    }

    /// Whether this is a decision on the purchase of this header, made within its time: a commit before the expiry, an
    /// abort not before it.
    pub fn fits(&self, header: &Header) -> bool {
        let in_time = match self.outcome {
            Outcome::Commit { .. } => self.time < self.expiry,
            Outcome::Abort => self.time >= self.expiry,
        };
        let same = self.a == header.a && self.expiry == header.expiry && self.q == header.q;
        same && in_time && self.header == header.digest()
    }
}

impl LogDecision {
    /// The log entry of a decision that everybody reads; the body is the signed statement.
    pub fn entry(&self, body: &[u8]) -> [u8; LOG_ENTRY_LEN] {
        LogEntry::new(self.time, &self.a, body.to_vec()).bytes
    }
}

/// One entry of a log: u64be time ‖ SHA-256("naulon/log-index" ‖ index) ‖ SHA-256(published body).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// What is published as the entry's body.
    pub published: Vec<u8>,
    /// The entry.
    pub bytes: [u8; LOG_ENTRY_LEN],
}

impl LogEntry {
    /// The entry of a decision that the log has signed on the purchase of this header. None if the statement is longer than
    /// an encrypted entry holds.
    pub fn of(header: &Header, decision: &Signed<LogDecision>) -> Option<LogEntry> {
        let published = match header.entry {
            Entry::Plain => decision.bytes().to_vec(),
            Entry::Encrypted => header.seal_entry(decision.bytes())?,
            Entry::Blind { .. } => return None,
        };
        Some(LogEntry::new(decision.time, &header.log_index(), published))
    }

    /// The entry of a blind log's decision.
    pub fn of_blind(decision: &Signed<BlindDecision>) -> LogEntry {
        let subject = crate::entry::blind_subject(&decision.index, decision.expiry);
        LogEntry::new(decision.time, &subject, decision.bytes().to_vec())
    }

    /// The entry of a decision that everybody reads.
    pub fn plain(decision: &Signed<LogDecision>) -> LogEntry {
        LogEntry::new(decision.time, &decision.a, decision.bytes().to_vec())
    }

    fn new(at: Timestamp, named: &Digest, published: Vec<u8>) -> LogEntry {
        let mut bytes = [0; LOG_ENTRY_LEN];
        let (time, rest) = bytes.split_at_mut(8);
        let (index, digest) = rest.split_at_mut(32);
        time.copy_from_slice(&at.0.to_be_bytes());
        index.copy_from_slice(&Digest::of(&[b"naulon/log-index", named.as_bytes()]).0);
        digest.copy_from_slice(&Digest::of(&[&published]).0);
        LogEntry { published, bytes }
    }
}

/// How a log is recognised: by its statement key and its checkpoint key.
#[derive(Clone)]
pub struct LogIdentity {
    /// Signs decisions; its name in statements.
    pub key: PublicKey,
    /// Verifies checkpoints (a key of its own, C2SP signed note).
    pub checkpoints: CheckpointVerifier,
}

/// What a log has signed.
#[derive(Clone, Debug)]
pub enum LogWord {
    /// A decision on a purchase whose header it knows.
    Open(Unverified<LogDecision>),
    /// What a blind log has, or has not, under an index.
    Blind(Unverified<BlindDecision>),
}

impl LogWord {
    /// Parses either.
    pub fn parse(bytes: &[u8]) -> Result<LogWord, StatementError> {
        match Unverified::parse(bytes) {
            Ok(open) => Ok(LogWord::Open(open)),
            Err(error) => Unverified::parse(bytes).map(LogWord::Blind).map_err(|_| error),
        }
    }

    /// The COSE_Sign1.
    pub fn bytes(&self) -> &[u8] {
        match self {
            LogWord::Open(word) => word.bytes(),
            LogWord::Blind(word) => word.bytes(),
        }
    }

    /// Who it says has signed it.
    pub fn claimed_signer(&self) -> PublicKey {
        match self {
            LogWord::Open(word) => word.claimed_signer(),
            LogWord::Blind(word) => word.claimed_signer(),
        }
    }
}

impl From<&Signed<LogDecision>> for LogWord {
    fn from(decision: &Signed<LogDecision>) -> Self {
        LogWord::Open(Unverified::from(decision))
    }
}

impl From<&Signed<BlindDecision>> for LogWord {
    fn from(decision: &Signed<BlindDecision>) -> Self {
        LogWord::Blind(Unverified::from(decision))
    }
}

impl<C> Encode<C> for LogWord {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(self.bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for LogWord {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        LogWord::parse(decoder.bytes()?).map_err(minicbor::decode::Error::custom)
    }
}

/// A decision as it travels: the signed statement, its place in the log's tree, and the checkpoint of that tree.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
pub struct UnverifiedDecision {
    /// The statement.
    #[n(1)]
    pub decision: LogWord,
    /// Where its entry stands.
    #[n(2)]
    pub inclusion: InclusionProof,
    /// The signed checkpoint that the proof leads to.
    #[n(3)]
    pub checkpoint: String,
    /// What an encrypted or blind entry is read with. A log leaves it out: whoever asks has the header.
    #[n(4)]
    pub header: Option<Header>,
}

/// A decision that is the log's, and stands in its tree. Its CBOR is read again as [`UnverifiedDecision`].
#[derive(Clone, Debug)]
pub struct ProvenDecision {
    proof: UnverifiedDecision,
    read: LogDecision,
    is_void: bool,
}

/// Why a decision proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// The statement does not hold.
    #[error("the decision: {0}")]
    Statement(#[from] StatementError),
    /// An encrypted or blind entry, and the header is missing, or is another purchase's.
    #[error("the entry is not one that this header opens")]
    Header,
    /// The checkpoint is not the log's.
    #[error("the log's checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not in the tree of the checkpoint, or the proof is for another tree.
    #[error("the inclusion proof: {0}")]
    Inclusion(#[from] ProofError),
}

impl UnverifiedDecision {
    /// The same decision, to be read with this header if the entry needs one.
    pub fn with(self, header: &Header) -> Self {
        let header = (header.entry != Entry::Plain).then(|| header.clone());
        UnverifiedDecision { header, ..self }
    }

    /// Checks the log's signature, the inclusion and the checkpoint.
    pub fn verify(self, log: &LogIdentity) -> Result<ProvenDecision, DecisionError> {
        let entry = match (self.decision.clone(), &self.header) {
            (LogWord::Open(word), None) => LogEntry::plain(&word.verify(&log.key)?),
            (LogWord::Open(word), Some(header)) if header.entry == Entry::Encrypted => {
                LogEntry::of(header, &word.verify(&log.key)?).ok_or(DecisionError::Header)?
            }
            (LogWord::Blind(word), Some(_)) => {
                let decision = word.verify(&log.key)?;
                if let Some(message) = decision.message.clone() {
                    let message = message.verify(&decision.index)?;
                    if message.log != log.key || message.expiry != decision.expiry {
                        return Err(DecisionError::Header);
                    }
                }
                LogEntry::of_blind(&decision)
            }
            (LogWord::Open(_), Some(_)) | (LogWord::Blind(_), None) => return Err(DecisionError::Header),
        };
        let (read, is_void) = self.read().ok_or(DecisionError::Header)?;
        let checkpoint = log.checkpoints.open(&self.checkpoint)?;
        self.inclusion.verify(&leaf_hash(&entry.bytes), &checkpoint)?;
        Ok(ProvenDecision { proof: self, read, is_void })
    }

    /// What it says of the purchase, and whether the merchant's message committed to nothing. None if the header is missing
    /// or not the one that it is about.
    fn read(&self) -> Option<(LogDecision, bool)> {
        match (&self.decision, &self.header) {
            (LogWord::Open(word), None) => Some((word.claimed_body().clone(), false)),
            (LogWord::Open(word), Some(header)) => {
                let decision = word.claimed_body();
                (decision.header == header.digest()).then(|| (decision.clone(), false))
            }
            (LogWord::Blind(word), Some(header)) => {
                let BlindDecision { index, expiry, time, message } = word.claimed_body();
                if header.entry != (Entry::Blind { index: *index }) || *expiry != header.expiry {
                    return None;
                }
                let k = message.as_ref().and_then(|message| header.open_release(&message.claimed_body().sealed));
                let outcome = k.map_or(Outcome::Abort, |k| Outcome::Commit { k });
                Some((LogDecision::on(header, *time, outcome), message.is_some() && k.is_none()))
            }
            (LogWord::Blind(_), None) => None,
        }
    }

    /// The proven decision, for bytes that this party verified before it stored them.
    pub fn from_own_store(self) -> ProvenDecision {
        let (read, is_void) = self.read().unwrap_or_else(|| {
            // It was not verified before: it fits no purchase.
            let nothing = Digest([0; 32]);
            let time = Timestamp::default();
            (LogDecision { a: nothing, header: nothing, expiry: time, q: None, time, outcome: Outcome::Abort }, false)
        });
        ProvenDecision { proof: self, read, is_void }
    }
}

impl ProvenDecision {
    /// The decision with the proof that its log has just made for it.
    pub fn by_own_log(decision: Signed<LogDecision>, inclusion: InclusionProof, checkpoint: String) -> Self {
        let decision = LogWord::from(&decision);
        UnverifiedDecision { decision, inclusion, checkpoint, header: None }.from_own_store()
    }

    /// What the log decided: its statement, or for a blind log what its statement means for this purchase.
    pub fn decision(&self) -> &LogDecision {
        &self.read
    }

    /// Whether this is a decision on the purchase of this header, made within its time ([`LogDecision::fits`]). A message
    /// that commits to nothing is an abort that may be known before the expiry.
    pub fn fits(&self, header: &Header) -> bool {
        let same = self.read.header == header.digest() && self.read.expiry == header.expiry;
        let names_it = self.read.a == header.a && self.read.q == header.q;
        self.is_about(header) && same && names_it && self.is_in_time()
    }

    /// Whether the log decided so when it could: it published what came before the expiry, and aborted from then on.
    pub fn is_in_time(&self) -> bool {
        let is_early = self.read.time < self.read.expiry;
        is_early == (self.is_void || self.read.key().is_some())
    }

    /// Whether the entry is of the kind that the header asks for, and read with it.
    pub fn is_about(&self, header: &Header) -> bool {
        self.proof.header.as_ref() == Some(header).filter(|header| header.entry != Entry::Plain)
    }

    /// The log that signed it.
    pub fn signer(&self) -> PublicKey {
        self.proof.decision.claimed_signer()
    }

    /// The signed statement, a COSE_Sign1.
    pub fn statement(&self) -> &[u8] {
        self.proof.decision.bytes()
    }

    /// Where the decision's entry stands in the tree.
    pub fn inclusion(&self) -> &InclusionProof {
        &self.proof.inclusion
    }

    /// The log's signed checkpoint.
    pub fn checkpoint(&self) -> &str {
        &self.proof.checkpoint
    }

    /// The bytes that go to others and into stores: CBOR as [`UnverifiedDecision`].
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&self.proof)
    }
}

/// Two proven decisions are the same when their bytes are.
impl PartialEq for ProvenDecision {
    fn eq(&self, other: &Self) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

impl Eq for ProvenDecision {}

impl<C> Encode<C> for ProvenDecision {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.proof.encode(encoder, context)
    }
}

impl From<&ProvenDecision> for UnverifiedDecision {
    fn from(proven: &ProvenDecision) -> Self {
        proven.proof.clone()
    }
}
