//! What a mix does beside forwarding: it writes down what it has earned, and cashes it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use naulon_statement::PublicKey;
use tokio::time::{Instant, sleep};

use super::{FLUSH_EVERY, MixHandle};
use crate::books::{Cashing, Due};
use crate::cashier::{self, MAX_CASHED_TOGETHER};
use crate::store::TickStore;

/// How often the last write is tried.
const LAST_WRITES: u32 = 5;
/// How often ticks are looked for that are due to be cashed.
const CASH_EVERY: Duration = Duration::from_millis(200);
/// How often old checks are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(30);

impl MixHandle {
    /// Writes down what was earned.
    pub(super) async fn writing<S: TickStore + 'static>(self, store: Arc<Mutex<S>>) {
        let mut tries = 0;
        loop {
            let is_last = self.0.is_last.load(Ordering::Acquire);
            let changes = self.mix().changes();
            if !changes.is_empty() {
                let store = Arc::clone(&store);
                let written = tokio::task::spawn_blocking(move || {
                    let outcome = store.lock().unwrap_or_else(PoisonError::into_inner).write(&changes);
                    (outcome, changes)
                });
                match written.await {
                    Ok((Ok(()), changes)) => self.mix().written(&changes),
                    Ok((Err(error), changes)) => {
                        tracing::error!(%error, "ticks cannot be written down; they are tried again");
                        metrics::counter!("naulon_mix_writes_failed_total").increment(1);
                        self.mix().not_written(changes);
                        tries += u32::from(is_last);
                        if tries >= LAST_WRITES {
                            return;
                        }
                        sleep(Duration::from_millis(500)).await;
                        continue;
                    }
                    Err(_) => return,
                }
            }
            if is_last {
                return;
            }
            sleep(FLUSH_EVERY).await;
        }
    }

    /// Cashes what is due, and forgets what is over.
    pub(super) async fn cashing(self) {
        let mut forgotten = Instant::now();
        loop {
            sleep(CASH_EVERY).await;
            self.cash(false).await;
            if forgotten.elapsed() >= FORGET_EVERY {
                forgotten = Instant::now();
                self.mix().forget(self.now());
            }
            #[allow(clippy::cast_precision_loss)] // A gauge is a float.
            metrics::gauge!("naulon_mix_uncashed_ticks").set(self.mix().uncashed() as f64);
        }
    }

    /// Cashes what is due; with `all`, everything that is earned and written down. Gives how many checks were paid.
    pub async fn cash(&self, all: bool) -> usize {
        let mut paid = 0;
        loop {
            let due = self.mix().due(self.now(), MAX_CASHED_TOGETHER, all);
            let Some(bank) = due.first().map(|due| due.check.bank) else { return paid };
            let (more, is_stuck) = self.cash_at(&bank, due).await;
            paid += more;
            if is_stuck {
                // A bank that does not answer is asked again later.
                return paid;
            }
        }
    }

    /// How many checks were paid, and whether for none of them anything has changed.
    async fn cash_at(&self, bank: &PublicKey, due: Vec<Due>) -> (usize, bool) {
        let contract = self.mix().rules.contract.clone();
        let key = self.mix().payee(bank);
        let outcomes = match (self.0.banks.get(bank), key) {
            (Some(client), Some(key)) => cashier::cash(client, due, &key, contract.as_ref()).await,
            _ => due.into_iter().map(|due| (due, Cashing::Later)).collect(),
        };
        let (mut paid, mut is_stuck) = (0, true);
        let now = self.now();
        let mut mix = self.mix();
        for (due, outcome) in outcomes {
            let name = match outcome {
                Cashing::Paid => "paid",
                Cashing::Stands(_) => "stands",
                Cashing::Later => "later",
                Cashing::Lost => "lost",
            };
            metrics::counter!("naulon_mix_cashings_total", "outcome" => name).increment(1);
            paid += usize::from(name == "paid");
            is_stuck &= !matches!(outcome, Cashing::Paid | Cashing::Lost);
            mix.cashed(&due, outcome, |amount| cashier::own_part(amount, contract.as_ref()), now);
        }
        (paid, is_stuck)
    }
}
