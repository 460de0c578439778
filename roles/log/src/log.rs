//! The log itself.

use std::collections::BTreeMap;
use std::time::Instant;

use naulon_durable::{Retry, StoreError};
use naulon_exchange::{LogIdentity, LogWord, UnverifiedDecision};
use naulon_purchase::log::{authenticate_abort, authenticate_blind, authenticate_commit, decide};
use naulon_purchase::{LogRefusal, LogRequest, LogRules, Ruling, Signature};
use naulon_statement::{Digest, Duration, Timestamp};
use naulon_tlog::{
    Appended, Checkpoint, CheckpointSigner, Hash, HashStore, InclusionProof, Tree, WitnessPolicy, consistency_proof,
    inclusion_proof, leaf_hash,
};
use naulon_wire::publish::{PublishError, Publisher};
use naulon_wire::{LogCall, LogDescription, LogReply, Problem};

use crate::keys::LogKeys;
use crate::store::{Appending, CommitError, Fence, LogStore, NewDecision, StoredDecision};
use crate::trouble::Trouble;

/// A log over its store. It is the store's one writer; one that was overtaken answers `unavailable` for ever.
pub struct Log<S> {
    keys: LogKeys,
    rules: LogRules,
    pub(crate) store: S,
    fence: Fence,
    pub(crate) head: Head,
    /// The newest checkpoint that witnesses had cosigned when the log was opened.
    cosigned: Option<String>,
    pub(crate) publisher: Option<Publisher>,
    halted: bool,
    crowd: Crowd,
}

/// The blind decisions of this minute: whom they are for nobody knows, so all share one measure.
#[derive(Default)]
struct Crowd {
    since: Timestamp,
    count: u32,
}

/// The newest tree that is durable.
pub(crate) struct Head {
    pub(crate) tree: Tree,
    pub(crate) checkpoint: String,
    time: Timestamp,
    /// The tree before the last group and what that group made known: proofs of its leaves need no reading.
    before: Tree,
    appended: Vec<(u64, Hash)>,
}

impl Head {
    /// Shows how long the log is, and of when its newest decision.
    fn measure(&self) {
        metrics::gauge!("naulon_log_entries").set(self.tree.size() as f64);
        metrics::gauge!("naulon_log_decided_timestamp_seconds")
            .set(std::time::Duration::from_millis(self.time.0).as_secs_f64());
    }
}

/// Why a log does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The rules name another log than the key's. Operator: mend the configuration.
    #[error("the rules are another log's than the statement key's")]
    OtherRules,
    /// The checkpoint key is another origin's. Operator: mend the configuration.
    #[error("the checkpoint key is for {found}, the log is {expected}")]
    OtherOrigin {
        /// The origin of the configuration.
        expected: String,
        /// The origin of the key.
        found: String,
    },
    /// The store was written with other keys. Operator: give the log its own keys, or its own store.
    #[error("the store was written by another log, or with other keys")]
    OtherKeys,
    /// The stored tree is not the one that was last signed. Operator: do not run this log; keep the store. It was changed,
    /// or is a mixture of backups, and going on would contradict what the log has signed.
    #[error("the tree of {size} entries is not the one that was signed last; this store must not be used")]
    OtherTree {
        /// How many entries the store says there are.
        size: u64,
    },
    /// The store failed.
    #[error("the log's store: {0}")]
    Store(#[from] StoreError),
}

impl<S: LogStore> Log<S> {
    /// Takes the store over from whoever had it before, and checks that its tree is the one that was signed last.
    ///
    /// # Errors
    /// [`OpenError`]; the store is as it was, except that an earlier writer can no longer commit.
    pub fn open(keys: LogKeys, rules: LogRules, origin: &str, mut store: S) -> Result<Self, OpenError> {
        if rules.log != keys.statements.public() {
            return Err(OpenError::OtherRules);
        }
        let found = keys.checkpoints.verifier().origin();
        if found != origin {
            return Err(OpenError::OtherOrigin { expected: origin.to_owned(), found: found.to_owned() });
        }
        let state = store.take_over()?;
        let tree = open_tree(state.size, &store)?;
        let checkpoint = match state.checkpoint {
            None if tree.size() == 0 => sign_checkpoint(&keys.checkpoints, &tree),
            None => return Err(OpenError::OtherTree { size: tree.size() }),
            Some(signed) => {
                let last = keys.checkpoints.verifier().open(&signed).map_err(|_| OpenError::OtherKeys)?;
                if (last.size, last.root) != (tree.size(), tree.root()) {
                    return Err(OpenError::OtherTree { size: tree.size() });
                }
                signed
            }
        };
        check_last_body(&rules, &tree, &store)?;
        let head = Head { before: tree.clone(), tree, checkpoint, time: state.time, appended: Vec::new() };
        head.measure();
        let (fence, cosigned) = (state.fence, state.cosigned);
        Ok(Log { keys, rules, store, fence, head, cosigned, publisher: None, halted: false, crowd: Crowd::default() })
    }

    /// From here on hands every new checkpoint to a publisher, which has it cosigned by the witnesses of the policy. The
    /// publisher is to be settled before the log answers anybody (`naulon_wire::publish`).
    ///
    /// # Errors
    /// When what was kept as cosigned is not this log's.
    pub fn publish_by(&mut self, policy: WitnessPolicy) -> Result<Publisher, PublishError> {
        let log = self.keys.checkpoints.verifier().clone();
        let publisher = Publisher::new(log, policy, &self.head.checkpoint, self.cosigned.as_deref())?;
        self.publisher = Some(publisher.clone());
        Ok(publisher)
    }

    /// The proof that its tree of `new` entries continues that of `old`. Any tree that it ever published will do.
    ///
    /// # Errors
    /// When there is no such tree here, or the store fails.
    pub fn prove_growth(&self, old: u64, new: u64) -> Result<Vec<Hash>, StoreError> {
        if new > self.head.tree.size() {
            return Err(StoreError::Other(format!("a tree of {new} entries is not here")));
        }
        consistency_proof(old, new, &Stored(&self.store)).map_err(|error| StoreError::Other(error.to_string()))
    }

    /// Keeps a checkpoint with its witnesses' cosignatures, durably.
    ///
    /// # Errors
    /// When the store fails, or another writer has taken over.
    pub fn keep_cosigned(&mut self, note: &str) -> Result<(), CommitError> {
        let kept = self.store.keep_cosigned(self.fence, note);
        if let Err(error) = &kept {
            self.halt_by(&Trouble::Commit(error.clone()));
        }
        kept
    }

    /// Answers one call. What the answer says is durable.
    pub fn handle(&mut self, call: LogCall, now: Timestamp) -> Result<LogReply, Problem> {
        match call {
            LogCall::Describe => Ok(LogReply::Description(self.description())),
            LogCall::Commit { header, authorization } => {
                self.handle_one(authenticate_commit(&self.rules, header, authorization), now)
            }
            LogCall::Abort { header } => self.handle_one(authenticate_abort(&self.rules, header), now),
            LogCall::BlindCommit { message } => self.handle_one(authenticate_blind(&self.rules, message), now),
            LogCall::BlindAbort { index, expiry } => self.handle_one(Ok(LogRequest::BlindAbort { index, expiry }), now),
            LogCall::Decision(subject) => Ok(self.recorded(subject)?),
            LogCall::Public(path) => Ok(LogReply::Public(self.public(&path)?)),
        }
    }

    fn handle_one(&mut self, request: Result<LogRequest, LogRefusal>, now: Timestamp) -> Result<LogReply, Problem> {
        let unanswered = || Err(Problem::new("internal", "a request was not answered"));
        self.handle_batch(vec![request?], now).pop().unwrap_or_else(unanswered)
    }

    /// Decides requests that arrived together, whose signatures have been checked
    /// ([`authenticate_commit`], [`authenticate_abort`]): rows, leaves, tree and signed checkpoint share one commit. Of
    /// two requests on one subject the first decides, and the second gets the same decision.
    ///
    /// One answer for each request, in the same order.
    pub fn handle_batch(&mut self, requests: Vec<LogRequest>, now: Timestamp) -> Vec<Result<LogReply, Problem>> {
        match self.decide_group(&requests, now) {
            Ok(answers) => answers.into_iter().map(|answer| answer.map_err(Problem::from)).collect(),
            Err(trouble) => {
                self.halt_by(&trouble);
                let problem = Problem::from(trouble);
                requests.iter().map(|_| Err(problem.clone())).collect()
            }
        }
    }

    fn halt_by(&mut self, trouble: &Trouble) {
        if trouble.halts() && !self.halted {
            self.halted = true;
            tracing::error!(%trouble, "the log stops deciding; start it again");
        }
    }

    /// How others recognise this log.
    pub fn identity(&self) -> LogIdentity {
        LogIdentity { key: self.rules.log, checkpoints: self.keys.checkpoints.verifier().clone() }
    }

    /// What this log has laid down.
    pub fn rules(&self) -> &LogRules {
        &self.rules
    }

    /// Whether the log has stopped deciding: it was overtaken, or a write failed and nobody knows whether it happened.
    /// Opening it again over the same store helps.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// Forgets what was decided on purchases whose expiry lies further back than the log decides on (AAT §5), at most so
    /// many of them. Says how many there were. Entries and hashes stay, so that old proofs still hold.
    ///
    /// # Errors
    /// The store's; it can be tried again, but for one after which the log has to be opened again.
    pub fn prune(&mut self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        if self.halted {
            return Err(StoreError::Other("the log has stopped deciding".to_owned()));
        }
        let time = self.head.time.max(now).min(Timestamp::MAX);
        let before = time.minus(self.rules.retention);
        if self.store.prunable(before)? == 0 {
            return Ok(0);
        }
        let pruned = self.store.prune(time, before, limit);
        let pruned = pruned.inspect_err(|error| self.halted |= error.retry() == Retry::AfterReopening)?;
        self.head.time = time;
        Ok(pruned)
    }

    /// How many decisions [`prune`](Self::prune) would forget.
    pub fn prunable(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.store.prunable(self.head.time.max(now).min(Timestamp::MAX).minus(self.rules.retention))
    }

    fn description(&self) -> LogDescription {
        LogDescription {
            log: self.rules.log,
            checkpoints: self.keys.checkpoints.verifier().to_string(),
            banks: self.rules.banks.iter().copied().collect(),
            retention_ms: self.rules.retention.0,
            entries: self.rules.entries.iter().copied().collect(),
        }
    }

    fn decide_group(
        &mut self,
        requests: &[LogRequest],
        now: Timestamp,
    ) -> Result<Vec<Result<LogReply, Trouble>>, Trouble> {
        self.check_running()?;
        let subjects: Vec<Digest> = requests.iter().map(LogRequest::subject).collect();
        let recorded = self.store.decisions(&subjects)?;
        // The log's clock never runs behind an entry that it has made (AAT §8.4).
        let time = self.head.time.max(now).min(Timestamp::MAX);

        let mut group = Group { first: self.head.tree.size(), ..Group::default() };
        let mut answers: Vec<Result<StoredDecision, LogRefusal>> = Vec::with_capacity(requests.len());
        for ((request, subject), recorded) in requests.iter().zip(subjects).zip(recorded) {
            answers.push(match recorded.or_else(|| group.find(&subject)) {
                Some(decision) => Ok(decision),
                None => {
                    let ruling = decide(&self.rules, request, time);
                    let ruling = ruling.and_then(|ruling| self.crowd.admit(&self.rules, ruling));
                    ruling.map(|ruling| group.add(subject, request.expiry(), ruling, &self.keys))
                }
            });
        }
        if !group.decisions.is_empty() {
            self.append(group.decisions, time)?;
        }
        Ok(answers.into_iter().map(|answer| self.prove(answer?)).collect())
    }

    /// Writes a group, and only then takes the new tree for the log's.
    fn append(&mut self, decisions: Vec<NewDecision>, time: Timestamp) -> Result<(), CommitError> {
        let leaves: Vec<Hash> = decisions.iter().map(|decision| leaf_hash(&decision.entry)).collect();
        let mut tree = self.head.tree.clone();
        let hashes = tree.append(&leaves);
        let checkpoint = sign_checkpoint(&self.keys.checkpoints, &tree);
        let before = self.head.tree.size();
        let group = Appending { fence: self.fence, before, decisions, hashes, checkpoint, time };
        let began = Instant::now();
        self.store.commit(&group)?;
        metrics::histogram!("naulon_commit_seconds", "store" => "log").record(began.elapsed());
        let before = std::mem::replace(&mut self.head.tree, tree);
        let Appending { hashes: appended, checkpoint, .. } = group;
        self.head = Head { tree: self.head.tree.clone(), checkpoint, time, before, appended };
        self.head.measure();
        if let Some(publisher) = &self.publisher {
            publisher.publish(&self.head.checkpoint);
        }
        Ok(())
    }

    fn recorded(&self, subject: Digest) -> Result<LogReply, Trouble> {
        self.check_running()?;
        let decision = self.store.decisions(&[subject])?.pop().flatten().ok_or(LogRefusal::Undecided)?;
        self.prove(decision)
    }

    /// A recorded decision with the proof that it stands in the newest tree.
    fn prove(&self, decision: StoredDecision) -> Result<LogReply, Trouble> {
        let StoredDecision { index, body } = decision;
        let size = self.head.tree.size();
        if index >= size {
            // Another writer has recorded it, whose tree this log does not have.
            return Err(Trouble::Halted);
        }
        let known = Appended { before: &self.head.before, hashes: &self.head.appended };
        let path = inclusion_proof(size, index, &known)
            .or_else(|_| inclusion_proof(size, index, &Stored(&self.store)).map_err(unsound))?;
        let decision = LogWord::parse(&body).map_err(unsound)?;
        let inclusion = InclusionProof { index, size, path };
        let checkpoint = self.head.checkpoint.clone();
        Ok(LogReply::Decision(Box::new(UnverifiedDecision { decision, inclusion, checkpoint, header: None })))
    }

    pub(crate) fn check_running(&self) -> Result<(), Trouble> {
        if self.halted { Err(Trouble::Halted) } else { Ok(()) }
    }
}

impl Crowd {
    const WINDOW: Duration = Duration::seconds(60);

    /// Takes a blind ruling, if there is room for one more in this minute.
    fn admit(&mut self, rules: &LogRules, ruling: Ruling) -> Result<Ruling, LogRefusal> {
        if let Ruling::Blind(decision) = &ruling {
            if decision.time >= self.since.plus(Self::WINDOW) {
                *self = Crowd { since: decision.time, count: 0 };
            }
            if self.count >= rules.blind.per_minute {
                return Err(LogRefusal::Crowded);
            }
            self.count += 1;
        }
        Ok(ruling)
    }
}

/// The decisions that a group makes, by their subjects.
#[derive(Default)]
struct Group {
    first: u64,
    decisions: Vec<NewDecision>,
    places: BTreeMap<Digest, usize>,
}

impl Group {
    fn find(&self, subject: &Digest) -> Option<StoredDecision> {
        let place = *self.places.get(subject)?;
        let body = self.decisions.get(place)?.body.clone();
        Some(StoredDecision { index: self.first + place as u64, body })
    }

    fn add(&mut self, subject: Digest, expiry: Timestamp, ruling: Ruling, keys: &LogKeys) -> StoredDecision {
        let Signature { statement: body, entry } = ruling.sign(&keys.statements);
        let published = Some(entry.published).filter(|published| *published != body);
        let index = self.first + self.decisions.len() as u64;
        self.places.insert(subject, self.decisions.len());
        self.decisions.push(NewDecision { subject, body: body.clone(), published, expiry, entry: entry.bytes });
        StoredDecision { index, body }
    }
}

/// The store's hashes, for proofs and tiles.
pub(crate) struct Stored<'a, S>(pub(crate) &'a S);

impl<S: LogStore> HashStore for Stored<'_, S> {
    type Error = StoreError;

    fn read(&self, places: &[u64]) -> Result<Vec<Hash>, StoreError> {
        self.0.hashes(places)
    }
}

fn open_tree<S: LogStore>(size: u64, store: &S) -> Result<Tree, OpenError> {
    Tree::open(size, &Stored(store)).map_err(|error| match error {
        naulon_tlog::OpenError::Read(naulon_tlog::ReadError::Store(error)) => OpenError::Store(error),
        _ => OpenError::OtherTree { size },
    })
}

/// The last decision must be of this log's statement key, and be the last leaf: else every answer would be refused.
fn check_last_body<S: LogStore>(rules: &LogRules, tree: &Tree, store: &S) -> Result<(), OpenError> {
    let Some(last) = tree.size().checked_sub(1) else { return Ok(()) };
    // It may have been pruned; then the tree alone vouches for the store.
    let Some(body) = store.body(last)? else { return Ok(()) };
    if let Ok(word) = LogWord::parse(&body) {
        let signed = match word {
            LogWord::Open(decision) => decision.verify(&rules.log).map(drop),
            LogWord::Blind(decision) => decision.verify(&rules.log).map(drop),
        };
        signed.map_err(|_| OpenError::OtherKeys)?;
    }
    let entries = store.entries(last..tree.size())?;
    let as_entered = entries.iter().all(|entry| entry.ends_with(Digest::of(&[&body]).as_bytes()));
    as_entered.then_some(()).ok_or(OpenError::OtherTree { size: tree.size() })
}

fn sign_checkpoint(signer: &CheckpointSigner, tree: &Tree) -> String {
    let origin = signer.verifier().origin().to_owned();
    match signer.sign(&Checkpoint { origin, size: tree.size(), root: tree.root() }) {
        Ok(signed) => signed.into_string(),
        // The only refusal is another origin than the signer's, and this one is its own.
        Err(never) => unreachable!("signing a checkpoint failed: {never}"),
    }
}

/// The store holds what this log cannot have written.
pub(crate) fn unsound(error: impl std::fmt::Display) -> Trouble {
    StoreError::Other(error.to_string()).into()
}
