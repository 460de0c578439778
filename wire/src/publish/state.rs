//! What the publisher knows and decides, without clock and sockets. Times are milliseconds on any clock that only grows.

use std::collections::BTreeMap;

use naulon_tlog::{
    Checkpoint, CheckpointError, CheckpointVerifier, Cosignature, CosignedCheckpoint, CosignedError, WitnessPolicy,
    WitnessVerifier,
};

use crate::http::CallError;
use crate::witness::WitnessReply;

/// The least time between the beginnings of two rounds.
pub(super) const ROUND_PAUSE_MS: u64 = 500;
/// How long it waits after a round in which too few have cosigned; doubled each time.
pub(super) const FIRST_BACK_OFF_MS: u64 = 1_000;
/// The longest that it waits then.
pub(super) const MAX_BACK_OFF_MS: u64 = 60_000;
/// After how long a tree that has not grown is cosigned again, so that its readers see that it is the newest.
pub(super) const REFRESH_MS: u64 = 300_000;
/// How often one witness is asked in one round: where it stands, and from there; once more if another was faster.
const MAX_ASKS: u32 = 3;

/// Why there is no publisher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The newest checkpoint is not the log's own.
    #[error("the newest checkpoint: {0}")]
    Newest(#[from] CheckpointError),
    /// The cosigned note that the owner kept is not one of this policy's log.
    #[error("the cosigned checkpoint that was kept: {0}")]
    Kept(CosignedError),
}

/// Where a witness stands towards a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has cosigned it.
    Cosigned(Cosignature),
    /// It has cosigned a larger tree.
    Ahead(u64),
    /// It has cosigned a tree that this one does not continue.
    Contradicts,
    /// It does not know the log, and so has cosigned nothing of it.
    Unknown,
    /// It could not be reached, or answered something else.
    NoAnswer(String),
}

/// Why a party must not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The store is an old copy. Operator: bring back the newest store; what was published after this copy exists, and
    /// going on from here would contradict it.
    #[error(
        "this log is behind: it has {own} entries, but the witness {witness} has cosigned {size}. This store is an old \
         copy; bring back the newest one. Going on from here would contradict what was published, and convict this log. \
         If the newest is lost, this log has ended: make a new one, with a new origin and new keys"
    )]
    Behind {
        /// Who says so.
        witness: String,
        /// How many entries it has cosigned.
        size: u64,
        /// How many there are here.
        own: u64,
    },
    /// The store is another tree's. Operator: as above.
    #[error(
        "this log is not the one that was published: the witness {witness} has cosigned a tree which the {own} entries \
         here do not continue. Bring back the store with which this log last ran. Going on from here would convict it"
    )]
    Contradicts {
        /// Who says so.
        witness: String,
        /// How many entries there are here.
        own: u64,
    },
    /// Too few witnesses say where they stand, so a cosigned checkpoint may exist that this store does not have.
    #[error(
        "only {answered} of the witnesses say where they stand, {want} are needed to be sure that this log is not an old \
         copy ({why}). Wait until they can be reached; or, if this store is certainly the newest, start with \
         --unchecked-by-witnesses"
    )]
    TooFew {
        /// How many have said it.
        answered: usize,
        /// How many must.
        want: usize,
        /// What the others did.
        why: String,
    },
    /// The owner could not make a proof or keep the note.
    #[error("the log's own store: {0}")]
    Owner(String),
}

/// One checkpoint that all witnesses are asked to cosign.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) checkpoint: Checkpoint,
    pub(super) note: String,
}

/// What a log publishes and where its witnesses stand.
pub(super) struct Publication {
    log: CheckpointVerifier,
    policy: WitnessPolicy,
    newest: Round,
    /// The cosignatures of the newest, by witness.
    lines: BTreeMap<String, String>,
    cosigned: Option<CosignedCheckpoint>,
    /// The size that each witness has cosigned last, as far as is known.
    known: BTreeMap<String, u64>,
    failures: u32,
    /// When the last round began, and not before when the next may.
    due: u64,
    cosigned_at: Option<u64>,
}

impl Publication {
    pub(super) fn new(
        log: CheckpointVerifier,
        policy: WitnessPolicy,
        newest: &str,
        kept: Option<&str>,
    ) -> Result<Self, PublishError> {
        let newest = Round { checkpoint: log.open(newest)?, note: newest.to_owned() };
        let cosigned = match kept.map(|kept| policy.accept(&log, kept)) {
            Some(Ok(cosigned)) if !policy.is_unwitnessed() => Some(cosigned),
            // Another policy than before: what it would take is still to be made.
            Some(Ok(_) | Err(CosignedError::TooFew { .. })) | None => None,
            Some(Err(error)) => return Err(PublishError::Kept(error)),
        };
        let (lines, known) = (BTreeMap::new(), BTreeMap::new());
        Ok(Publication { log, policy, newest, lines, cosigned, known, failures: 0, due: 0, cosigned_at: None })
    }

    pub(super) fn policy(&self) -> &WitnessPolicy {
        &self.policy
    }

    /// Takes a newer checkpoint of the own log. One that is not newer, or not its own, is not taken.
    pub(super) fn publish(&mut self, note: &str) -> Result<(), CheckpointError> {
        let checkpoint = self.log.open(note)?;
        if checkpoint.size > self.newest.checkpoint.size {
            self.newest = Round { checkpoint, note: note.to_owned() };
            self.lines.clear();
        }
        Ok(())
    }

    /// The newest note with the cosignatures that it has.
    pub(super) fn newest(&self) -> String {
        self.lines.values().fold(self.newest.note.clone(), |note, line| note + line)
    }

    /// The newest note with as many cosignatures as the policy wants.
    pub(super) fn cosigned(&self) -> Option<&CosignedCheckpoint> {
        self.cosigned.as_ref()
    }

    /// When the next round is to begin; never without witnesses.
    pub(super) fn due(&self) -> Option<u64> {
        if self.policy.is_unwitnessed() {
            return None;
        }
        let is_done = self.cosigned.as_ref().is_some_and(|cosigned| *cosigned.checkpoint() == self.newest.checkpoint);
        match self.cosigned_at {
            Some(at) if is_done => Some(self.due.max(at.saturating_add(REFRESH_MS))),
            _ => Some(self.due),
        }
    }

    /// Begins a round with the newest checkpoint.
    pub(super) fn begin(&mut self, now: u64) -> Round {
        self.due = now.saturating_add(ROUND_PAUSE_MS);
        self.newest.clone()
    }

    /// How a witness is asked in this round.
    pub(super) fn ask(&self, round: &Round, witness: &WitnessVerifier) -> Asking {
        let size = round.checkpoint.size;
        let old = self.known.get(witness.name()).map_or(size, |known| size.min(*known));
        Asking { witness: witness.clone(), checkpoint: round.checkpoint.clone(), old, asks: 0 }
    }

    /// Takes what the witnesses have answered in a round. If enough have cosigned, here is the cosigned checkpoint; the
    /// owner keeps it before [`show`](Self::show) takes it.
    pub(super) fn end(
        &mut self,
        round: &Round,
        standings: &[(String, Standing)],
        now: u64,
    ) -> Option<CosignedCheckpoint> {
        let (size, mut note) = (round.checkpoint.size, round.note.clone());
        for (witness, standing) in standings {
            match standing {
                Standing::Cosigned(cosignature) => {
                    note.push_str(cosignature.line());
                    self.known.insert(witness.clone(), size);
                    if round.checkpoint == self.newest.checkpoint {
                        self.lines.insert(witness.clone(), cosignature.line().to_owned());
                    }
                }
                Standing::Ahead(_) | Standing::Contradicts | Standing::Unknown | Standing::NoAnswer(_) => {
                    self.known.remove(witness);
                }
            }
        }
        let cosigned = self.policy.accept(&self.log, &note).ok();
        if cosigned.is_none() {
            let back_off = FIRST_BACK_OFF_MS.saturating_mul(1 << self.failures.min(10)).min(MAX_BACK_OFF_MS);
            self.failures = self.failures.saturating_add(1);
            self.due = now.saturating_add(back_off);
        }
        cosigned
    }

    /// Shows a cosigned checkpoint, which the owner has kept.
    pub(super) fn show(&mut self, cosigned: CosignedCheckpoint, now: u64) {
        self.failures = 0;
        self.cosigned_at = Some(now);
        self.cosigned = Some(cosigned);
    }

    /// Whether a party with this tree may start, after the witnesses have said where they stand. Any two sets of
    /// `threshold` and of `witnesses − threshold + 1` of them have one in common; so if that many have said it, no cosigned
    /// checkpoint can be unknown to all of them.
    pub(super) fn may_start(&self, round: &Round, standings: &[(String, Standing)]) -> Result<(), StartError> {
        let own = round.checkpoint.size;
        if let Some(cosigned) = self.cosigned.as_ref().filter(|cosigned| cosigned.checkpoint().size > own) {
            let witness = cosigned.times().keys().next().cloned().unwrap_or_default();
            return Err(StartError::Behind { witness, size: cosigned.checkpoint().size, own });
        }
        let mut silent = Vec::new();
        for (witness, standing) in standings {
            match standing {
                Standing::Ahead(size) => {
                    return Err(StartError::Behind { witness: witness.clone(), size: *size, own });
                }
                Standing::Contradicts => return Err(StartError::Contradicts { witness: witness.clone(), own }),
                Standing::NoAnswer(why) => silent.push(format!("{witness}: {why}")),
                Standing::Cosigned(_) | Standing::Unknown => {}
            }
        }
        let answered = standings.len() - silent.len();
        let want = self.policy.witnesses().len() + 1 - self.policy.threshold().max(1);
        if !self.policy.is_unwitnessed() && answered < want {
            return Err(StartError::TooFew { answered, want, why: silent.join("; ") });
        }
        Ok(())
    }
}

/// The exchange with one witness in one round.
pub(super) struct Asking {
    witness: WitnessVerifier,
    checkpoint: Checkpoint,
    old: u64,
    asks: u32,
}

impl Asking {
    /// The size from which it is asked to go on.
    pub(super) fn old(&self) -> u64 {
        self.old
    }

    /// Takes an answer: where the witness stands, or nothing if it is to be asked again, from where it stands.
    pub(super) fn take(&mut self, answer: Result<WitnessReply, CallError>) -> Option<Standing> {
        self.asks += 1;
        let size = self.checkpoint.size;
        let standing = match answer {
            Ok(WitnessReply::Cosigned(lines)) => match self.witness.find(&self.checkpoint, &lines) {
                Ok(Some(cosignature)) => Standing::Cosigned(cosignature),
                Ok(None) => Standing::NoAnswer("it has cosigned with another key".to_owned()),
                Err(error) => Standing::NoAnswer(format!("its cosignature: {error}")),
            },
            Ok(WitnessReply::Known(known)) if known > size => Standing::Ahead(known),
            Ok(WitnessReply::Known(known)) if known == size && self.old == size => Standing::Contradicts,
            Ok(WitnessReply::Known(known)) if self.asks < MAX_ASKS => {
                self.old = known;
                return None;
            }
            Ok(WitnessReply::Known(_)) => Standing::NoAnswer("it does not stay where it stands".to_owned()),
            Ok(WitnessReply::Refused(404)) => Standing::Unknown,
            // Some witnesses want no empty trees; one that has cosigned anything would have said its size before.
            Ok(WitnessReply::Refused(400 | 422)) if size == 0 => Standing::Unknown,
            Ok(WitnessReply::Refused(422)) => Standing::Contradicts,
            Ok(WitnessReply::Refused(status)) => Standing::NoAnswer(format!("it answers with status {status}")),
            Err(error) => Standing::NoAnswer(error.to_string()),
        };
        Some(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naulon_tlog::{CheckpointSigner, WitnessSigner, leaf_hash};

    const ORIGIN: &str = "log.example/fares";

    fn log() -> CheckpointSigner {
        CheckpointSigner::new(ORIGIN, &[7; 32]).expect("a signer")
    }

    fn witness(number: u8) -> WitnessSigner {
        WitnessSigner::new(&format!("w{number}"), &[10 + number; 32]).expect("a signer")
    }

    fn checkpoint(size: u64) -> Checkpoint {
        Checkpoint { origin: ORIGIN.into(), size, root: leaf_hash(&size.to_be_bytes()) }
    }

    fn note(size: u64) -> String {
        log().sign(&checkpoint(size)).expect("its own").into_string()
    }

    fn publication(size: u64, kept: Option<&str>) -> Publication {
        let witnesses = (1..=3).map(|number| witness(number).verifier().clone()).collect();
        let policy = WitnessPolicy::new(witnesses, 2).expect("a policy");
        Publication::new(log().verifier().clone(), policy, &note(size), kept).expect("a publication")
    }

    fn cosigned(number: u8, size: u64) -> (String, Standing) {
        let cosignature = witness(number).cosign(&checkpoint(size), 100).expect("a time");
        (format!("w{number}"), Standing::Cosigned(cosignature))
    }

    fn silent(number: u8) -> (String, Standing) {
        (format!("w{number}"), Standing::NoAnswer("gone".to_owned()))
    }

    #[test]
    fn a_round_is_of_one_checkpoint_also_when_the_log_goes_on() {
        let mut publication = publication(5, None);
        assert_eq!(publication.due(), Some(0));
        let round = publication.begin(1_000);
        publication.publish(&note(6)).expect("its own");
        let done =
            publication.end(&round, &[cosigned(1, 5), silent(2), cosigned(3, 5)], 1_100).expect("two are enough");
        publication.show(done, 1_100);
        assert_eq!(publication.cosigned().map(|cosigned| cosigned.checkpoint().size), Some(5));
        assert_eq!(publication.newest(), note(6), "the newest has no cosignature yet");
        assert_eq!(publication.due(), Some(1_000 + ROUND_PAUSE_MS));
        let round = publication.begin(2_000);
        let done = publication.end(&round, &[cosigned(1, 6), cosigned(2, 6), silent(3)], 2_100).expect("enough");
        publication.show(done, 2_100);
        assert_eq!(publication.newest(), publication.cosigned().expect("cosigned").note());
        assert_eq!(publication.due(), Some(2_100 + REFRESH_MS), "again, so that readers see that it is the newest");
    }

    #[test]
    fn too_few_is_not_shown_and_waits_ever_longer() {
        let mut publication = publication(5, None);
        for wait in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            let round = publication.begin(0);
            assert!(publication.end(&round, &[cosigned(1, 5), silent(2), silent(3)], 0).is_none());
            assert_eq!(publication.due(), Some(wait));
        }
        assert!(publication.cosigned().is_none() && publication.newest().contains("w1"));
    }

    #[test]
    fn each_witness_is_asked_from_where_it_stands() {
        let mut publication = publication(9, None);
        let round = publication.begin(0);
        let mut asking = publication.ask(&round, witness(1).verifier());
        assert_eq!(asking.old(), 9);
        assert_eq!(asking.take(Ok(WitnessReply::Known(4))), None);
        assert_eq!(asking.old(), 4);
        let (_, standing) = cosigned(1, 9);
        let Standing::Cosigned(cosignature) = &standing else { unreachable!() };
        assert_eq!(asking.take(Ok(WitnessReply::Cosigned(cosignature.line().to_owned()))), Some(standing));
        publication.end(&round, &[cosigned(1, 9)], 0);
        publication.publish(&note(12)).expect("its own");
        let round = publication.begin(0);
        assert_eq!(publication.ask(&round, witness(1).verifier()).old(), 9, "remembered");
    }

    #[test]
    fn answers_are_taken_for_what_they_say() {
        let mut publication = publication(9, None);
        let round = publication.begin(0);
        let take = |answers: &[WitnessReply]| {
            let mut asking = publication.ask(&round, witness(1).verifier());
            answers.iter().fold(None, |_, answer| asking.take(Ok(answer.clone())))
        };
        assert_eq!(take(&[WitnessReply::Known(10)]), Some(Standing::Ahead(10)));
        assert_eq!(take(&[WitnessReply::Known(9)]), Some(Standing::Contradicts));
        assert_eq!(take(&[WitnessReply::Known(3), WitnessReply::Refused(422)]), Some(Standing::Contradicts));
        assert_eq!(take(&[WitnessReply::Refused(404)]), Some(Standing::Unknown));
        let no_answer = |standing| matches!(standing, Some(Standing::NoAnswer(_)));
        assert!(no_answer(take(&[WitnessReply::Refused(403)])));
        assert!(no_answer(take(&[WitnessReply::Known(1), WitnessReply::Known(2), WitnessReply::Known(1)])));
        let (_, Standing::Cosigned(other)) = cosigned(1, 8) else { unreachable!() };
        assert!(no_answer(take(&[WitnessReply::Cosigned(other.line().to_owned())])), "of another checkpoint");
        assert!(no_answer(take(&[WitnessReply::Cosigned(String::new())])));
    }

    #[test]
    fn an_old_copy_does_not_start() {
        let mut publication = publication(9, None);
        let round = publication.begin(0);
        let start =
            |second: Standing| publication.may_start(&round, &[cosigned(1, 9), ("w2".to_owned(), second), silent(3)]);
        assert_eq!(start(Standing::Unknown), Ok(()));
        let behind = StartError::Behind { witness: "w2".to_owned(), size: 12, own: 9 };
        assert_eq!(start(Standing::Ahead(12)), Err(behind));
        assert_eq!(start(Standing::Contradicts), Err(StartError::Contradicts { witness: "w2".to_owned(), own: 9 }));
        let refused = start(Standing::NoAnswer("gone".to_owned()));
        assert!(matches!(refused, Err(StartError::TooFew { answered: 1, want: 2, .. })), "{refused:?}");
    }

    #[test]
    fn what_was_kept_is_shown_again_and_must_not_be_ahead() {
        let lines = |size| {
            [1, 2].map(|number| match cosigned(number, size).1 {
                Standing::Cosigned(cosignature) => cosignature.line().to_owned(),
                _ => unreachable!(),
            })
        };
        let kept = note(9) + &lines(9).concat();
        let mut newer = publication(12, Some(&kept));
        assert_eq!(newer.cosigned().map(|cosigned| cosigned.note()), Some(kept.as_str()));
        let round = newer.begin(0);
        assert_eq!(newer.may_start(&round, &[cosigned(1, 12), cosigned(2, 12)]), Ok(()));
        let mut older = publication(7, Some(&kept));
        let round = older.begin(0);
        let refused = older.may_start(&round, &[cosigned(1, 7), cosigned(2, 7)]);
        assert!(matches!(refused, Err(StartError::Behind { size: 9, own: 7, .. })), "{refused:?}");
    }
}
