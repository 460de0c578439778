//! The engine: what is known, what is written, what is to be asked.

mod brands;
mod checks;
mod comparison;
mod delivery;
mod evidence;
mod exchanges;
mod orders;
mod privacy;
mod purchases;
mod recovery;
mod refunds;
mod renewal;
mod replies;
mod restore;
mod rows;
mod tokens;
mod views;

pub use brands::{Accepted, BrandRefusal};
pub use comparison::{Contents, Differences};
pub use evidence::KeptEvidence;
pub use exchanges::{DepositAmount, Keys};
pub use privacy::{FEW_ISSUED, MANY_ISSUED, Privacy, PrivacyLevel, PrivacyReason};
pub use purchases::{BuyOptions, DEFAULT_LOCK, MAX_FETCHES};
pub use renewal::{Countdown, RENEWAL_WINDOW};
pub use restore::{Found, Question, Restored, Taken};
use rows::read_operation;
pub(crate) use views::PAYING;
pub use views::{Balance, Entry, TokenEntry};

use std::collections::BTreeMap;
use std::sync::Arc;

use naulon_blind::KnownBrand;
use naulon_durable::StoreError;
use naulon_exchange::Output;
use naulon_exchange::register::{DaySummary, RegisterEntry, RegisterMemory};
use naulon_statement::{Digest, PublicKey, SecretKey, Timestamp, derive_secret};
use naulon_wire::{AnyReply, Ask, CallError, Circuit};
use zeroize::{Zeroize, Zeroizing};

use crate::blinding::{Blinding, OwnBlinding};
use crate::change::{Change, ONLY};
use crate::check::HeldCheck;
use crate::error::WalletError;
use crate::event::{Event, Watch};
use crate::goods::GoodsDir;
use crate::operation::{End, Ended, Operation, OperationId, Planned, Work};
use crate::peers::{BankTerms, Peers};
use crate::restoring::Restoring;
use crate::seed::Seed;
use crate::store::{Kind, WalletStore, Write};
use crate::token::{Held, TokenState};

/// The codes by which a bank says that it has not done an exchange and does not do it now. Others that are not final may
/// come from somebody else who answers at the bank's address.
const NOT_DONE: &[&str] =
    &["unknown_brand", "brand_not_issuing", "account_full", "unknown_account", "insufficient_funds", "locked"];

/// Fresh bytes from the system, used for one call.
pub type Entropy = [u8; 32];

/// A wallet over its store. It asks nobody by itself: [`asks`](Self::asks) says what to send, and
/// [`answered`](Self::answered) takes what came of it.
pub struct Wallet<S: WalletStore> {
    store: S,
    goods: Box<dyn GoodsDir>,
    peers: Peers,
    seed: Seed,
    next: u64,
    terms: BTreeMap<PublicKey, BankTerms>,
    /// What was seen of the banks' registers.
    registers: BTreeMap<PublicKey, RegisterMemory>,
    /// Where the sums of the banks' last days stand, and these sums. They are public, and asked for anew after a start.
    last_days: BTreeMap<PublicKey, (u64, RegisterEntry)>,
    counts: BTreeMap<PublicKey, DaySummary>,
    brands: BTreeMap<Digest, Arc<KnownBrand>>,
    indices: BTreeMap<Digest, u32>,
    /// The bank certainly knows the indices below.
    known: BTreeMap<Digest, u32>,
    restoring: Option<Restoring>,
    /// By bank, the next index of a key that several tokens share.
    keys: BTreeMap<PublicKey, u32>,
    tokens: BTreeMap<PublicKey, Held>,
    /// By number.
    checks: BTreeMap<u32, HeldCheck>,
    next_check: u32,
    /// Those under way.
    operations: BTreeMap<OperationId, Operation>,
    /// What is remembered of operations under way until the next start only.
    tracks: BTreeMap<OperationId, Track>,
    /// The newest checkpoint of each log that came with a decision.
    trees: BTreeMap<PublicKey, String>,
    /// When the account was last named by what is no operation.
    named: Option<Timestamp>,
    /// Evidence that was found, until somebody takes it.
    kept: Vec<KeptEvidence>,
    events: Vec<(OperationId, Event)>,
    watch: Option<Watch>,
    blinding: Arc<dyn Blinding>,
    /// A write failed in a way that leaves open whether it happened.
    lost: bool,
}

/// Blinded outputs, where their secrets come from, and the changes that commit their indices.
#[derive(Default)]
struct Plan {
    outputs: Vec<Output>,
    planned: Vec<Planned>,
    changes: Vec<Change>,
}

/// What may be forgotten of an operation at any time.
#[derive(Clone, Default)]
struct Track {
    /// Whom to ask next where there are two ways: false the first, true the second.
    other_way: bool,
    /// The way is to the bank.
    by_bank: bool,
    /// Where the piece of goods that was asked for begins.
    piece: Option<u64>,
    /// How often the goods were fetched in vain.
    fetches: u32,
    /// A local step failed, and is not tried again before then.
    not_before: Timestamp,
    /// The code of the last refusal.
    refused: Option<String>,
}

impl<S: WalletStore> Wallet<S> {
    /// Creates a wallet with this seed in an empty store.
    pub fn create(
        mut store: S,
        seed: &Seed,
        peers: Peers,
        goods: impl GoodsDir + 'static,
    ) -> Result<Self, WalletError> {
        if store.load(Kind::Seed, ONLY)?.is_some() {
            return Err(WalletError::Exists);
        }
        let mut row = [Write::Put { kind: Kind::Seed, key: ONLY.to_vec(), value: seed.as_bytes().to_vec() }];
        let written = store.commit(&row);
        if let [Write::Put { value, .. }] = &mut row {
            value.zeroize();
        }
        written?;
        Self::open(store, peers, goods)
    }

    /// Opens the wallet in a store. Everything that was under way goes on with the next [`asks`](Self::asks).
    pub fn open(mut store: S, peers: Peers, goods: impl GoodsDir + 'static) -> Result<Self, WalletError> {
        let seed = store.load(Kind::Seed, ONLY)?.map(Zeroizing::new).ok_or(WalletError::NoWallet)?;
        let seed = <[u8; 64]>::try_from(seed.as_slice()).map_err(|_| WalletError::Damaged("seed"))?;
        let counter = store.load(Kind::Counter, ONLY)?.unwrap_or_else(|| 1u64.to_be_bytes().to_vec());
        let next = counter.try_into().map(u64::from_be_bytes).map_err(|_| WalletError::Damaged("counter"))?;
        let mut wallet = Wallet {
            seed: Seed::from_bytes(seed),
            goods: Box::new(goods),
            peers,
            next,
            terms: BTreeMap::new(),
            registers: BTreeMap::new(),
            last_days: BTreeMap::new(),
            counts: BTreeMap::new(),
            brands: BTreeMap::new(),
            indices: BTreeMap::new(),
            known: BTreeMap::new(),
            restoring: None,
            keys: BTreeMap::new(),
            tokens: BTreeMap::new(),
            checks: BTreeMap::new(),
            next_check: 0,
            operations: BTreeMap::new(),
            tracks: BTreeMap::new(),
            trees: BTreeMap::new(),
            named: None,
            kept: Vec::new(),
            events: Vec::new(),
            watch: None,
            blinding: Arc::new(OwnBlinding),
            lost: false,
            store,
        };
        wallet.load()?;
        Ok(wallet)
    }

    /// Has every event told to `watch` as it happens, in the place of whom it was told to before.
    pub fn watch(&mut self, watch: Option<Watch>) {
        self.watch = watch;
    }

    /// Has the arithmetic of blinding done by somebody else from now on, who learns everything that makes tokens unlinkable.
    pub fn blind_by(&mut self, blinding: Arc<dyn Blinding>) {
        self.blinding = blinding;
    }

    /// The key of this wallet's account at a bank.
    pub fn account(&self, bank: &PublicKey) -> PublicKey {
        self.account_key(bank).public()
    }

    /// The pinned parties.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// What to send now for every unfinished operation, after the steps that need nobody else have been taken (a purchase
    /// is authorised, goods are decrypted). Repeating it is always safe: the same request gets the same reply.
    pub fn asks(&mut self, now: Timestamp) -> Result<Vec<(OperationId, Ask)>, WalletError> {
        self.check_usable()?;
        let under_way: Vec<OperationId> = self.operations.keys().copied().collect();
        let mut asks = Vec::new();
        for id in under_way {
            asks.extend(self.asks_of(id, now)?.into_iter().map(|ask| (id, ask)));
        }
        Ok(asks)
    }

    /// As [`asks`](Self::asks), for one operation; nothing if it has ended.
    pub fn asks_of(&mut self, op: OperationId, now: Timestamp) -> Result<Vec<Ask>, WalletError> {
        self.check_usable()?;
        self.advance(op, now)?;
        let Some(operation) = self.operations.get(&op).cloned() else { return Ok(Vec::new()) };
        match &operation.work {
            Work::OpenAccount(request) => Ok(vec![exchanges::open_ask(operation.bank, request)]),
            Work::Exchange(exchanging) => Ok(vec![self.exchange_ask(&operation, exchanging)]),
            Work::Purchase(purchase) => self.purchase_asks(&operation, purchase, now),
            Work::Recovery(recovery) => Ok(self.recovery_asks(&operation, recovery, now)),
            Work::Refund(refund) => Ok(self.refund_asks(&operation, refund)),
            Work::Reclaim(reclaiming) => Ok(self.reclaim_asks(&operation, reclaiming, now)),
        }
    }

    /// Takes the answer to a call of an operation: what follows from it is written before this returns. An answer that
    /// is late, repeated, or for an operation that has ended changes nothing. `entropy` is fresh, for steps that draw
    /// randomness; none does today.
    pub fn answered(
        &mut self,
        op: OperationId,
        answer: Result<AnyReply, CallError>,
        now: Timestamp,
        _entropy: &Entropy,
    ) -> Result<Vec<Event>, WalletError> {
        self.check_usable()?;
        if let Some(operation) = self.operations.get(&op).cloned() {
            self.take_answer(operation, answer, now)?;
            self.advance(op, now)?;
        }
        Ok(self.events_of(op))
    }

    /// What has happened to one operation within [`asks_of`](Self::asks_of) since the last call of this.
    pub fn events_of(&mut self, op: OperationId) -> Vec<Event> {
        let (of_this, others) = std::mem::take(&mut self.events).into_iter().partition(|(id, _)| *id == op);
        self.events = others;
        let of_this: Vec<(OperationId, Event)> = of_this;
        of_this.into_iter().map(|(_, event)| event).collect()
    }

    /// What has happened within [`asks`](Self::asks) since the last call of this.
    pub fn events(&mut self) -> Vec<(OperationId, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Gives an operation up: a purchase before it is authorised, or an exchange that the bank has refused for the time
    /// being. Its tokens are free again. A refusal that may be another party's than the bank's is not enough: the bank may
    /// have done the exchange all the same.
    ///
    /// Should the bank accept a copy of that exchange later (one that was held up on the way), [`take_up`](Self::take_up)
    /// gets what it delivered.
    pub fn give_up(&mut self, op: OperationId, now: Timestamp) -> Result<(), WalletError> {
        self.check_usable()?;
        let mut operation = self.operations.get(&op).cloned().ok_or(WalletError::UnknownOperation(op))?;
        let how = match &mut operation.work {
            Work::Purchase(purchase) => {
                purchase.buyer.give_up().map_err(|_| WalletError::NotNow(op))?;
                End::Purchase(naulon_purchase::Ending::GivenUp)
            }
            Work::Recovery(_) => return Err(WalletError::NotNow(op)),
            // Nothing of it is this wallet's before the bank has done it.
            Work::Reclaim(_) => End::GivenUp("given_up".to_owned()),
            // Nobody can have anything of it done yet.
            Work::Refund(refund) if refund.exchange.is_none() => End::GivenUp("no_refund".to_owned()),
            Work::OpenAccount(_) | Work::Exchange(_) | Work::Refund(_) => {
                let refused = self.tracks.get(&op).and_then(|track| track.refused.clone());
                let refused = refused.filter(|code| NOT_DONE.contains(&code.as_str()));
                End::GivenUp(refused.ok_or(WalletError::NotNow(op))?)
            }
        };
        self.discard_goods(&operation, now)?;
        let voided = self.voided_by(&operation);
        self.end(operation, how, now, voided, Vec::new())
    }

    /// Forgets a purchase that has ended, with all its evidence (AAT §5: the buyer discards it when satisfied). The bought
    /// file stays where it is. What is discarded can be shown to no judge any more.
    pub fn discard(&mut self, op: OperationId) -> Result<(), WalletError> {
        self.check_usable()?;
        if self.operations.contains_key(&op) {
            return Err(WalletError::NotNow(op));
        }
        let operation = self.past(op)?.ok_or(WalletError::UnknownOperation(op))?;
        let purchase = operation.purchase().ok_or(WalletError::NotNow(op))?;
        // The encrypted goods of a fraud were kept for the judge. They go first: afterwards nobody would look for them.
        self.goods.discard(&purchase.offer())?;
        self.commit(vec![Change::Discarded(op)])
    }

    /// Takes an operation up again that was given up or refused: the same request is made again, with the same outputs.
    pub fn take_up(&mut self, op: OperationId) -> Result<(), WalletError> {
        self.check_usable()?;
        let mut operation = self.past(op)?.ok_or(WalletError::UnknownOperation(op))?;
        let is_lost = matches!(&operation.ended, Some(Ended { how: End::Lost, .. }));
        let again = matches!(&operation.ended, Some(Ended { how: End::GivenUp(_) | End::Refused(_), .. }));
        if !is_lost && (!again || operation.purchase().is_some()) {
            return Err(WalletError::NotNow(op));
        }
        operation.ended = None;
        let mut changes = Vec::new();
        if let Work::Exchange(exchanging) = &operation.work {
            let inputs = exchanging.request.claimed_body().tokens().map(|token| PublicKey(*token.nonce()));
            let free = inputs.filter_map(|q| self.tokens.get(&q)).filter(|held| held.state == TokenState::Free);
            changes.extend(free.map(|held| Change::Token(Held { state: TokenState::Reserved(op), ..held.clone() })));
        }
        changes.push(Change::Operation(Box::new(operation)));
        self.commit(changes)
    }

    /// Writes an operation as ended; tokens that are still set aside for it are free again. The events are told then.
    fn end(
        &mut self,
        mut operation: Operation,
        how: End,
        at: Timestamp,
        mut changes: Vec<Change>,
        events: Vec<Event>,
    ) -> Result<(), WalletError> {
        let id = operation.id;
        let decided: Vec<PublicKey> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Token(held) => Some(held.q()),
                Change::Gone(q) => Some(*q),
                _ => None,
            })
            .collect();
        let left = self.reserved(id).filter(|held| !decided.contains(&held.q()));
        changes.extend(left.map(|held| Change::Token(Held { state: TokenState::Free, ..held.clone() })));
        operation.ended = Some(Ended { at, how: how.clone() });
        changes.push(Change::Operation(Box::new(operation)));
        self.commit(changes)?;
        for event in events.into_iter().chain([Event::Ended(how)]) {
            self.emit(id, event);
        }
        Ok(())
    }

    fn emit(&mut self, op: OperationId, event: Event) {
        if let Some(watch) = &mut self.watch {
            watch(op, &event);
        }
        if !event.is_tick() {
            self.events.push((op, event));
        }
    }

    /// Takes note of a failure on this machine that concerns one operation; a store or machine that is gone concerns all.
    fn local_failure(&mut self, op: OperationId, error: StoreError, now: Timestamp) -> Result<(), WalletError> {
        if error == StoreError::Crashed {
            self.lost = true;
            return Err(error.into());
        }
        self.track(op).not_before = now.plus(purchases::LOCAL_RETRY);
        self.emit(op, Event::Trouble(error.to_string()));
        Ok(())
    }

    fn track(&mut self, op: OperationId) -> &mut Track {
        self.tracks.entry(op).or_default()
    }

    fn account_key(&self, bank: &PublicKey) -> SecretKey {
        self.seed.account(bank)
    }

    fn terms_of(&self, bank: &PublicKey) -> Result<&BankTerms, WalletError> {
        if !self.peers.banks.contains_key(bank) {
            return Err(WalletError::UnknownBank(*bank));
        }
        self.terms.get(bank).ok_or(WalletError::NoTerms)
    }

    fn reserved(&self, op: OperationId) -> impl Iterator<Item = &Held> {
        self.tokens.values().filter(move |held| held.state == TokenState::Reserved(op))
    }

    /// The changes that begin an operation with the next number.
    fn begin(&self, bank: PublicKey, begun: Timestamp, entropy: &Entropy, work: Work) -> (OperationId, Vec<Change>) {
        let id = OperationId(self.next);
        let mut circuit = [0; 8];
        derive_secret(entropy, &[b"naulon/wallet/circuit"], &mut circuit);
        let circuit = u64::from_be_bytes(circuit);
        let operation = Operation { id, bank, circuit, begun, work, ended: None };
        (id, vec![Change::Counter(self.next.saturating_add(1)), Change::Operation(Box::new(operation))])
    }
}

/// A circuit of its own for an operation that must not be linked to the account.
fn anonymous(operation: &Operation) -> Circuit {
    Circuit::Anonymous(operation.circuit)
}
