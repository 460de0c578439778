//! Carries the rounds out: asks the witnesses over HTTP, has the owner prove and keep.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use naulon_tlog::{AddCheckpoint, CheckpointVerifier, CosignedCheckpoint, Hash, WitnessPolicy, WitnessVerifier};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::state::{Publication, PublishError, Round, Standing, StartError};
use crate::client::Client;
use crate::witness::WitnessCall;

/// How long one witness may take in a round, all its answers together.
const WITNESS_TIMEOUT: Duration = Duration::from_secs(15);

/// A witness and how it is reached.
#[derive(Clone)]
pub struct Witness {
    /// Its key.
    pub verifier: WitnessVerifier,
    /// Its submission address.
    pub client: Client,
}

/// Whose log it is.
pub trait Owner: Send + Sync {
    /// The proof that its tree of `new` leaves continues that of `old`; `old` is at most `new`, and both have been there.
    fn prove(&self, old: u64, new: u64) -> impl Future<Output = Result<Vec<Hash>, String>> + Send;

    /// Keeps a cosigned note. When it returns, the note is durable, and is what [`Publisher::new`] gets at the next start.
    fn keep(&self, cosigned: &CosignedCheckpoint) -> impl Future<Output = Result<(), String>> + Send;
}

/// Has one log's checkpoints cosigned. Clones are handles on the same one.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    publication: Mutex<Publication>,
    newer: Notify,
    epoch: Instant,
}

impl Publisher {
    /// The publisher of this log, whose newest signed checkpoint is `newest`. `kept` is what [`Owner::keep`] kept last.
    ///
    /// # Errors
    /// [`PublishError`] when one of the two is not the log's.
    pub fn new(
        log: CheckpointVerifier,
        policy: WitnessPolicy,
        newest: &str,
        kept: Option<&str>,
    ) -> Result<Self, PublishError> {
        let publication = Mutex::new(Publication::new(log, policy, newest, kept)?);
        let shared = Shared { publication, newer: Notify::new(), epoch: Instant::now() };
        Ok(Publisher { shared: Arc::new(shared) })
    }

    /// Takes note of a newer checkpoint, which is durable. It waits for nothing. What is not a newer one of this log is not
    /// taken.
    pub fn publish(&self, note: &str) {
        match self.publication().publish(note) {
            Ok(()) => self.shared.newer.notify_one(),
            Err(error) => tracing::error!(%error, "the log's own checkpoint does not hold"),
        }
    }

    /// The newest note, with whatever cosignatures it has by now.
    pub fn newest(&self) -> String {
        self.publication().newest()
    }

    /// The newest note with as many cosignatures as the policy wants. Nothing before the first round, and without witnesses.
    pub fn cosigned(&self) -> Option<String> {
        self.publication().cosigned().map(|cosigned| cosigned.note().to_owned())
    }

    /// Asks the witnesses where they stand, before the log answers anybody; on the way they cosign the newest checkpoint.
    /// `witnesses` are those of the policy.
    ///
    /// # Errors
    /// [`StartError`]; then the log must not start.
    pub async fn settle(&self, witnesses: &[Witness], owner: &impl Owner) -> Result<(), StartError> {
        self.check_kept(owner).await?;
        if self.publication().policy().is_unwitnessed() {
            return Ok(());
        }
        let round = self.publication().begin(self.now());
        let standings = self.ask_all(&round, witnesses, owner).await;
        self.publication().may_start(&round, &standings)?;
        self.finish(&round, &standings, owner).await.map_err(StartError::Owner)
    }

    /// Has every newer checkpoint cosigned, for ever. `witnesses` are those of the policy.
    pub async fn run(&self, witnesses: &[Witness], owner: &impl Owner) {
        loop {
            let due = self.publication().due();
            let newer = self.shared.newer.notified();
            let Some(due) = due else { return std::future::pending().await };
            if due > self.now() {
                let at = self.shared.epoch + Duration::from_millis(due);
                tokio::select! {
                    () = sleep_until(at) => {}
                    // Something newer may be due earlier than a repetition of the old.
                    () = newer => continue,
                }
            }
            let round = self.publication().begin(self.now());
            let standings = self.ask_all(&round, witnesses, owner).await;
            report(&standings);
            if let Err(error) = self.finish(&round, &standings, owner).await {
                tracing::error!(%error, "a cosigned checkpoint could not be kept");
            }
        }
    }

    /// What was kept must be a tree that the owner's continues. This needs no witness.
    async fn check_kept(&self, owner: &impl Owner) -> Result<(), StartError> {
        let (kept, round) = {
            let mut publication = self.publication();
            (publication.cosigned().cloned(), publication.begin(0))
        };
        let Some(kept) = kept else { return Ok(()) };
        let (old, new) = (kept.checkpoint(), &round.checkpoint);
        let witness = || kept.times().keys().next().cloned().unwrap_or_default();
        if old.size > new.size {
            return Err(StartError::Behind { witness: witness(), size: old.size, own: new.size });
        }
        let proof = owner.prove(old.size, new.size).await.map_err(StartError::Owner)?;
        let continues = naulon_tlog::verify_consistency(old.size, &old.root, new.size, &new.root, &proof);
        continues.map_err(|_| StartError::Contradicts { witness: witness(), own: new.size })
    }

    async fn ask_all(&self, round: &Round, witnesses: &[Witness], owner: &impl Owner) -> Vec<(String, Standing)> {
        let ask = |witness: &Witness| {
            let (name, client) = (witness.verifier.name().to_owned(), witness.client.clone());
            let mut asking = self.publication().ask(round, &witness.verifier);
            async move {
                let asked = async {
                    loop {
                        let proof = match owner.prove(asking.old(), round.checkpoint.size).await {
                            Ok(proof) => proof,
                            Err(error) => return Standing::NoAnswer(error),
                        };
                        let checkpoint = round.note.clone();
                        let request = AddCheckpoint { old: asking.old(), proof, checkpoint };
                        if let Some(standing) = asking.take(client.call(&WitnessCall::AddCheckpoint(request)).await) {
                            return standing;
                        }
                    }
                };
                let standing = timeout(WITNESS_TIMEOUT, asked).await;
                (name, standing.unwrap_or_else(|_| Standing::NoAnswer("it does not answer in time".to_owned())))
            }
        };
        witnesses.iter().map(ask).collect::<FuturesUnordered<_>>().collect().await
    }

    async fn finish(&self, round: &Round, standings: &[(String, Standing)], owner: &impl Owner) -> Result<(), String> {
        let now = self.now();
        let cosigned = self.publication().end(round, standings, now);
        let Some(cosigned) = cosigned else { return Ok(()) };
        owner.keep(&cosigned).await?;
        self.publication().show(cosigned, now);
        Ok(())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.shared.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// No code panics under this lock, so a poisoned one still holds a sound state.
    fn publication(&self) -> MutexGuard<'_, Publication> {
        self.shared.publication.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an operator must see: a witness that contradicts means that a second log runs with these keys, or that the witness
/// lies.
fn report(standings: &[(String, Standing)]) {
    for (witness, standing) in standings {
        match standing {
            Standing::Cosigned(_) => {}
            Standing::Ahead(size) => {
                tracing::error!(witness, size, "a witness has cosigned more than this log has: does it run twice?");
            }
            Standing::Contradicts => {
                tracing::error!(witness, "a witness has cosigned another tree of this log: does it run twice?");
            }
            Standing::Unknown => tracing::warn!(witness, "a witness does not know this log"),
            Standing::NoAnswer(why) => tracing::warn!(witness, why, "a witness has not cosigned"),
        }
    }
}
