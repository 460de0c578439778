//! A log in memory, that can also show a second tree.

use std::collections::{BTreeMap, BTreeSet};

use naulon_exchange::{Header, LogDecision, LogIdentity, Outcome, ProvenDecision, UnverifiedDecision};
use naulon_purchase::log::{authenticate_abort, authenticate_commit, decide};
use naulon_purchase::{AuthorizationM, LogRequest, LogRules};
use naulon_statement::{Digest, Duration, PublicKey, SecretKey, Signed, Timestamp, Unverified};
use naulon_tlog::{Checkpoint, CheckpointSigner, Hash, InclusionProof, Tree, inclusion_proof, leaf_hash};
use naulon_wire::{LogCall, LogReply, Problem};

pub struct Log {
    pub key: SecretKey,
    rules: LogRules,
    signer: CheckpointSigner,
    decisions: BTreeMap<Digest, ProvenDecision>,
    leaves: Vec<Hash>,
    /// The next decision is put in the place of the last of so many entries, in a tree that it shows to nobody else.
    pub forks_at: Option<usize>,
}

impl Log {
    pub fn new(key: SecretKey, bank: PublicKey) -> Self {
        let rules = LogRules::of(key.public(), BTreeSet::from([bank]), Duration::days(30));
        let signer = CheckpointSigner::new("log.example/test", &[77; 32]).expect("a signer");
        Log { key, rules, signer, decisions: BTreeMap::new(), leaves: Vec::new(), forks_at: None }
    }

    pub fn identity(&self) -> LogIdentity {
        LogIdentity { key: self.key.public(), checkpoints: self.signer.verifier().clone() }
    }

    pub fn call(&mut self, call: &LogCall, now: Timestamp) -> Result<LogReply, Problem> {
        let request = match call {
            LogCall::Commit { header, authorization } => {
                authenticate_commit(&self.rules, header.clone(), authorization.clone())?
            }
            LogCall::Abort { header } => authenticate_abort(&self.rules, header.clone())?,
            LogCall::Decision(subject) => {
                let found = self.decisions.get(subject).ok_or_else(|| Problem::new("undecided", "nothing yet"))?;
                return Ok(LogReply::Decision(Box::new(found.into())));
            }
            LogCall::Describe | LogCall::Public(_) | LogCall::BlindCommit { .. } | LogCall::BlindAbort { .. } => {
                return Err(Problem::new("not_found", "not here"));
            }
        };
        self.decide(&request, now).map(|decision| LogReply::Decision(Box::new(decision)))
    }

    pub fn commit(
        &mut self,
        header: &Signed<Header>,
        m: &SecretKey,
        k: [u8; 32],
        now: Timestamp,
    ) -> Result<UnverifiedDecision, Problem> {
        let authorization = Signed::sign(m, AuthorizationM { a: header.a, k });
        let request = authenticate_commit(&self.rules, Unverified::from(header), Unverified::from(&authorization))?;
        self.decide(&request, now)
    }

    fn decide(&mut self, request: &LogRequest, now: Timestamp) -> Result<UnverifiedDecision, Problem> {
        let subject = request.subject();
        if !self.decisions.contains_key(&subject) {
            let ruling = decide(&self.rules, request, now)?;
            let decision = ruling.decision().expect("of a header").clone();
            let proven = self.enter(decision);
            self.decisions.insert(subject, proven);
        }
        Ok((&self.decisions[&subject]).into())
    }

    fn enter(&mut self, decision: LogDecision) -> ProvenDecision {
        if let Some(size) = self.forks_at.take() {
            self.leaves.truncate(size - 1);
        }
        let signed = Signed::sign(&self.key, decision);
        self.leaves.push(leaf_hash(&signed.entry(signed.bytes())));
        self.proven(signed, &self.leaves)
    }

    /// Signs whatever decision, also one that it should not, in a tree of its own.
    pub fn sign(&self, decision: LogDecision) -> ProvenDecision {
        let signed = Signed::sign(&self.key, decision);
        let leaf = leaf_hash(&signed.entry(signed.bytes()));
        self.proven(signed, &[leaf])
    }

    /// The last of these leaves with its proof.
    fn proven(&self, signed: Signed<LogDecision>, leaves: &[Hash]) -> ProvenDecision {
        let mut tree = Tree::default();
        let hashes: Vec<Hash> = tree.append(leaves).into_iter().map(|(_, hash)| hash).collect();
        let (size, index) = (tree.size(), tree.size() - 1);
        let path = inclusion_proof(size, index, &hashes).expect("a place in it");
        let checkpoint = Checkpoint { origin: "log.example/test".into(), size, root: tree.root() };
        let note = self.signer.sign(&checkpoint).expect("its own origin").into_string();
        ProvenDecision::by_own_log(signed, InclusionProof { index, size, path }, note)
    }

    /// A log that decides twice: another outcome on what was decided already.
    pub fn also(&self, header: &Header, outcome: Outcome, time: Timestamp) -> UnverifiedDecision {
        (&self.sign(LogDecision::on(header, time, outcome))).into()
    }
}
