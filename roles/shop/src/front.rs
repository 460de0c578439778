//! The shop behind HTTP: it answers buyers, and carries the shop's own calls to log and bank.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use naulon_durable::executor::{Executor, ExecutorError, Limits, WorkerDied};
use naulon_exchange::{AuthorizationB, Header};
use naulon_purchase::{MerchantRules, Payment, UnverifiedPayment};
use naulon_statement::{PublicKey, Timestamp, Unverified};
use naulon_wire::{Address, AnyReply, Ask, CallError, Clients, Problem, Service, ShopCall, ShopReply};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::shelf::Shelf;
use crate::shop::{Shop, reply_about};
use crate::store::{SaleId, ShopStore};
use crate::till::Till;
use crate::trouble::Trouble;

/// How many calls may wait, and how many share one commit.
pub const LIMITS: Limits = Limits { queue: 4096, batch: 256 };
/// How long a buyer waits for the log's decision, before it is told that none is known yet. Below the time limit of its
/// own call.
pub const PAY_WAIT: Duration = Duration::from_secs(15);
/// How often the front looks for calls that are due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The most sales that are driven at once by the background task.
const MAX_UNDER_WAY: usize = 64;
/// How often the front looks for sales that are over, and how many it forgets at once.
const PRUNE_EVERY: Duration = Duration::from_secs(10);
const PRUNE_BATCH: usize = 1_000;
/// How long the front waits before it asks a bank again to open the account.
const OPENING_PAUSE: Duration = Duration::from_secs(5);

/// A shop as a service. Clones are handles on the same shop.
#[derive(Clone)]
pub struct ShopFront(Arc<Inner>);

struct Inner {
    rules: MerchantRules,
    executor: Executor<Job, Done>,
    shelf: Arc<dyn Shelf + Sync>,
    till: Till,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    carrier: Carrier,
    /// The sales about which a call is under way.
    under_way: Mutex<BTreeSet<SaleId>>,
    /// The tasks in the background.
    tasks: Mutex<Vec<AbortHandle>>,
}

/// Carries calls to other parties.
struct Carrier {
    clients: Clients,
    addresses: BTreeMap<PublicKey, Address>,
}

/// What the shop's thread is asked to do.
enum Job {
    Call(ShopCall),
    Pay(Box<Payment>),
    /// The payment that a bank's promise makes of an order.
    Promised(Box<(Unverified<Header>, Unverified<AuthorizationB>)>),
    /// To forget what is over.
    Prune(naulon_statement::Duration),
    Answer(SaleId, Box<Result<AnyReply, CallError>>),
    /// What is due, but for these sales.
    Asks(BTreeSet<SaleId>),
}

/// What it has done.
enum Done {
    Reply(Result<ShopReply, Problem>),
    /// To `Pay` and `Answer`: the sale, what its buyer is told, and what is to be asked about it now.
    Sale(Result<(SaleId, ShopReply, Option<Ask>), Problem>),
    Asks(Vec<(SaleId, Ask)>),
    Payment(Result<Box<UnverifiedPayment>, Problem>),
}

impl ShopFront {
    /// Puts the shop on a thread of its own, with the system's clock and entropy; opens its account at every bank; and
    /// takes up all sales that are not settled. `addresses` says where banks and logs are.
    ///
    /// Call it within a tokio runtime.
    pub fn start<S, G>(shop: Shop<S, G>, addresses: BTreeMap<PublicKey, impl Into<Address>>) -> Self
    where
        S: ShopStore + 'static,
        G: Shelf + Clone + Sync + 'static,
    {
        Self::start_with(shop, addresses, LIMITS, system_time)
    }

    /// As [`start`](Self::start), with other limits and another clock.
    pub fn start_with<S, G>(
        mut shop: Shop<S, G>,
        addresses: BTreeMap<PublicKey, impl Into<Address>>,
        limits: Limits,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self
    where
        S: ShopStore + 'static,
        G: Shelf + Clone + Sync + 'static,
    {
        let rules = shop.rules().clone();
        let shelf: Arc<dyn Shelf + Sync> = Arc::new(shop.shelf().clone());
        let openings = shop.openings();
        let addresses = addresses.into_iter().map(|(party, address)| (party, address.into())).collect();
        let till = shop.till().clone();
        let clock: Arc<dyn Fn() -> Timestamp + Send + Sync> = Arc::new(clock);
        let of_worker = Arc::clone(&clock);
        let executor = Executor::spawn("shop-store", limits, move |jobs| work(&mut shop, jobs, of_worker()));
        let carrier = Carrier { clients: Clients::default(), addresses };
        let (under_way, tasks) = (Mutex::default(), Mutex::default());
        let inner = Inner { rules, executor, shelf, till, clock, carrier, under_way, tasks };
        let front = ShopFront(Arc::new(inner));
        let weak = Arc::downgrade(&front.0);
        front.0.spawn(take_up(weak.clone()));
        for opening in openings {
            front.0.spawn(open_account(weak.clone(), opening));
        }
        front
    }

    /// Forgets sales and orders in the background, once they are over for so long (AAT §5). Call it within a tokio runtime.
    pub fn forget_after(&self, keep_for: naulon_statement::Duration) {
        self.0.spawn(prune(Arc::downgrade(&self.0), keep_for));
    }

    /// Takes no more calls, finishes those that queue, and gives the store up. Sales that are under way are taken up at
    /// the next start. It blocks until then.
    ///
    /// # Errors
    /// [`WorkerDied`] if the shop's thread had panicked.
    pub fn stop(&self) -> Result<(), WorkerDied> {
        for task in lock(&self.0.tasks).drain(..) {
            task.abort();
        }
        self.0.executor.stop()
    }
}

impl Service<ShopCall> for ShopFront {
    async fn call(&self, call: ShopCall) -> Result<ShopReply, Problem> {
        match call {
            ShopCall::Goods { digest, range } => {
                // Apart from the shop's thread: reading a disk must not keep payments waiting.
                let shelf = Arc::clone(&self.0.shelf);
                let piece = off_the_async_threads(move || shelf.read(&digest, range)).await?;
                Ok(ShopReply::Goods(piece.map_err(Trouble::from)?))
            }
            ShopCall::Pay(payment) => {
                let rules = self.0.rules.clone();
                let payment = off_the_async_threads(move || payment.verify(&rules)).await??;
                self.0.pay(payment).await
            }
            ShopCall::Item { item, authorization } => {
                let inner = Arc::clone(&self.0);
                let admit = move || {
                    let (stocked, now) = (inner.shelf.item(&item).ok_or(Trouble::UnknownItem)?, (inner.clock)());
                    let payment = inner.till.admit(&stocked, authorization.as_deref(), now)?;
                    Ok::<_, Problem>((payment.verify(&inner.rules)?, stocked))
                };
                let (payment, stocked) = off_the_async_threads(admit).await??;
                let reply = self.0.pay(payment).await?;
                self.0.till.hand_over(reply, &stocked, (self.0.clock)())
            }
            ShopCall::Promise { header, authorization_b } => {
                let payment = match self.0.submit(Job::Promised(Box::new((header, authorization_b)))).await? {
                    Done::Payment(payment) => payment?,
                    Done::Reply(_) | Done::Sale(_) | Done::Asks(_) => return Err(other_answer()),
                };
                let rules = self.0.rules.clone();
                let payment = off_the_async_threads(move || payment.verify(&rules)).await??;
                self.0.pay(payment).await
            }
            ShopCall::Describe
            | ShopCall::Offer { .. }
            | ShopCall::Taken(_)
            | ShopCall::Order(_)
            | ShopCall::Refund(_) => match self.0.submit(Job::Call(call)).await? {
                Done::Reply(reply) => reply,
                Done::Sale(_) | Done::Asks(_) | Done::Payment(_) => Err(other_answer()),
            },
        }
    }
}

impl Inner {
    /// Takes a payment, and waits for the log's decision.
    async fn pay(self: &Arc<Self>, payment: Payment) -> Result<ShopReply, Problem> {
        let (sale, reply, ask) = self.submit_sale(Job::Pay(Box::new(payment))).await?;
        let (Some(ask), Some(claim)) = (ask, self.claim(sale)) else { return Ok(reply) };
        if matches!(reply, ShopReply::Decision(_)) {
            self.spawn(drive(claim, ask, None));
            return Ok(reply);
        }
        // The sale goes on by itself: a buyer that goes away does not stop it.
        let (decided, decision) = oneshot::channel();
        self.spawn(drive(claim, ask, Some(decided)));
        match tokio::time::timeout(PAY_WAIT, decision).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) | Err(_) => Ok(ShopReply::Pending),
        }
    }

    async fn submit(&self, job: Job) -> Result<Done, Problem> {
        self.executor.submit(job).await.map_err(|error| match error {
            ExecutorError::Busy => Problem::new("busy", error),
            ExecutorError::Stopped => Problem::new("unavailable", error),
        })
    }

    async fn submit_sale(&self, job: Job) -> Result<(SaleId, ShopReply, Option<Ask>), Problem> {
        match self.submit(job).await? {
            Done::Sale(sale) => sale,
            Done::Reply(_) | Done::Asks(_) | Done::Payment(_) => Err(other_answer()),
        }
    }

    /// The right to drive a sale, if nobody has it.
    fn claim(self: &Arc<Self>, sale: SaleId) -> Option<Claim> {
        lock(&self.under_way).insert(sale).then(|| Claim { inner: Arc::clone(self), sale })
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(task).abort_handle();
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }
}

/// The right to drive a sale; given back when dropped.
struct Claim {
    inner: Arc<Inner>,
    sale: SaleId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.inner.under_way).remove(&self.sale);
    }
}

/// Asks about a sale as long as each answer brings something new. Says the decision to whoever waits for it, as soon as it
/// is there. Everything is written down by the shop, so this may be cut off at any point.
async fn drive(claim: Claim, first: Ask, mut decided: Option<oneshot::Sender<ShopReply>>) {
    let mut next = Some(first);
    while let Some(ask) = next {
        let answer = claim.inner.carrier.carry(&ask).await;
        match claim.inner.submit_sale(Job::Answer(claim.sale, Box::new(answer))).await {
            Ok((_, reply, ask)) => {
                if let (ShopReply::Decision(_), Some(decided)) = (&reply, decided.take()) {
                    // The buyer may have gone.
                    let _ = decided.send(reply);
                }
                next = ask;
            }
            Err(problem) => {
                // Which sale and which parties it was is nobody's business but the shop's: it is in its store.
                tracing::warn!(
                    code = problem.code,
                    "an answer about a sale was not taken; the call is made again later"
                );
                next = None;
            }
        }
    }
}

/// Drives every sale that is due, for as long as the shop is there.
async fn take_up(inner: Weak<Inner>) {
    loop {
        let Some(front) = inner.upgrade() else { return };
        // A shop that is too busy to say what is due is asked again.
        let under_way = lock(&front.under_way).clone();
        if let Ok(Done::Asks(asks)) = front.submit(Job::Asks(under_way)).await {
            for (sale, ask) in asks {
                if lock(&front.under_way).len() >= MAX_UNDER_WAY {
                    break;
                }
                if let Some(claim) = front.claim(sale) {
                    front.spawn(drive(claim, ask, None));
                }
            }
        }
        drop(front);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Forgets what is over, for as long as the shop is there.
async fn prune(inner: Weak<Inner>, keep_for: naulon_statement::Duration) {
    while let Some(front) = inner.upgrade() {
        // A shop that is too busy forgets later.
        let _ = front.submit(Job::Prune(keep_for)).await;
        drop(front);
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

/// Asks one bank to open the shop's account, until it has.
async fn open_account(inner: Weak<Inner>, opening: Ask) {
    while let Some(front) = inner.upgrade() {
        match front.carrier.carry(&opening).await {
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, "the shop's account could not be opened; it is tried again"),
        }
        drop(front);
        tokio::time::sleep(OPENING_PAUSE).await;
    }
}

impl Carrier {
    async fn carry(&self, ask: &Ask) -> Result<AnyReply, CallError> {
        let unknown = || CallError::Unreachable("a party".to_owned(), "it has no address in the settings".to_owned());
        let address = self.addresses.get(&ask.to).ok_or_else(unknown)?;
        let client = self.clients.on(ask.circuit, address);
        let client = client.map_err(|error| CallError::Unreachable(address.url.clone(), error.to_string()))?;
        ask.call.ask(&client).await
    }
}

/// Takes all payments of the batch in one commit, then all answers in one; then the rest. One result for each job, in order.
fn work<S: ShopStore, G: Shelf>(shop: &mut Shop<S, G>, jobs: Vec<Job>, now: Timestamp) -> Vec<Done> {
    enum Place {
        Payment,
        Answer(SaleId),
        Other(Job),
    }
    let (mut payments, mut answers) = (Vec::new(), Vec::new());
    let mut places = Vec::with_capacity(jobs.len());
    for job in jobs {
        places.push(match job {
            Job::Pay(payment) => {
                payments.push(*payment);
                Place::Payment
            }
            Job::Answer(sale, answer) => {
                answers.push((sale, *answer));
                Place::Answer(sale)
            }
            job @ (Job::Call(_) | Job::Asks(_) | Job::Promised(_) | Job::Prune(_)) => Place::Other(job),
        });
    }
    let mut paid = shop.pay(payments, now).into_iter();
    let mut taken = shop.take_answers(answers, now).into_iter();
    let done = |place| match place {
        Place::Payment => Done::Sale(match paid.next() {
            Some(Ok((sale, reply))) => Ok((sale, reply, shop.ask_of(&sale))),
            Some(Err(problem)) => Err(problem),
            None => Err(other_answer()),
        }),
        Place::Answer(sale) => Done::Sale(match taken.next() {
            Some(Ok(())) => about(shop, sale, now),
            Some(Err(problem)) => Err(problem),
            None => Err(other_answer()),
        }),
        Place::Other(Job::Call(call)) => Done::Reply(shop.handle(call, now, &mut system_entropy)),
        Place::Other(Job::Asks(under_way)) => {
            let free = MAX_UNDER_WAY.saturating_sub(under_way.len());
            Done::Asks(shop.asks_but(now, free, |sale| under_way.contains(sale)))
        }
        Place::Other(Job::Promised(promise)) => Done::Payment(shop.promised(promise.0, promise.1).map(Box::new)),
        Place::Other(Job::Prune(keep_for)) => {
            match shop.prune(keep_for, now, PRUNE_BATCH) {
                Ok(0) => {}
                Ok(pruned) => tracing::info!(pruned, "sales and orders that are over were forgotten"),
                Err(error) => tracing::warn!(%error, "what is over could not be forgotten; it is tried again"),
            }
            Done::Asks(Vec::new())
        }
        Place::Other(Job::Pay(_) | Job::Answer(..)) => Done::Reply(Err(other_answer())),
    };
    places.into_iter().map(done).collect()
}

/// Where a sale stands after an answer. It is asked on at once only if the answer brought something: else it waits.
fn about<S: ShopStore, G: Shelf>(
    shop: &Shop<S, G>,
    sale: SaleId,
    now: Timestamp,
) -> Result<(SaleId, ShopReply, Option<Ask>), Problem> {
    let stands = shop.sale(&sale).map_err(Trouble::from)?.ok_or(Trouble::UnknownSale(sale))?;
    let is_due = shop.is_due(&sale, now);
    Ok((sale, reply_about(&stands), shop.ask_of(&sale).filter(|_| is_due)))
}

async fn off_the_async_threads<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| other_answer())
}

fn other_answer() -> Problem {
    Problem::new("internal", "the shop did not answer")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn system_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).min(Timestamp::MAX)
}

fn system_entropy(bytes: &mut [u8]) {
    // Without entropy there are no offers, and nothing else a shop could do about it.
    getrandom::fill(bytes).expect("the system gives random bytes");
}
