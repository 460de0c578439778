//! A wallet from its seed alone: what to ask, and what follows from the answers.
//!
//! First every index of every open brand is asked about, until [`GAP_LIMIT`](crate::GAP_LIMIT) in a row are unknown: the
//! bank signs again what it has signed before. Then each token's key asks what became of the token, and keys of tokens that
//! never were ask too. One question at a time, each on a circuit of its own, in an order that is drawn; when is the
//! driver's matter. At the end all of it becomes tokens, indices and purchases under way in one commit.

use std::collections::{BTreeMap, BTreeSet};

use naulon_blind::{Purpose, Token};
use naulon_exchange::{Exchange, Input, RequestId, State, TokenQuery, UnverifiedRecord};
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, PublicKey, Signed, Timestamp, Unverified, derive_secret};
use naulon_wire::{AnyCall, AnyReply, Ask, BankCall, BankReply, CallError, Circuit, OutputFate};

use super::{Entropy, Wallet};
use crate::change::Change;
use crate::error::WalletError;
use crate::goods::GoodsDir;
use crate::operation::{Operation, OperationId, Planned, Recovery, Work};
use crate::peers::Peers;
use crate::restoring::{DECOYS_AT_LEAST, INDICES_SKIPPED, Probe, RestoreRow, Restoring, question_wait};
use crate::seed::Seed;
use crate::store::WalletStore;
use crate::token::{Held, TokenState};

/// A question's time is told in whole minutes, as by every other wallet.
const MINUTE: u64 = 60_000;

/// What a restoration asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// What became of the blinded output of this index.
    Output {
        /// The token key id of the brand.
        brand: Digest,
        /// The index.
        index: u32,
        /// The index of the shared key that it may have been made with; none: with a key of its own.
        key: Option<u32>,
    },
    /// What became of the token of this index; it may be one that never was.
    Token {
        /// The token key id of the brand.
        brand: Digest,
        /// The index.
        index: u32,
    },
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is written down.
    Yes,
    /// It does not help, for this reason; the question is open still.
    No(String),
}

/// How far a restoration is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Questions that were answered.
    pub answered: usize,
    /// Questions that are open, as far as is known by now.
    pub open: usize,
    /// Tokens that were ever issued.
    pub tokens: usize,
    /// Purchases.
    pub purchases: usize,
}

/// What a restoration came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Tokens that are free.
    pub tokens: usize,
    /// What they are worth.
    pub free: Amount,
    /// What the tokens are worth that are held by purchases under way.
    pub held: Amount,
    /// Tokens that were spent before.
    pub spent: usize,
    /// Purchases that are taken up: those under way, and those that were paid, whose goods are fetched again.
    pub purchases: Vec<OperationId>,
    /// Outputs of purchases that were not found: their tokens were of brands that are closed.
    pub unexplained: usize,
    /// Brands that are closed: their tokens are worth nothing now, and nobody was asked about them.
    pub closed_brands: usize,
}

impl<S: WalletStore> Wallet<S> {
    /// Creates a wallet with this seed in an empty store, to be restored. Have it accept the banks' descriptions, then ask
    /// [`restore_question`](Self::restore_question) after question. It begins nothing else until that is done.
    pub fn restore(
        store: S,
        seed: &Seed,
        peers: Peers,
        goods: impl GoodsDir + 'static,
        gap: u32,
    ) -> Result<Self, WalletError> {
        let mut wallet = Self::create(store, seed, peers, goods)?;
        // Killed between the two it is an empty wallet, of which nothing is lost; the person sees that it is empty.
        wallet.commit(vec![Change::Restore(RestoreRow { gap: gap.max(INDICES_SKIPPED + 1) })])?;
        Ok(wallet)
    }

    /// Whether a restoration is under way.
    pub fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// How far it is.
    pub fn restore_progress(&self, now: Timestamp) -> Found {
        let Some(restoring) = &self.restoring else { return Found::default() };
        let questions = |probe: &Probe| match probe {
            Probe::Unknown(decoy, keys) => 1 + usize::from(*decoy) + *keys as usize,
            Probe::Issued(..) | Probe::Void(_) | Probe::Pending(_) => 1,
            Probe::Free(..) | Probe::Spent(_) | Probe::Held(..) | Probe::InParts(..) => 2,
        };
        let issued = restoring.probes.values().filter(|probe| is_token(probe)).count();
        Found {
            answered: restoring.probes.values().map(questions).sum(),
            open: self.open_questions(now).len(),
            tokens: issued,
            purchases: restoring.found.len(),
        }
    }

    /// How long to wait before the next question, at random, if each of the two rounds of questions takes this long and all
    /// wallets have the same windows for them ([`restore_begins`](crate::restore_begins)). `entropy` is fresh.
    pub fn restore_wait(&self, now: Timestamp, over: Duration, entropy: &Entropy) -> Duration {
        let open = self.open_questions(now);
        let about_tokens = matches!(open.first(), Some(Question::Token { .. }));
        let mut drawn = [0; 8];
        derive_secret(entropy, &[b"naulon/wallet/wait"], &mut drawn);
        question_wait(now, over, about_tokens, open.len(), u64::from_be_bytes(drawn))
    }

    /// The next question, drawn among those that are open; none if all are answered. `entropy` is fresh.
    pub fn restore_question(
        &mut self,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<Option<(Question, Ask)>, WalletError> {
        self.check_usable()?;
        let open = self.open_questions(now);
        let mut drawn = [0; 16];
        derive_secret(entropy, &[b"naulon/wallet/question"], &mut drawn);
        let (place, circuit) = drawn.split_at(8);
        let [place, circuit] = [place, circuit].map(|bytes| bytes.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)));
        let Some(place) = place.checked_rem(open.len() as u64) else { return Ok(None) };
        let Some(question) = open.get(usize::try_from(place).unwrap_or_default()).copied() else { return Ok(None) };
        let (Question::Output { brand, index, .. } | Question::Token { brand, index }) = question;
        let known = self.brands.get(&brand).cloned().ok_or(WalletError::NoTerms)?;
        let bank = known.brand().bank;
        let call = match question {
            Question::Output { key, .. } => match self.blind(&known, Planned { brand, index, key }) {
                Some((message, _)) => BankCall::Output { brand, message: Box::new(message) },
                // An index whose numbers cannot be blinded was never used.
                None => {
                    self.commit(vec![Change::Probe(
                        brand,
                        index,
                        Some(Probe::Unknown(false, key.map_or(0, |key| key + 1))),
                    )])?;
                    return self.restore_question(now, entropy);
                }
            },
            Question::Token { .. } => {
                let shared = self.restoring.as_ref().and_then(|r| r.probes.get(&(brand, index))?.key());
                let key = self.seed.spending_key(&bank, &brand, index, shared);
                let s = shared.map(|shared| self.seed.reused_key(&bank, &brand, index, shared).s);
                let at = Timestamp(now.0 - now.0 % MINUTE);
                let query = TokenQuery { bank, brand, q: key.public(), at, s };
                BankCall::Token(Unverified::from(&Signed::sign(&key, query)))
            }
        };
        let circuit = Circuit::Anonymous(circuit);
        Ok(Some((question, Ask { to: bank, circuit, call: AnyCall::Bank(call) })))
    }

    /// Takes an answer; what was found is written before this returns.
    pub fn restore_answered(
        &mut self,
        question: Question,
        answer: Result<AnyReply, CallError>,
    ) -> Result<Taken, WalletError> {
        self.check_usable()?;
        let (Question::Output { brand, index, .. } | Question::Token { brand, index }) = question;
        let reply = match answer {
            Ok(AnyReply::Bank(reply)) => reply,
            Ok(_) => return Ok(Taken::No("an answer to something that was not asked".to_owned())),
            // The brand has been closed meanwhile.
            Err(CallError::Problem(problem)) if problem.code == "brand_closed" => {
                self.commit(vec![Change::Probe(brand, index, Some(Probe::Void(None)))])?;
                return Ok(Taken::Yes);
            }
            Err(error) => return Ok(Taken::No(error.to_string())),
        };
        let read = match (question, reply) {
            (Question::Output { key, .. }, BankReply::Output(fate)) => self.read_fate(brand, index, key, fate),
            (Question::Token { .. }, BankReply::Token(holder)) => self.read_holder(brand, index, holder),
            _ => Err("an answer to something that was not asked"),
        };
        match read {
            Ok(changes) => {
                self.commit(changes)?;
                Ok(Taken::Yes)
            }
            Err(why) => Ok(Taken::No(why.to_owned())),
        }
    }

    /// Ends the restoration, once every question is answered ([`WalletError::Restoring`] before): tokens, indices and
    /// purchases are there from now on, and what is under way goes on with the next [`asks`](Self::asks).
    pub fn finish_restore(&mut self, now: Timestamp, entropy: &Entropy) -> Result<Restored, WalletError> {
        self.check_usable()?;
        if !self.open_questions(now).is_empty() {
            return Err(WalletError::Restoring);
        }
        let Some(restoring) = self.restoring.take() else { return Ok(Restored::default()) };
        let (changes, restored) = self.plan_restored(&restoring, now, entropy);
        // On an error the rows are there still, and so is what was read of them.
        self.restoring = Some(restoring);
        self.commit(changes)?;
        Ok(restored)
    }

    /// Every question that is open now: first those about outputs, and when all are answered those about tokens.
    fn open_questions(&self, now: Timestamp) -> Vec<Question> {
        let Some(restoring) = &self.restoring else { return Vec::new() };
        let mut open = Vec::new();
        for brand in self.open_brands(now) {
            let unasked =
                (0..restoring.window(&brand)).filter(|index| !restoring.probes.contains_key(&(brand, *index)));
            open.extend(unasked.map(|index| Question::Output { brand, index, key: None }));
        }
        if !open.is_empty() {
            return open;
        }
        // What is unknown may have been made with a shared key: one more than those that were found so far.
        let keys = restoring.shared_keys().saturating_add(1);
        for ((brand, index), probe) in &restoring.probes {
            if let Probe::Unknown(_, tried) = probe
                && *tried < keys
            {
                open.push(Question::Output { brand: *brand, index: *index, key: Some(*tried) });
            }
        }
        if !open.is_empty() {
            return open;
        }
        let token = |(brand, index): &(Digest, u32)| Question::Token { brand: *brand, index: *index };
        let of = |wanted: fn(&Probe) -> bool| restoring.probes.iter().filter(move |(_, probe)| wanted(probe));
        open.extend(of(|probe| matches!(probe, Probe::Issued(..))).map(|(at, _)| token(at)));
        if of(is_token).next().is_none() {
            return open;
        }
        // The bank sees of which brand each is, so there are decoys of every brand: as many as it has tokens.
        let brands: BTreeSet<Digest> = restoring.probes.keys().map(|(brand, _)| *brand).collect();
        let at_least = DECOYS_AT_LEAST.div_ceil(brands.len().max(1));
        for brand in &brands {
            let here = |wanted: fn(&Probe) -> bool| of(wanted).map(|(at, _)| at).filter(move |(of, _)| of == brand);
            let asked = here(|probe| matches!(probe, Probe::Unknown(true, _))).count();
            let wanted = here(is_token).count().max(at_least).saturating_sub(asked);
            open.extend(here(|probe| matches!(probe, Probe::Unknown(false, _))).map(token).take(wanted));
        }
        open
    }

    /// The brands of pinned banks that were issued by now, and whose tokens are worth something still.
    fn open_brands(&self, now: Timestamp) -> Vec<Digest> {
        let open = self
            .brands
            .iter()
            .filter(|(_, known)| known.redeemable_at(now) && known.brand().purpose != Purpose::PurseCheck);
        open.map(|(brand, _)| *brand).collect()
    }

    fn read_fate(
        &self,
        brand: Digest,
        index: u32,
        key: Option<u32>,
        fate: OutputFate,
    ) -> Result<Vec<Change>, &'static str> {
        let probe = match fate {
            OutputFate::Unknown => Probe::Unknown(false, key.map_or(0, |key| key.saturating_add(1))),
            OutputFate::Pending => Probe::Pending(key),
            OutputFate::Void => Probe::Void(key),
            OutputFate::Issued(signature) => {
                let tokens = self.unblind(&[Planned { brand, index, key }], &[*signature]).unwrap_or_default();
                let held = tokens.first().ok_or("the bank's blind signature does not hold")?;
                Probe::Issued(held.token, key)
            }
        };
        Ok(vec![Change::Probe(brand, index, Some(probe))])
    }

    fn read_holder(
        &self,
        brand: Digest,
        index: u32,
        holder: Option<Box<UnverifiedRecord>>,
    ) -> Result<Vec<Change>, &'static str> {
        let note = |probe| Change::Probe(brand, index, Some(probe));
        let restoring = self.restoring.as_ref().ok_or("no restoration is under way")?;
        let (token, key) = match restoring.probes.get(&(brand, index)) {
            Some(Probe::Issued(token, key)) => (*token, *key),
            Some(Probe::Unknown(_, tried)) => return Ok(vec![note(Probe::Unknown(true, *tried))]),
            _ => return Ok(Vec::new()),
        };
        let Some(record) = holder else { return Ok(vec![note(Probe::Free(token, key))]) };
        let bank = self.brands.get(&brand).ok_or("a brand that is not known")?.brand().bank;
        let q = self.seed.spending_key(&bank, &brand, index, key).public();
        let exchange = record.exchange.clone().verify().map_err(|_| "a request that its inputs have not signed")?;
        let names_it = exchange.bank == bank && exchange.tokens().any(|held| *held == token);
        if !names_it || !exchange.is_signed_by(&q) {
            return Err("the bank shows a request that this token has not signed");
        }
        // It was opened to be spent in parts, of which this is the first, whatever became of it.
        let in_parts = exchange.inputs.iter().any(|input| match input {
            Input::Token { token: given, part, .. } => *given == token && part.is_some(),
            _ => false,
        });
        if in_parts {
            let is_purchase = matches!(record.state, State::Locked | State::Committed);
            let found = is_purchase.then(|| Change::Found(exchange.id(), record));
            return Ok(std::iter::once(note(Probe::InParts(token, key))).chain(found).collect());
        }
        match record.state {
            State::Done if exchange.condition.is_none() => Ok(vec![note(Probe::Spent(key))]),
            State::Locked if exchange.condition.is_some() => {
                let a = exchange.id();
                Ok(vec![note(Probe::Held(token, key, a)), Change::Found(a, record)])
            }
            State::Committed if self.proven(&bank, (*record).clone()).is_some_and(|(_, (is_final, _))| is_final) => {
                let a = exchange.id();
                // Its change may have been asked about before it was settled.
                let mut changes = vec![note(Probe::Held(token, key, a))];
                changes.extend(self.pending_of(restoring, &exchange).map(|(b, i)| Change::Probe(b, i, None)));
                changes.push(Change::Found(a, record));
                Ok(changes)
            }
            _ => Err("the bank does not prove that the token is spent (is its purchase's log one of this wallet's?)"),
        }
    }

    /// The indices of an exchange's outputs that were pending when they were asked about.
    fn pending_of<'a>(
        &'a self,
        restoring: &'a Restoring,
        exchange: &'a Exchange,
    ) -> impl Iterator<Item = (Digest, u32)> + 'a {
        let pending = restoring.probes.iter().filter(|(_, probe)| matches!(probe, Probe::Pending(_)));
        let its = move |((brand, index), probe): &(&(Digest, u32), &Probe)| {
            let planned = Planned { brand: *brand, index: *index, key: probe.key() };
            let message = self.brands.get(brand).and_then(|known| Some(self.blind(known, planned)?.0));
            exchange.blinded().any(|(of, wanted)| of == brand && message.as_ref() == Some(wanted))
        };
        pending.filter(its).map(|(at, _)| *at)
    }

    fn plan_restored(&self, restoring: &Restoring, now: Timestamp, entropy: &Entropy) -> (Vec<Change>, Restored) {
        let mut restored = Restored {
            closed_brands: self.brands.values().filter(|known| now >= known.brand().redeem_until).count(),
            ..Restored::default()
        };
        let (mut changes, mut next) = (Vec::new(), self.next);
        let mut numbers: BTreeMap<RequestId, OperationId> = BTreeMap::new();
        let mut explained = BTreeSet::new();
        for (place, (a, record)) in restoring.found.iter().enumerate() {
            let Some(recovery) = self.recovery_of(restoring, record, &mut explained) else { continue };
            let mut circuit = [0; 8];
            derive_secret(entropy, &[b"naulon/wallet/circuit", &(place as u64).to_be_bytes()], &mut circuit);
            let (id, circuit) = (OperationId(next), u64::from_be_bytes(circuit));
            next = next.saturating_add(1);
            let bank = recovery.authorization_q.claimed_body().bank;
            let work = Work::Recovery(Box::new(recovery));
            changes.push(Change::Operation(Box::new(Operation { id, bank, circuit, begun: now, work, ended: None })));
            numbers.insert(*a, id);
            restored.purchases.push(id);
        }
        changes.push(Change::Counter(next));
        let (mut free, mut held_by_purchases) = (Vec::new(), Vec::new());
        for ((brand, index), probe) in &restoring.probes {
            let held =
                |token: &Token, state| Held { token: *token, index: *index, state, key: probe.key(), left: None };
            match probe {
                Probe::Free(token, _) => free.push(held(token, TokenState::Free)),
                // How much is left the bank says when more than that is asked for.
                Probe::InParts(token, _) => {
                    let left = self.brands.get(brand).map(|known| known.brand().denomination);
                    free.push(Held { left, ..held(token, TokenState::Free) });
                }
                Probe::Spent(_) => restored.spent += 1,
                Probe::Held(token, _, a) => match (numbers.get(a), restoring.found.get(a).map(|record| record.state)) {
                    (Some(id), Some(State::Locked)) => held_by_purchases.push(held(token, TokenState::Reserved(*id))),
                    _ => restored.spent += 1,
                },
                Probe::Pending(_) if !explained.contains(&(*brand, *index)) => restored.unexplained += 1,
                Probe::Unknown(..) | Probe::Void(_) | Probe::Pending(_) | Probe::Issued(..) => {}
            }
        }
        (restored.tokens, restored.free) = (free.len(), self.sum(&free));
        restored.held = self.sum(&held_by_purchases);
        changes.extend(free.into_iter().chain(held_by_purchases).map(Change::Token));
        for brand in self.open_brands(now) {
            let reached = restoring.reached(&brand);
            let stored = self.indices.get(&brand).copied().unwrap_or_default();
            changes.push(Change::Index(brand, stored.max(reached.saturating_add(INDICES_SKIPPED))));
            changes.push(Change::Known(brand, reached));
        }
        let shared = restoring.shared_keys();
        if shared > 0 {
            let banks: BTreeSet<PublicKey> = self.brands.values().map(|known| known.brand().bank).collect();
            changes.extend(banks.into_iter().map(|bank| Change::Key(bank, shared)));
        }
        changes.push(Change::Restored(restoring.keys()));
        (changes, restored)
    }

    /// What is known of a purchase that was found.
    fn recovery_of(
        &self,
        restoring: &Restoring,
        record: &UnverifiedRecord,
        explained: &mut BTreeSet<(Digest, u32)>,
    ) -> Option<Recovery> {
        let exchange = record.exchange.claimed_body();
        let is_locked = record.state == State::Locked;
        let pending: Vec<(Digest, u32)> = self.pending_of(restoring, exchange).collect();
        explained.extend(&pending);
        // In the order of the outputs: each is the one pending index that blinds to it.
        let planned = |(brand, message): (&Digest, &naulon_blind::BlindedMessage)| {
            let known = self.brands.get(brand)?;
            let all = pending.iter().filter(|(of, _)| of == brand);
            let planned =
                all.map(|at| Planned { brand: at.0, index: at.1, key: restoring.probes.get(at).and_then(Probe::key) });
            planned.into_iter().find(|planned| self.blind(known, *planned).is_some_and(|(own, _)| own == *message))
        };
        let outputs: Vec<Planned> = exchange.blinded().filter_map(planned).collect();
        Some(Recovery {
            authorization_q: record.exchange.clone(),
            outputs,
            // What was settled before has been found token by token.
            settled: !is_locked,
            header: None,
            authorization_b: None,
            decision: record.decision.clone(),
            unknown_to_shop: false,
            q: exchange.condition.as_ref().and_then(|condition| condition.q).and_then(|q| {
                let tokens = restoring.probes.iter().filter_map(|(at, probe)| Some((at, probe.token()?.1)));
                let mut tokens = tokens.map(|(at, key)| Planned { brand: at.0, index: at.1, key });
                tokens.find(|at| self.seed.spending_key(&exchange.bank, &at.brand, at.index, at.key).public() == q)
            }),
        })
    }
}

fn is_token(probe: &Probe) -> bool {
    probe.token().is_some() || matches!(probe, Probe::Spent(_))
}
