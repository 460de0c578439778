//! Carries a wallet's asks over HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use naulon_exchange::register::{Receipt, Side};
use naulon_money::Amount;
use naulon_purchase::GoodsM;
use naulon_statement::{PublicKey, Timestamp, Unverified};
use naulon_wire::{
    Address, AnyCall, AnyReply, Ask, BankCall, BankReply, CallError, Circuit, ClientError, Clients, LogCall,
    LogDescription, LogReply, Problem, ShopCall, ShopDescription, ShopReply,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::WalletError;
use crate::event::{Event, Watch};
use crate::operation::{OperationId, OperationKind};
use crate::restoring::restore_begins;
use crate::store::WalletStore;
use crate::wallet::{Accepted, Entropy, Entry, Found, PAYING, Restored, Taken, Wallet};

/// How long to wait after a round of asks that brought nothing; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest wait between two rounds.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// After so many questions of a restoration in a row without an answer that helps it is left for later.
pub const MAX_UNANSWERED: u32 = 5;

/// A wallet and the ways to the parties. Clones drive the same wallet.
///
/// Whatever the wallet does (signing, unblinding, hashing, decrypting, writing) is done on threads that may block.
pub struct Driver<S: WalletStore + 'static> {
    wallet: Arc<Mutex<Wallet<S>>>,
    clients: Clients,
    addresses: Arc<BTreeMap<PublicKey, Address>>,
    /// The purchases that are paid for at their item's own path, by the `Payment` scheme.
    paid_at: Arc<Mutex<BTreeMap<OperationId, String>>>,
    clock: Clock,
}

/// A clock to go by.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where an operation stands when [`Driver::run`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The operation; it has ended, or goes on when it is run again.
    pub entry: Entry,
    /// The last refusal, if that is what it waits for.
    pub refused: Option<Problem>,
    /// Whether somebody could not be reached the last time.
    pub unreachable: Option<String>,
}

/// Why the driver cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The wallet refuses, or its store has failed.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// No address is known for a party.
    #[error("no address is known for {0}: add it to the settings")]
    NoAddress(PublicKey),
    /// An address cannot be used.
    #[error(transparent)]
    Address(#[from] ClientError),
    /// A party refused, or cannot be reached.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A party answered something else than what it was asked, or calls itself by another key.
    #[error("{0} answers something that was not asked, or is somebody else")]
    Misfit(PublicKey),
    /// Questions of a restoration got no answer that helps.
    #[error("the bank does not say what became of the tokens: {0}; what was found is kept, try again later")]
    Unanswered(String),
    /// The wallet's thread has died.
    #[error("the wallet's thread has died: start the program again")]
    Died,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Entropy(getrandom::Error),
}

/// The time by this machine's clock.
pub fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).min(Timestamp::MAX)
}

/// Fresh entropy from the system.
pub fn entropy() -> Result<Entropy, getrandom::Error> {
    let mut entropy = Entropy::default();
    getrandom::fill(&mut entropy)?;
    Ok(entropy)
}

impl<S: WalletStore + 'static> Driver<S> {
    /// Drives this wallet. `addresses` says where each party is.
    pub fn new(wallet: Wallet<S>, clients: Clients, addresses: BTreeMap<PublicKey, impl Into<Address>>) -> Self {
        let addresses = addresses.into_iter().map(|(party, address)| (party, address.into())).collect();
        let (wallet, addresses) = (Arc::new(Mutex::new(wallet)), Arc::new(addresses));
        Driver { wallet, clients, addresses, paid_at: Arc::default(), clock: Arc::new(clock) }
    }

    /// Goes by another clock than this machine's.
    pub fn with_clock(self, clock: Clock) -> Self {
        Driver { clock, ..self }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The wallet, for a short look or to begin an operation. Do not hold it over an `.await`.
    pub fn wallet(&self) -> MutexGuard<'_, Wallet<S>> {
        self.wallet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has every event told to `watch` as it happens, on the thread on which it happens.
    pub fn watch(&self, watch: Option<Watch>) {
        self.wallet().watch(watch);
    }

    /// Does something with the wallet on a thread that may block. The time and fresh entropy come along.
    pub async fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Wallet<S>, Timestamp, &Entropy) -> R + Send + 'static,
    ) -> Result<R, DriverError> {
        let wallet = self.wallet.clone();
        let entropy = entropy().map_err(DriverError::Entropy)?;
        let now = self.clock.clone();
        let locked = move || work(&mut wallet.lock().unwrap_or_else(PoisonError::into_inner), now(), &entropy);
        tokio::task::spawn_blocking(locked).await.map_err(|_| DriverError::Died)
    }

    /// Has a purchase paid for at its item's own path, by HTTP 402 and the `Payment` scheme, instead of by a direct call.
    /// It is remembered until the next start only: both ways pay the same sale.
    pub fn pay_at(&self, op: OperationId, item: String) {
        self.paid_at.lock().unwrap_or_else(PoisonError::into_inner).insert(op, item);
    }

    /// As [`run`](Self::run), but a purchase stops when the bank has locked its tokens and nothing is paid yet: then
    /// [`Wallet::payment`] has what pays.
    pub async fn run_to_payment(&self, op: OperationId, until: Option<Instant>) -> Result<Outcome, DriverError> {
        self.run_while(op, until, |entry| entry.step != PAYING).await
    }

    /// Carries the asks of one operation until it has ended, or until the deadline; or, for all but purchases, until the
    /// bank has refused it for a reason that does not pass by itself. Somebody who has no address is one who cannot be
    /// reached.
    pub async fn run(&self, op: OperationId, until: Option<Instant>) -> Result<Outcome, DriverError> {
        self.run_while(op, until, |_| true).await
    }

    async fn run_while(
        &self,
        op: OperationId,
        until: Option<Instant>,
        goes_on: impl Fn(&Entry) -> bool,
    ) -> Result<Outcome, DriverError> {
        let mut heard = Heard::default();
        let mut pause = FIRST_PAUSE;
        loop {
            let Now { asks, events, entry } = self.with(move |wallet, now, _| Now::of(wallet, op, now)).await??;
            heard.note(&events);
            if !heard.is_open(&entry) || !goes_on(&entry) || until.is_some_and(|until| Instant::now() >= until) {
                heard.circuits.iter().for_each(|circuit| self.clients.close(*circuit));
                return Ok(Outcome { entry, refused: heard.refused, unreachable: heard.unreachable });
            }
            if self.carry_round(op, asks, &mut heard, until).await? || events.iter().any(Event::is_progress) {
                pause = FIRST_PAUSE;
                continue;
            }
            let wake = Instant::now() + pause;
            tokio::time::sleep_until(until.map_or(wake, |until| wake.min(until))).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Carries the asks of all operations under way, as [`run`](Self::run) those of one. None waits for another.
    pub async fn run_all(&self, until: Option<Instant>) -> Result<Vec<Outcome>, DriverError> {
        let ops = self.with(|wallet, now, _| wallet.under_way(now)).await?;
        let mut runs = JoinSet::new();
        for op in ops.into_iter().map(|entry| entry.id) {
            let driver = self.clone();
            runs.spawn(async move { driver.run(op, until).await });
        }
        let mut outcomes = BTreeMap::new();
        while let Some(outcome) = runs.join_next().await {
            let outcome = outcome.map_err(|_| DriverError::Died)??;
            outcomes.insert(outcome.entry.id, outcome);
        }
        Ok(outcomes.into_values().collect())
    }

    /// Restores a wallet that was made by [`Wallet::restore`]: question after question, each on a circuit of its own that is
    /// closed afterwards, at random times. There are two rounds of questions, each of which takes about as long as `over`, in
    /// windows of the clock that all wallets have in common, so it may be a while before the first is asked. Zero waits for
    /// nothing, and whoever sees all questions then sees at a glance that they belong together. `told` hears how far it is.
    /// It may be interrupted anywhere, and goes on where it was.
    ///
    /// # Errors
    /// [`DriverError::Unanswered`] if a question gets no answer that helps after [`MAX_UNANSWERED`] in a row.
    pub async fn restore(&self, over: Duration, mut told: impl FnMut(Found)) -> Result<Restored, DriverError> {
        let mut unanswered = 0;
        let over = naulon_statement::Duration(u64::try_from(over.as_millis()).unwrap_or(u64::MAX));
        let now = self.now();
        told(self.with(|wallet, now, _| wallet.restore_progress(now)).await?);
        tokio::time::sleep(Duration::from_millis(restore_begins(now, over).since(now).0)).await;
        loop {
            let (wait, found) = self
                .with(move |wallet, now, entropy| {
                    (wallet.restore_wait(now, over, entropy), wallet.restore_progress(now))
                })
                .await?;
            told(found);
            tokio::time::sleep(Duration::from_millis(wait.0)).await;
            let question = self.with(|wallet, now, entropy| wallet.restore_question(now, entropy)).await??;
            let Some((question, ask)) = question else {
                return Ok(self.with(|wallet, now, entropy| wallet.finish_restore(now, entropy)).await??);
            };
            let answer = self.carry(&ask).await?;
            self.clients.close(ask.circuit);
            match self.with(move |wallet, _, _| wallet.restore_answered(question, answer)).await?? {
                Taken::Yes => unanswered = 0,
                Taken::No(why) if unanswered + 1 == MAX_UNANSWERED => return Err(DriverError::Unanswered(why)),
                Taken::No(_) => unanswered += 1,
            }
        }
    }

    /// Fetches a bank's description, anonymously, and has the wallet accept it.
    pub async fn learn(&self, bank: PublicKey) -> Result<Accepted, DriverError> {
        match self.ask_anonymously(bank, AnyCall::Bank(BankCall::Describe)).await? {
            AnyReply::Bank(BankReply::Description(description)) if description.bank == bank => {
                let accepted = self.with(move |wallet, now, _| wallet.accept_description(description, now)).await??;
                self.learn_counts(bank).await?;
                Ok(accepted)
            }
            _ => Err(DriverError::Misfit(bank)),
        }
    }

    /// Fetches what the bank has counted until its last day, of all its brands. That it does not answer is no error: the
    /// privacy meter says that the counts are withheld.
    async fn learn_counts(&self, bank: PublicKey) -> Result<(), DriverError> {
        let Some(call) = self.with(move |wallet, _, _| wallet.counts_call(&bank)).await? else { return Ok(()) };
        if let Ok(AnyReply::Bank(BankReply::Public(file))) = self.ask_anonymously(bank, AnyCall::Bank(call)).await {
            self.with(move |wallet, _, _| wallet.accept_counts(&bank, &file.bytes)).await?;
        }
        Ok(())
    }

    /// Asks for the balance of the wallet's account at a bank.
    pub async fn account_balance(&self, bank: PublicKey) -> Result<Amount, DriverError> {
        let ask = self.with(move |wallet, now, _| wallet.balance_ask(bank, now)).await??;
        match self.carry(&ask).await?? {
            AnyReply::Bank(BankReply::Balance(balance)) => Ok(balance),
            _ => Err(DriverError::Misfit(bank)),
        }
    }

    /// Asks the bank for receipts of everything that an operation was given and gave up, each on a circuit of its own.
    pub async fn receipts(&self, op: OperationId) -> Result<Vec<(Side, Receipt)>, DriverError> {
        let (bank, calls) = self.with(move |wallet, _, _| wallet.receipt_calls(op)).await??;
        let mut receipts = Vec::with_capacity(calls.len());
        for (side, call) in calls {
            match self.ask_anonymously(bank, AnyCall::Bank(call)).await? {
                AnyReply::Bank(BankReply::Receipt(receipt)) => receipts.push((side, *receipt)),
                _ => return Err(DriverError::Misfit(bank)),
            }
        }
        Ok(receipts)
    }

    /// Fetches what a shop sells, anonymously.
    pub async fn catalogue(&self, shop: PublicKey) -> Result<ShopDescription, DriverError> {
        match self.ask_anonymously(shop, AnyCall::Shop(ShopCall::Describe)).await? {
            AnyReply::Shop(ShopReply::Description(description)) if description.merchant == shop => Ok(description),
            _ => Err(DriverError::Misfit(shop)),
        }
    }

    /// Fetches what a log says of itself, anonymously.
    pub async fn log_description(&self, log: PublicKey) -> Result<LogDescription, DriverError> {
        match self.ask_anonymously(log, AnyCall::Log(LogCall::Describe)).await? {
            AnyReply::Log(LogReply::Description(description)) if description.log == log => Ok(description),
            _ => Err(DriverError::Misfit(log)),
        }
    }

    /// Fetches a fresh offer for an item, anonymously. The wallet verifies it when it buys.
    pub async fn offer(&self, shop: PublicKey, item: String) -> Result<Unverified<GoodsM>, DriverError> {
        match self.ask_anonymously(shop, AnyCall::Shop(ShopCall::Offer { item })).await? {
            AnyReply::Shop(ShopReply::Offer(offer)) if offer.claimed_body().merchant == shop => Ok(*offer),
            _ => Err(DriverError::Misfit(shop)),
        }
    }

    /// Asks on a circuit that is used for this one call.
    async fn ask_anonymously(&self, to: PublicKey, call: AnyCall) -> Result<AnyReply, DriverError> {
        let [a, b, c, d, e, f, g, h, ..] = entropy().map_err(DriverError::Entropy)?;
        let circuit = Circuit::Anonymous(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        let answer = self.carry(&Ask { to, circuit, call }).await?;
        self.clients.close(circuit);
        Ok(answer?)
    }

    async fn carry(&self, ask: &Ask) -> Result<Result<AnyReply, CallError>, DriverError> {
        let address = self.addresses.get(&ask.to).ok_or(DriverError::NoAddress(ask.to))?;
        let client = self.clients.on(ask.circuit, address)?;
        Ok(ask.call.ask(&client).await)
    }

    /// As [`carry`](Self::carry), by the way on which this operation pays.
    async fn carry_for(&self, op: OperationId, ask: &Ask) -> Result<Result<AnyReply, CallError>, DriverError> {
        let item = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner).get(&op).cloned();
        let (Some(item), AnyCall::Shop(ShopCall::Pay(payment))) = (item, &ask.call) else {
            return self.carry(ask).await;
        };
        let address = self.addresses.get(&ask.to).ok_or(DriverError::NoAddress(ask.to))?;
        let client = self.clients.on(ask.circuit, address)?;
        Ok(client.pay_for(&item, payment).await.map(AnyReply::Shop))
    }

    /// Carries these asks at the same time and takes their answers; true if the operation got further. At the deadline
    /// what is on its way is left: asking again is always safe.
    async fn carry_round(
        &self,
        op: OperationId,
        asks: Vec<Ask>,
        heard: &mut Heard,
        until: Option<Instant>,
    ) -> Result<bool, DriverError> {
        let mut calls = JoinSet::new();
        for ask in asks {
            if let Circuit::Anonymous(_) = ask.circuit {
                heard.circuits.insert(ask.circuit);
            }
            let driver = self.clone();
            calls.spawn(async move {
                let unknown = |error: DriverError| CallError::Unreachable(ask.to.to_string(), error.to_string());
                driver.carry_for(op, &ask).await.unwrap_or_else(|error| Err(unknown(error)))
            });
        }
        let mut has_progressed = false;
        let far = Instant::now() + Duration::from_secs(86_400);
        while let Ok(Some(joined)) = tokio::time::timeout_at(until.unwrap_or(far), calls.join_next()).await {
            let answer = joined.map_err(|_| DriverError::Died)?;
            let events = self.with(move |wallet, now, entropy| wallet.answered(op, answer, now, entropy)).await??;
            has_progressed |= events.iter().any(Event::is_progress);
            heard.note(&events);
        }
        Ok(has_progressed)
    }
}

impl<S: WalletStore + 'static> Clone for Driver<S> {
    fn clone(&self) -> Self {
        Driver {
            wallet: self.wallet.clone(),
            clients: self.clients.clone(),
            addresses: self.addresses.clone(),
            paid_at: self.paid_at.clone(),
            clock: self.clock.clone(),
        }
    }
}

/// An operation as it is now.
struct Now {
    asks: Vec<Ask>,
    /// What has happened on the way to these asks.
    events: Vec<Event>,
    entry: Entry,
}

impl Now {
    fn of<S: WalletStore>(wallet: &mut Wallet<S>, op: OperationId, now: Timestamp) -> Result<Self, WalletError> {
        let asks = wallet.asks_of(op, now)?;
        let entry = wallet.operation(op, now)?.ok_or(WalletError::UnknownOperation(op))?;
        Ok(Now { asks, events: wallet.events_of(op), entry })
    }
}

/// What the driver has heard about an operation.
#[derive(Default)]
struct Heard {
    refused: Option<Problem>,
    unreachable: Option<String>,
    /// The anonymous circuits that were used.
    circuits: BTreeSet<Circuit>,
}

impl Heard {
    /// Takes note of the latest events; what was heard before is over once something else has happened.
    fn note(&mut self, events: &[Event]) {
        if !events.is_empty() {
            (self.refused, self.unreachable) = (None, None);
        }
        for event in events {
            match event {
                Event::Refused(problem) => self.refused = Some(problem.clone()),
                Event::Unreachable(why) => self.unreachable = Some(why.clone()),
                _ => {}
            }
        }
    }

    /// Whether to go on asking. A purchase goes on whatever is said: it ends by itself. Others wait for the person when
    /// the bank names a reason that does not pass by itself.
    fn is_open(&self, entry: &Entry) -> bool {
        let waits = self.refused.as_ref().is_some_and(|problem| problem.retry_after.is_none());
        entry.ended.is_none() && (entry.kind == OperationKind::Purchase || !waits)
    }
}
