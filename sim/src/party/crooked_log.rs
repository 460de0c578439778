//! A log that cheats (AAT §7): with the keys of one that buyers, banks and shops trust.

use std::collections::{BTreeMap, BTreeSet};

use naulon_exchange::{BlindDecision, Header, LogDecision, LogWord, Outcome, UnverifiedDecision};
use naulon_log::LogKeys;
use naulon_purchase::log::{authenticate_abort, authenticate_blind, authenticate_commit, decide};
use naulon_purchase::{LogRefusal, LogRequest, LogRules, Ruling, Signature};
use naulon_statement::{Digest, Duration, Timestamp, Unverified};
use naulon_tlog::{Checkpoint, Hash, InclusionProof, Tree, inclusion_proof, leaf_hash};
use naulon_wire::{Call, HttpRequest, HttpResponse, LogCall, LogReply, Problem};

use super::PublicLog;
use crate::cheat::Cheat;
use crate::network::Place;

/// How long after the expiry of the first purchase that it keeps waiting a log that stalls answers again.
const STALLED_FOR: Duration = Duration::seconds(60);
/// For how long it is silent at least, also where its clock is ahead and the expiry near.
const LONG: Duration = Duration::seconds(120);
/// How often a late commit is answered before the log thinks better of it and aborts as well, so that the run ends.
const LATE_ANSWERS: u32 = 3;

/// Whom a log answers: one that signs both tells the two sides different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Face {
    /// The merchant's.
    Merchant,
    /// Everybody else's.
    Others,
}

impl Face {
    /// The one that this party sees.
    pub fn of(place: Place) -> Self {
        if matches!(place, Place::Shop(_)) { Face::Merchant } else { Face::Others }
    }
}

/// A log that cheats in one way. It never dies and never forgets.
pub struct CrookedLog {
    crime: Cheat,
    keys: LogKeys,
    rules: LogRules,
    tree: Tree,
    hashes: Vec<Hash>,
    entries: Vec<Vec<u8>>,
    bodies: Vec<Vec<u8>>,
    /// What it has signed: where its entry stands, and the statement.
    words: BTreeMap<(Face, Digest), (u64, Vec<u8>)>,
    /// Commits that came in time and were kept back.
    kept_back: BTreeMap<Digest, LogRequest>,
    answers: BTreeMap<Digest, u32>,
    newest: Timestamp,
    silent_until: Option<Timestamp>,
    /// The purchases about which it has broken its rules.
    guilty: BTreeSet<Digest>,
}

impl CrookedLog {
    /// One that cheats in this way.
    pub fn new(crime: Cheat, keys: LogKeys, rules: LogRules) -> Self {
        CrookedLog {
            crime,
            keys,
            rules,
            tree: Tree::default(),
            hashes: Vec::new(),
            entries: Vec::new(),
            bodies: Vec::new(),
            words: BTreeMap::new(),
            kept_back: BTreeMap::new(),
            answers: BTreeMap::new(),
            newest: Timestamp(0),
            silent_until: None,
            guilty: BTreeSet::new(),
        }
    }

    /// Answers a request, or not.
    pub fn serve(&mut self, request: &HttpRequest, face: Face, now: Timestamp) -> Option<HttpResponse> {
        let answer = match LogCall::from_http(request) {
            Ok(call) => self.answer(call, face, now)?,
            Err(problem) => Err(problem),
        };
        Some(match answer {
            Ok(reply) => LogCall::reply_to_http(reply),
            Err(problem) => HttpResponse::problem(&problem),
        })
    }

    /// The key to this purchase's goods, if the log has kept the merchant's commit back: what it passes to the buyer. A blind
    /// message it cannot read itself; the buyer, who has the header, can.
    pub fn leak(&self, header: &Header) -> Option<[u8; 32]> {
        match self.kept_back.get(&header.subject())? {
            LogRequest::Commit { authorization, .. } => Some(authorization.k),
            LogRequest::BlindCommit { message } => header.open_release(&message.sealed),
            LogRequest::Abort { .. } | LogRequest::BlindAbort { .. } => None,
        }
    }

    /// The purchases about which it has broken its rules in what it signed.
    pub fn guilty(&self) -> &BTreeSet<Digest> {
        &self.guilty
    }

    /// Whether it has left somebody without an answer.
    pub fn has_stalled(&self) -> bool {
        self.silent_until.is_some()
    }

    /// What everybody may read of it.
    pub fn public(&self) -> PublicLog {
        let bodies = self.bodies.iter().cloned().map(Some).collect();
        PublicLog { checkpoint: self.checkpoint(), entries: self.entries.clone(), bodies }
    }

    /// None: silence.
    fn answer(&mut self, call: LogCall, face: Face, now: Timestamp) -> Option<Result<LogReply, Problem>> {
        let request = match call {
            LogCall::Commit { header, authorization } => authenticate_commit(&self.rules, header, authorization),
            LogCall::Abort { header } => authenticate_abort(&self.rules, header),
            LogCall::BlindCommit { message } => authenticate_blind(&self.rules, message),
            LogCall::BlindAbort { index, expiry } => Ok(LogRequest::BlindAbort { index, expiry }),
            LogCall::Decision(subject) => return self.recall(face, subject, now),
            LogCall::Describe | LogCall::Public(_) => return Some(Err(Problem::new("not_found", "not here"))),
        };
        match request {
            Ok(request) => self.take(&request, face, now),
            Err(refusal) => Some(Err(refusal.into())),
        }
    }

    fn recall(&self, face: Face, subject: Digest, now: Timestamp) -> Option<Result<LogReply, Problem>> {
        if self.is_silent(now) {
            return None;
        }
        match self.words.get(&(self.face(face), subject)) {
            Some(word) => Some(self.prove(word)),
            None => Some(Err(LogRefusal::Undecided.into())),
        }
    }

    fn face(&self, face: Face) -> Face {
        if self.crime == Cheat::TwoFacedLog { face } else { Face::Others }
    }

    fn is_silent(&self, now: Timestamp) -> bool {
        self.silent_until.is_some_and(|until| now < until)
    }

    fn take(&mut self, request: &LogRequest, face: Face, now: Timestamp) -> Option<Result<LogReply, Problem>> {
        let (subject, expiry) = (request.subject(), request.expiry());
        let is_commit = matches!(request, LogRequest::Commit { .. } | LogRequest::BlindCommit { .. });
        let is_early_commit = is_commit && now < expiry;
        match self.crime {
            Cheat::StallingLog if is_commit && self.silent_until.is_none() => {
                self.silent_until = Some(expiry.max(now.plus(LONG)).plus(STALLED_FOR));
            }
            Cheat::LeakingLog | Cheat::LateLog | Cheat::BackDatingLog if is_early_commit => {
                self.kept_back.insert(subject, request.clone());
                return None;
            }
            _ => {}
        }
        if self.is_silent(now) {
            return None;
        }
        let place = (self.face(face), subject);
        if let (Cheat::LateLog | Cheat::BackDatingLog, Some(commit)) =
            (self.crime, self.kept_back.get(&subject).cloned())
        {
            if now < expiry {
                return Some(Err(LogRefusal::NotExpired.into()));
            }
            return self.commit_too_late(&commit, request, place, now);
        }
        if let Some(word) = self.words.get(&place) {
            return Some(self.prove(word));
        }
        Some(match decide(&self.rules, request, now) {
            Ok(ruling) => self.sign(ruling, place),
            Err(refusal) => Err(refusal.into()),
        })
    }

    /// Commits after the expiry: with the time that it is, or with one before the expiry as soon as the tree is beyond that.
    fn commit_too_late(
        &mut self,
        commit: &LogRequest,
        request: &LogRequest,
        place: (Face, Digest),
        now: Timestamp,
    ) -> Option<Result<LogReply, Problem>> {
        let (_, subject) = place;
        if let Some(word) = self.words.get(&place).cloned() {
            let answers = self.answers.entry(subject).or_default();
            *answers += 1;
            if self.crime == Cheat::BackDatingLog || *answers != LATE_ANSWERS {
                return Some(self.prove(&word));
            }
            // From here on it says the other thing.
            let ruling = decide(&self.rules, &abort_of(request), now).ok()?;
            return Some(self.sign(ruling, place));
        }
        let time = match self.crime {
            Cheat::BackDatingLog if self.newest < request.expiry() => return None,
            Cheat::BackDatingLog => Timestamp(request.expiry().0 - 1),
            _ => now,
        };
        self.guilty.insert(subject);
        Some(self.sign(committed(commit, time)?, place))
    }

    fn sign(&mut self, ruling: Ruling, place: (Face, Digest)) -> Result<LogReply, Problem> {
        self.newest = self.newest.max(ruling.time());
        let Signature { statement, entry } = ruling.sign(&self.keys.statements);
        let index = self.entries.len() as u64;
        let hashes = self.tree.append(&[leaf_hash(&entry.bytes)]);
        self.hashes.extend(hashes.into_iter().map(|(_, hash)| hash));
        self.entries.push(entry.bytes.to_vec());
        self.bodies.push(entry.published);
        self.words.insert(place, (index, statement));
        self.note_both(place.1);
        self.prove(&self.words[&place])
    }

    /// Notes that the two sides were told different things.
    fn note_both(&mut self, subject: Digest) {
        let is_commit = |face| {
            let (_, statement) = self.words.get(&(face, subject))?;
            match LogWord::parse(statement).ok()? {
                LogWord::Open(word) => Some(word.claimed_body().key().is_some()),
                LogWord::Blind(word) => Some(word.claimed_body().message.is_some()),
            }
        };
        let (one, other) = (is_commit(Face::Merchant), is_commit(Face::Others));
        if one.is_some() && other.is_some() && one != other {
            self.guilty.insert(subject);
        }
    }

    fn prove(&self, (index, statement): &(u64, Vec<u8>)) -> Result<LogReply, Problem> {
        let unsound = |error: &dyn std::fmt::Display| Problem::new("internal", error);
        let size = self.tree.size();
        let path = inclusion_proof(size, *index, &self.hashes).map_err(|error| unsound(&error))?;
        let decision = LogWord::parse(statement).map_err(|error| unsound(&error))?;
        let inclusion = InclusionProof { index: *index, size, path };
        let checkpoint = self.checkpoint();
        Ok(LogReply::Decision(Box::new(UnverifiedDecision { decision, inclusion, checkpoint, header: None })))
    }

    fn checkpoint(&self) -> String {
        let origin = self.keys.checkpoints.verifier().origin().to_owned();
        let checkpoint = Checkpoint { origin, size: self.tree.size(), root: self.tree.root() };
        self.keys.checkpoints.sign(&checkpoint).map(|note| note.into_string()).unwrap_or_default()
    }
}

/// The decision to commit, at this time.
fn committed(commit: &LogRequest, time: Timestamp) -> Option<Ruling> {
    match commit {
        LogRequest::Commit { header, authorization } => Some(Ruling::Open {
            header: Header::clone(header),
            decision: LogDecision::on(header, time, Outcome::Commit { k: authorization.k }),
        }),
        LogRequest::BlindCommit { message } => Some(Ruling::Blind(BlindDecision {
            index: message.signer(),
            expiry: message.expiry,
            time,
            message: Some(Unverified::from(message)),
        })),
        LogRequest::Abort { .. } | LogRequest::BlindAbort { .. } => None,
    }
}

/// The request for an abort of the same purchase.
fn abort_of(request: &LogRequest) -> LogRequest {
    match request {
        LogRequest::Commit { header, .. } | LogRequest::Abort { header } => {
            LogRequest::Abort { header: header.clone() }
        }
        LogRequest::BlindCommit { message } => {
            LogRequest::BlindAbort { index: message.signer(), expiry: message.expiry }
        }
        LogRequest::BlindAbort { index, expiry } => LogRequest::BlindAbort { index: *index, expiry: *expiry },
    }
}
