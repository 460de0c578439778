//! The engine: what is known, what is written, what is to be asked.

mod brands;
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
mod views;

pub use brands::{Accepted, BrandRefusal};
pub use comparison::{Contents, Differences};
pub use evidence::KeptEvidence;
pub use exchanges::{DepositAmount, Keys};
pub use privacy::{FEW_ISSUED, MANY_ISSUED, Privacy, PrivacyLevel, PrivacyReason};
pub use purchases::{BuyOptions, DEFAULT_LOCK, MAX_FETCHES};
pub use renewal::{Countdown, RENEWAL_WINDOW};
pub use restore::{Found, Question, Restored, Taken};
pub(crate) use views::PAYING;
pub use views::{Balance, Entry, TokenEntry};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use naulon_blind::{Brand, KnownBrand};
use naulon_durable::{Retry, StoreError};
use naulon_exchange::register::{DaySummary, RegisterEntry, RegisterMemory};
use naulon_exchange::{Exchange, Input, Output};
use naulon_money::{Amount, Grid};
use naulon_statement::{Digest, Joint, PublicKey, SecretKey, Timestamp, Unverified, cbor, derive_secret};
use naulon_wire::{AnyReply, Ask, CallError, Circuit};
use zeroize::{Zeroize, Zeroizing};

use crate::blinding::{Blinding, OwnBlinding};
use crate::change::{Change, ONLY};
use crate::error::WalletError;
use crate::event::{Event, Watch};
use crate::goods::GoodsDir;
use crate::operation::{End, Ended, Operation, OperationId, Planned, Work};
use crate::peers::{BankTerms, Peers};
use crate::restoring::{GAP_LIMIT, Restoring};
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
    /// Those under way.
    operations: BTreeMap<OperationId, Operation>,
    /// What is remembered of operations under way until the next start only.
    tracks: BTreeMap<OperationId, Track>,
    /// The newest checkpoint of each log that came with a decision.
    trees: BTreeMap<PublicKey, String>,
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
            operations: BTreeMap::new(),
            tracks: BTreeMap::new(),
            trees: BTreeMap::new(),
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
            // Nobody can have anything of it done yet.
            Work::Refund(refund) if refund.exchange.is_none() => End::GivenUp("no_refund".to_owned()),
            Work::OpenAccount(_) | Work::Exchange(_) | Work::Refund(_) => {
                let refused = self.tracks.get(&op).and_then(|track| track.refused.clone());
                let refused = refused.filter(|code| NOT_DONE.contains(&code.as_str()));
                End::GivenUp(refused.ok_or(WalletError::NotNow(op))?)
            }
        };
        self.discard_goods(&operation, now)?;
        self.end(operation, how, now, Vec::new(), Vec::new())
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

    fn load(&mut self) -> Result<(), WalletError> {
        for (key, value) in self.store.list(Kind::Bank)? {
            let bank = PublicKey(fixed(&key, "bank")?);
            self.terms.insert(bank, cbor::from_slice(&value).map_err(|_| WalletError::Damaged("bank"))?);
        }
        for (key, value) in self.store.list(Kind::Register)? {
            let bank = PublicKey(fixed(&key, "register")?);
            self.registers.insert(bank, cbor::from_slice(&value).map_err(|_| WalletError::Damaged("register"))?);
        }
        for (key, value) in self.store.list(Kind::Tree)? {
            let note = String::from_utf8(value).map_err(|_| WalletError::Damaged("tree"))?;
            self.trees.insert(PublicKey(fixed(&key, "tree")?), note);
        }
        for (_, value) in self.store.list(Kind::Brand)? {
            let signed = Unverified::<Brand>::parse(&value).map_err(|_| WalletError::Damaged("brand"))?;
            let known = KnownBrand::new(signed.from_own_store().into_body());
            let known = known.map_err(|_| WalletError::Damaged("brand"))?;
            self.brands.insert(Digest(*known.key_id()), Arc::new(known));
        }
        for (key, value) in self.store.list(Kind::Index)? {
            let next = u32::from_be_bytes(fixed(&value, "index")?);
            self.indices.insert(Digest(fixed(&key, "index")?), next);
        }
        for (key, value) in self.store.list(Kind::Known)? {
            let next = u32::from_be_bytes(fixed(&value, "index")?);
            self.known.insert(Digest(fixed(&key, "index")?), next);
        }
        self.restoring = Restoring::read(self.store.list(Kind::Restoring)?)?;
        for (key, value) in self.store.list(Kind::Key)? {
            let next = u32::from_be_bytes(fixed(&value, "key")?);
            self.keys.insert(PublicKey(fixed(&key, "key")?), next);
        }
        for (_, value) in self.store.list(Kind::Token)? {
            let held: Held = cbor::from_slice(&value).map_err(|_| WalletError::Damaged("token"))?;
            self.tokens.insert(held.q(), held);
        }
        for (key, value) in self.store.list(Kind::Operation)? {
            let operation = read_operation(&key, &value)?;
            self.operations.insert(operation.id, operation);
        }
        Ok(())
    }

    /// An operation that has ended.
    fn past(&mut self, op: OperationId) -> Result<Option<Operation>, WalletError> {
        let key = op.0.to_be_bytes();
        let row = self.store.load(Kind::Past, &key)?;
        row.map(|row| read_operation(&key, &row)).transpose()
    }

    fn check_usable(&self) -> Result<(), WalletError> {
        if self.lost { Err(WalletError::Reopen) } else { Ok(()) }
    }

    /// As [`check_usable`](Self::check_usable), for what begins something.
    fn check_whole(&self) -> Result<(), WalletError> {
        self.check_usable()?;
        if self.restoring.is_some() { Err(WalletError::Restoring) } else { Ok(()) }
    }

    /// Writes the changes in one transaction, and then makes them in memory.
    fn commit(&mut self, changes: Vec<Change>) -> Result<(), WalletError> {
        let writes: Vec<Write> = changes.iter().flat_map(Change::writes).collect();
        if let Err(error) = self.store.commit(&writes) {
            self.lost = error.retry() == Retry::AfterReopening;
            return Err(error.into());
        }
        for change in changes {
            match change {
                Change::Counter(next) => self.next = next,
                Change::Terms(bank, terms) => {
                    self.terms.insert(bank, terms);
                }
                Change::Register(bank, memory) => {
                    self.registers.insert(bank, memory);
                }
                Change::Tree(log, note) => {
                    self.trees.insert(log, note);
                }
                Change::Brand(_, known) => {
                    self.brands.insert(Digest(*known.key_id()), known);
                }
                Change::Index(brand, next) => {
                    self.indices.insert(brand, next);
                }
                Change::Key(bank, next) => {
                    self.keys.insert(bank, next);
                }
                Change::Token(held) => {
                    self.tokens.insert(held.q(), held);
                }
                Change::Gone(q) => {
                    self.tokens.remove(&q);
                }
                Change::Operation(operation) if operation.ended.is_some() => {
                    self.operations.remove(&operation.id);
                    self.tracks.remove(&operation.id);
                }
                Change::Operation(operation) => {
                    self.operations.insert(operation.id, *operation);
                }
                Change::Discarded(_) => {}
                Change::Known(brand, next) => {
                    self.known.insert(brand, next);
                }
                Change::Restore(row) => self.restoring = Some(Restoring::new(row)),
                Change::Probe(brand, index, probe) => {
                    if let Some(restoring) = &mut self.restoring {
                        restoring.note(brand, index, probe);
                    }
                }
                Change::Found(a, record) => {
                    if let Some(restoring) = &mut self.restoring {
                        restoring.found.insert(a, *record);
                    }
                }
                Change::Restored(_) => self.restoring = None,
            }
        }
        Ok(())
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

    /// Plans blinded outputs of these values under the current brands.
    fn plan(&self, bank: &PublicKey, values: &[Amount], keys: Keys, now: Timestamp) -> Result<Plan, WalletError> {
        // The key counts as used once tokens of it are here: so keys are used without a gap, and found again.
        let next_key = self.keys.get(bank).copied().unwrap_or_default();
        let key = (keys == Keys::Shared).then_some(next_key);
        let current = self.current_brands(bank, now);
        let mut indices: BTreeMap<Digest, u32> = BTreeMap::new();
        let mut outputs = Vec::with_capacity(values.len());
        let mut planned = Vec::with_capacity(values.len());
        for value in values {
            let known = current.get(value).ok_or(WalletError::NoTerms)?;
            let brand = Digest(*known.key_id());
            let stored = self.indices.get(&brand).copied().unwrap_or_default();
            if stored.saturating_sub(self.known.get(&brand).copied().unwrap_or_default()) >= GAP_LIMIT {
                return Err(WalletError::IndexGap);
            }
            let next = indices.entry(brand).or_insert(stored);
            // An index whose numbers cannot be blinded (one in 2^1000) is left out.
            let (output, index) = loop {
                let index = *next;
                *next = next.checked_add(1).ok_or(WalletError::IndicesUsedUp)?;
                if let Some(message) = self.blind(known, Planned { brand, index, key }) {
                    break (Output::Blinded { brand, message: message.0 }, index);
                }
            };
            outputs.push(output);
            planned.push(Planned { brand, index, key });
        }
        let changes = indices.into_iter().map(|(brand, next)| Change::Index(brand, next)).collect();
        Ok(Plan { outputs, planned, changes })
    }

    fn blind(
        &self,
        known: &KnownBrand,
        planned: Planned,
    ) -> Option<(naulon_blind::BlindedMessage, naulon_blind::Unblinder)> {
        let secrets = self.seed.token(&planned.brand, planned.index);
        let input = known.token_input(self.nonce(known, &planned));
        self.blinding.blind(known.issuer_key(), &input, &secrets).ok()
    }

    /// The nonce of a token: its key Q, or what stands for the key that it shares and its serial number.
    fn nonce(&self, known: &KnownBrand, planned: &Planned) -> [u8; 32] {
        let Planned { brand, index, key } = planned;
        match key {
            None => self.seed.token(brand, *index).secret_key().public().0,
            Some(key) => self.seed.reused_key(&known.brand().bank, brand, *index, *key).nonce(),
        }
    }

    /// The tokens of the bank's blind signatures; none if one of them does not hold, or their number is not right.
    fn unblind(&self, outputs: &[Planned], signatures: &[naulon_blind::BlindSignature]) -> Option<Vec<Held>> {
        if outputs.len() != signatures.len() {
            return None;
        }
        let tokens = outputs.iter().zip(signatures).map(|(planned, signature)| {
            let known = self.brands.get(&planned.brand)?;
            let (_, unblinder) = self.blind(known, *planned)?;
            let token = known
                .token_input(self.nonce(known, planned))
                .finalize(known.issuer_key(), signature, &unblinder)
                .ok()?;
            Some(Held { token, index: planned.index, state: TokenState::Free, key: planned.key, left: None })
        });
        tokens.collect()
    }

    /// What follows for the known indices from tokens that the bank has delivered.
    fn known_by(&self, tokens: &[Held]) -> Vec<Change> {
        let mut highest: BTreeMap<Digest, u32> = BTreeMap::new();
        for held in tokens {
            let next = highest.entry(held.brand()).or_default();
            *next = (*next).max(held.index.saturating_add(1));
        }
        highest.retain(|brand, next| self.known.get(brand).is_none_or(|known| known < next));
        let mut changes: Vec<Change> = highest.into_iter().map(|(brand, next)| Change::Known(brand, next)).collect();
        let shared = tokens.iter().filter_map(|held| {
            let bank = self.brands.get(&held.brand())?.brand().bank;
            Some((bank, held.key?.saturating_add(1)))
        });
        for (bank, next) in shared.collect::<BTreeSet<_>>() {
            if self.keys.get(&bank).is_none_or(|known| *known < next) {
                changes.push(Change::Key(bank, next));
            }
        }
        changes
    }

    /// Signs an exchange with the keys of its tokens and, if an account gives money, with the account's.
    fn sign(&self, exchange: Exchange, inputs: &[Held], account: bool) -> Joint<Exchange> {
        let bank = exchange.bank;
        let mut keys: Vec<SecretKey> = inputs.iter().map(|held| self.spending_key(&bank, held)).collect();
        if account {
            keys.push(self.account_key(&bank));
        }
        Joint::sign(exchange, &keys)
    }

    fn spending_key(&self, bank: &PublicKey, held: &Held) -> SecretKey {
        self.seed.spending_key(bank, &held.brand(), held.index, held.key)
    }

    /// The input that gives up this much of a token; or all of it, which of one that is spent in parts is what is left.
    fn input(&self, bank: &PublicKey, held: &Held, part: Option<Amount>) -> Input {
        let key = held.key.map(|key| self.seed.reused_key(bank, &held.brand(), held.index, key));
        Input::Token { token: held.token, key, part: part.or(held.left) }
    }

    fn worth(&self, held: &Held) -> Amount {
        if let Some(left) = held.left {
            return left;
        }
        self.brands.get(&held.brand()).map_or(Amount::ZERO, |known| known.brand().denomination)
    }

    fn sum<'a>(&self, tokens: impl IntoIterator<Item = &'a Held>) -> Amount {
        Amount::checked_sum(tokens.into_iter().map(|held| self.worth(held))).unwrap_or(Amount::MAX)
    }

    /// The brands that the bank issues now, by denomination.
    fn current_brands(&self, bank: &PublicKey, now: Timestamp) -> BTreeMap<Amount, Arc<KnownBrand>> {
        let currency = self.terms.get(bank).map(|terms| &terms.currency);
        let of_bank = self.brands.values().filter(|known| {
            known.brand().bank == *bank && Some(&known.brand().currency) == currency && known.issues_at(now)
        });
        of_bank.map(|known| (known.brand().denomination, known.clone())).collect()
    }

    /// The denominations that the bank issues now; none if it issues nothing.
    fn grid(&self, bank: &PublicKey, now: Timestamp) -> Option<Grid> {
        Grid::new(self.current_brands(bank, now).into_keys()).ok()
    }
}

/// A circuit of its own for an operation that must not be linked to the account.
fn anonymous(operation: &Operation) -> Circuit {
    Circuit::Anonymous(operation.circuit)
}

fn read_operation(key: &[u8], row: &[u8]) -> Result<Operation, WalletError> {
    let id = OperationId(u64::from_be_bytes(fixed(key, "operation")?));
    Operation::from_row(id, row).map_err(|_| WalletError::Damaged("operation"))
}

fn fixed<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], WalletError> {
    bytes.try_into().map_err(|_| WalletError::Damaged(what))
}
