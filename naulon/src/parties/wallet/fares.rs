//! The wallet's checks as fares: tokens pay for passage, so no mix and no bank learns who goes.

use std::time::Duration;

use anyhow::{Context, ensure};
use naulon_mix::Fare as Shown;
use naulon_money::Currency;
use naulon_proxy::{Fare, FareError, FareWanted, Fares, Pending};
use naulon_statement::{PublicKey, Timestamp, cbor};
use naulon_tick::Check;
use naulon_wallet::{CheckWanted, Pocket};
use tokio::sync::Mutex;

use super::entropy;
use super::room::{Room, Went};

/// Checks are made out until a full hour: so many hours from now, and up to one more. Others name the same hour.
const HOURS: u64 = 24;
/// A check that is ready is taken when it is good for so many hours more.
const HOURS_LEFT: u64 = 12;
const HOUR: u64 = 3_600_000;

/// Makes checks out of a wallet.
pub struct WalletFares {
    room: Mutex<Room>,
    bank: PublicKey,
    currency: Currency,
    pocket: Pocket,
    patience: Duration,
}

impl WalletFares {
    /// Of this wallet. Fetches the bank's terms first, and takes back what is left of checks whose time is over.
    pub async fn open(mut room: Room, pocket: Pocket, patience: Duration) -> anyhow::Result<Self> {
        room.describe().await?;
        let now = room.now();
        let free = room.wallet().free_checks(now);
        for number in free {
            let operation = room.wallet().reclaim_check(number, None, pocket, now, &*entropy()?)?;
            // What does not come back now does with the next start.
            room.see_through(Some(operation), patience).await?;
        }
        let bank = room.bank.key;
        let currency = room.wallet().terms(&bank).context("the bank has not said its terms")?.currency.clone();
        Ok(WalletFares { room: Mutex::new(room), bank, currency, pocket, patience })
    }

    async fn make(&self, wanted: FareWanted) -> anyhow::Result<Fare> {
        let mut room = self.room.lock().await;
        let now = room.now();
        let in_hours = |hours| Timestamp((now.0 / HOUR + hours) * HOUR);
        let FareWanted { bank, payee, value, length, .. } = wanted;
        let wanted = CheckWanted { bank, payee, value, length, expiry: in_hours(HOURS + 1) };
        let ready = room.wallet().ready_check(&CheckWanted { expiry: in_hours(HOURS_LEFT), ..wanted.clone() });
        let number = match ready {
            Some(number) => number,
            None => {
                let operation = room.wallet().fund_check(&wanted, self.pocket, now, &*entropy()?)?;
                let went = room.see_through(Some(operation), self.patience).await?;
                ensure!(went == Went::Through, "{}", room.why_stuck().unwrap_or("the bank does not answer"));
                room.wallet().check_of(operation).context("the operation funds no check")?
            }
        };
        let ready = room.wallet().hand_out(number)?;
        let walker = ready.walker()?;
        let shown = cbor::to_vec(&Shown { check: ready.check.clone(), funding: ready.funding });
        Ok(Fare { check: ready.check, walker, shown })
    }
}

impl Fares for WalletFares {
    fn bank(&self) -> PublicKey {
        self.bank
    }

    fn currency(&self) -> Currency {
        self.currency.clone()
    }

    fn give_back(&self, check: Check) -> Pending<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.room.lock().await.wallet().put_back(&check) {
                tracing::warn!("a check that was not used stays out: {error}");
            }
        })
    }

    fn fare(&self, wanted: FareWanted) -> Pending<'_, Result<Fare, FareError>> {
        Box::pin(async move { self.make(wanted).await.map_err(|error| FareError::Bank(format!("{error:#}"))) })
    }
}
