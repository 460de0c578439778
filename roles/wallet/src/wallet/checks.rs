//! Checks that are paid by the tick: funded, handed out once, and what is left of them taken back.

use naulon_exchange::{CheckQuery, EarlyClose, Exchange, Funding, Input, MAX_OUTPUTS, Order, Output, Standing, State};
use naulon_money::Amount;
use naulon_statement::{Joint, PublicKey, Signed, Timestamp, Unverified, UnverifiedJoint, derive_secret};
use naulon_tick::{ChainId, Check, Close, Walker};
use naulon_wire::{AnyCall, Ask, BankCall, Circuit, ExchangeReply, Problem};

use super::exchanges::Keys;
use super::{Entropy, Plan, Wallet, anonymous};
use crate::change::Change;
use crate::check::{CheckEntry, CheckState, CheckWanted, HeldCheck, Pocket, ReadyCheck};
use crate::error::WalletError;
use crate::event::Event;
use crate::operation::{End, Exchanging, Operation, OperationId, Reclaiming, Why, Work};
use crate::store::WalletStore;
use crate::token::{Held, TokenState};

/// Questions are signed with a time of whole minutes, so that a clock does not tell its owner apart.
const MINUTE: u64 = 60_000;

impl<S: WalletStore> Wallet<S> {
    /// Makes a check and has the bank set its money aside. When the operation has ended with [`End::Done`] the check is ready:
    /// [`hand_out`](Self::hand_out). One can be made ahead, for a payee whose price is known.
    pub fn fund_check(
        &mut self,
        wanted: &CheckWanted,
        pocket: Pocket,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        self.check_whole()?;
        let bank = wanted.bank;
        let currency = self.terms_of(&bank)?.currency.clone();
        let number = self.next_check;
        let mut id = [0; 32];
        derive_secret(entropy, &[b"naulon/wallet/chain"], &mut id);
        let check = self.make_check(wanted, ChainId(id))?;
        let least = check.check_form().map_err(|_| WalletError::BadCheck)?;
        let (inputs, tokens, plan, maximum) = match pocket {
            Pocket::Account => {
                let mut order = Order::default();
                derive_secret(entropy, &[b"naulon/wallet/order"], &mut order);
                let input = Input::Account { account: self.account(&bank), amount: least, order };
                (vec![input], Vec::new(), Plan::default(), least)
            }
            Pocket::Tokens => {
                let maximum = self.rounded_up(&bank, least, now);
                let usable = self.redeemable(&bank, &currency, now);
                let (tokens, change) = self.choose(&bank, &currency, usable, maximum, now)?;
                let plan = self.plan_change(&bank, &currency, change, now)?;
                let inputs = tokens.iter().map(|held| self.input(&bank, held, None)).collect();
                (inputs, tokens, plan, maximum)
            }
        };
        let Plan { mut outputs, planned, changes: indices } = plan;
        let mut chain = Output::chain(&check).ok_or(WalletError::BadCheck)?;
        if let Output::Chain { maximum: set_aside, .. } = &mut chain {
            *set_aside = maximum;
        }
        outputs.push(chain);
        let exchange = Exchange { bank, currency, inputs, outputs, condition: None, seal_to: None };
        let request = UnverifiedJoint::from(self.sign(exchange, &tokens, pocket == Pocket::Account));
        let why = if pocket == Pocket::Account { Why::FundFromAccount } else { Why::FundFromTokens };
        let exchanging = Exchanging { why, amount: maximum, request, outputs: planned, check: Some(number) };
        let (id, mut changes) = self.begin(bank, now, entropy, Work::Exchange(exchanging));
        let (state, returned, certificate) = (CheckState::Funding, Amount::ZERO, None);
        let held = HeldCheck { number, check, state, maximum, returned, certificate, funded_by: id };
        changes.extend(indices);
        changes.push(Change::Check(Box::new(held)));
        let reserve = |held: Held| Change::Token(Held { state: TokenState::Reserved(id), ..held });
        changes.extend(tokens.into_iter().map(reserve));
        self.commit(changes)?;
        Ok(id)
    }

    /// The number of a check that is ready, suits, and lasts as long: one that was made ahead. Of several the one that ends
    /// first.
    pub fn ready_check(&self, wanted: &CheckWanted) -> Option<u32> {
        let suits = |held: &&HeldCheck| {
            let Check { bank, payee, value, length, expiry, .. } = &held.check;
            let is_same = (bank, payee, value) == (&wanted.bank, &wanted.payee, &wanted.value);
            held.state == CheckState::Ready && is_same && *length >= wanted.length && *expiry >= wanted.expiry
        };
        self.checks.values().filter(suits).min_by_key(|held| held.check.expiry).map(|held| held.number)
    }

    /// The number of the check that an operation funds, if it is one.
    pub fn check_of(&self, op: OperationId) -> Option<u32> {
        self.checks.values().find(|held| held.funded_by == op).map(|held| held.number)
    }

    /// Hands a ready check out, to be paid with: once. That it is out is durable when this returns; of a check that nobody
    /// pays with after all everything comes back.
    pub fn hand_out(&mut self, number: u32) -> Result<ReadyCheck, WalletError> {
        self.check_usable()?;
        let held = self.checks.get(&number).ok_or(WalletError::UnknownCheck(number))?.clone();
        let (CheckState::Ready, Some(certificate)) = (held.state, held.certificate.clone()) else {
            return Err(WalletError::CheckNotReady(number));
        };
        let check = held.check.clone();
        let secret = self.seed.check(&check.bank, &check.id).ticks;
        self.commit(vec![Change::Check(Box::new(HeldCheck { state: CheckState::Out, ..held }))])?;
        Ok(ReadyCheck { number, check, funding: Funding::Certified(certificate), secret })
    }

    /// Takes a check back that was handed out and then **shown to nobody**: it is ready again, with all its ticks. Who gives back
    /// one that somebody has seen makes it a name under which two sessions are known.
    pub fn put_back(&mut self, check: &Check) -> Result<(), WalletError> {
        self.check_usable()?;
        let held = self.checks.values().find(|held| held.check == *check).ok_or(WalletError::BadCheck)?.clone();
        if held.state != CheckState::Out || !held.returned.is_zero() || self.is_reclaimed(held.number) {
            return Err(WalletError::CheckNotReady(held.number));
        }
        self.commit(vec![Change::Check(Box::new(HeldCheck { state: CheckState::Ready, ..held }))])
    }

    /// Whether an operation is under way that takes back what is left of this check.
    fn is_reclaimed(&self, number: u32) -> bool {
        let is_of_it =
            |operation: &Operation| matches!(&operation.work, Work::Reclaim(reclaiming) if reclaiming.number == number);
        self.operations.values().any(is_of_it)
    }

    /// Takes back what is left of a check: once its time and the payee's are over, or before by the payee's word. To tokens as
    /// far as their denominations allow, or all of it to the account, which then stands beside the check for the bank to see.
    pub fn reclaim_check(
        &mut self,
        number: u32,
        close: Option<Unverified<Close>>,
        to: Pocket,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<OperationId, WalletError> {
        self.check_whole()?;
        let held = self.checks.get(&number).ok_or(WalletError::UnknownCheck(number))?;
        let stands = matches!(held.state, CheckState::Ready | CheckState::Out);
        let is_free = close.is_some() || now >= self.free_from(&held.check);
        if !stands || !is_free || self.is_reclaimed(number) {
            return Err(WalletError::CheckNotFree(number));
        }
        let bank = held.check.bank;
        let to_account = to == Pocket::Account;
        let early = close.map(|close| EarlyClose { check: held.check.clone(), close });
        let outputs = Vec::new();
        let work = Reclaiming { number, early, to_account, amount: None, request: None, outputs };
        let (id, changes) = self.begin(bank, now, entropy, Work::Reclaim(Box::new(work)));
        self.commit(changes)?;
        Ok(id)
    }

    /// The checks of which something may come back now without anybody's word, by their numbers.
    pub fn free_checks(&self, now: Timestamp) -> Vec<u32> {
        let is_free = |held: &&HeldCheck| {
            matches!(held.state, CheckState::Ready | CheckState::Out) && now >= self.free_from(&held.check)
        };
        self.checks.values().filter(is_free).map(|held| held.number).collect()
    }

    /// All checks, the first one first.
    pub fn checks(&self) -> Vec<CheckEntry> {
        let entry = |held: &HeldCheck| CheckEntry {
            number: held.number,
            bank: held.check.bank,
            payee: held.check.payee,
            state: held.state,
            maximum: held.maximum,
            returned: held.returned,
            expiry: held.check.expiry,
            free_from: self.free_from(&held.check),
            funded_by: held.funded_by,
        };
        self.checks.values().map(entry).collect()
    }

    fn free_from(&self, check: &Check) -> Timestamp {
        check.expiry.plus(self.terms.get(&check.bank).map_or_else(Default::default, |terms| terms.check_grace))
    }

    fn make_check(&self, wanted: &CheckWanted, id: ChainId) -> Result<Check, WalletError> {
        let secrets = self.seed.check(&wanted.bank, &id);
        let walker = Walker::new(id, &secrets.ticks, wanted.length).map_err(|_| WalletError::BadCheck)?;
        Ok(Check {
            id,
            root: walker.root(),
            length: wanted.length,
            value: wanted.value,
            currency: self.terms_of(&wanted.bank)?.currency.clone(),
            payee: wanted.payee,
            salt: secrets.salt,
            bank: wanted.bank,
            expiry: wanted.expiry,
            refund: secrets.refund.public(),
        })
    }

    /// The least amount that is not below this one and that the bank's denominations can make.
    fn rounded_up(&self, bank: &PublicKey, amount: Amount, now: Timestamp) -> Amount {
        let smallest = self.current_brands(bank, now).into_keys().next().map_or(1, Amount::micros).max(1);
        let count = amount.micros().div_ceil(smallest);
        Amount::from_micros(smallest).checked_mul(count).unwrap_or(amount)
    }

    /// The greatest part of an amount that the bank's denominations can make, and that fits into one exchange.
    fn rounded_down(&self, bank: &PublicKey, amount: Amount, now: Timestamp) -> Vec<Amount> {
        let mut rest = amount;
        let mut values = Vec::new();
        for value in self.current_brands(bank, now).into_keys().rev() {
            while let Some(less) = rest.checked_sub(value).filter(|_| values.len() < MAX_OUTPUTS) {
                rest = less;
                values.push(value);
            }
        }
        values
    }

    /// What the bank's certificate makes of a check, or why it is none.
    pub(super) fn certified(&self, number: u32, reply: &ExchangeReply) -> Result<Change, &'static str> {
        let held = self.checks.get(&number).ok_or("a certificate of a check that is not here")?;
        let [certificate] = reply.certificates.as_slice() else { return Err("the bank certifies nothing") };
        let is_good = certificate.clone().verify(&held.check.bank).is_ok_and(|signed| signed.covers(&held.check));
        if !is_good {
            return Err("the bank's certificate does not cover the check");
        }
        let (state, certificate) = (CheckState::Ready, Some(certificate.clone()));
        Ok(Change::Check(Box::new(HeldCheck { state, certificate, ..held.clone() })))
    }

    /// A check whose money was not set aside.
    pub(super) fn voided(&self, number: u32) -> Option<Change> {
        let held = self.checks.get(&number).filter(|held| held.state == CheckState::Funding)?;
        Some(Change::Check(Box::new(HeldCheck { state: CheckState::Void, ..held.clone() })))
    }

    /// The check of an operation that has failed to fund it.
    pub(super) fn voided_by(&self, operation: &Operation) -> Vec<Change> {
        let Work::Exchange(Exchanging { check: Some(number), .. }) = &operation.work else { return Vec::new() };
        self.voided(*number).into_iter().collect()
    }

    /// What to ask for a remainder: what stands of the check, and then for it.
    pub(super) fn reclaim_asks(&self, operation: &Operation, reclaiming: &Reclaiming, now: Timestamp) -> Vec<Ask> {
        let bank = operation.bank;
        let circuit =
            if reclaiming.to_account { Circuit::Identified(self.account(&bank)) } else { anonymous(operation) };
        let call = match (&reclaiming.request, self.checks.get(&reclaiming.number)) {
            (Some(request), _) => BankCall::Exchange(request.clone()),
            (None, Some(held)) => {
                let (commitment, refund) = (held.check.commitment(), held.check.refund);
                let at = Timestamp(now.0 - now.0 % MINUTE);
                let query = CheckQuery { bank, commitment, refund, at };
                let key = self.seed.check(&bank, &held.check.id).refund;
                BankCall::Check(Unverified::from(&Signed::sign(&key, query)))
            }
            (None, None) => return Vec::new(),
        };
        vec![Ask { to: bank, circuit, call: AnyCall::Bank(call) }]
    }

    /// The bank has said what stands of a check: what is left of it is asked for, or it is over.
    pub(super) fn check_stands(
        &mut self,
        mut operation: Operation,
        mut reclaiming: Reclaiming,
        standing: Standing,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let (bank, number) = (operation.bank, reclaiming.number);
        let Some(held) = self.checks.get(&number).cloned() else { return Ok(()) };
        let owed = reclaiming.early.as_ref().filter(|_| now < self.free_from(&held.check));
        let owed = owed.and_then(|early| early.check.worth(early.close.claimed_body().index)).unwrap_or(Amount::ZERO);
        let kept = owed.max(standing.paid).checked_add(standing.returned);
        let left = kept.and_then(|kept| held.maximum.checked_sub(kept)).unwrap_or(Amount::ZERO);
        let held = HeldCheck { returned: standing.returned, ..held };
        let values = if reclaiming.to_account { vec![left] } else { self.rounded_down(&bank, left, now) };
        let amount = Amount::checked_sum(values.iter().copied()).unwrap_or(Amount::ZERO);
        if amount.is_zero() {
            let is_over = left.is_zero() && owed <= standing.paid;
            let state = if is_over { CheckState::Over } else { held.state };
            let changes = vec![Change::Check(Box::new(HeldCheck { state, ..held }))];
            return self.end(operation, End::Done, now, changes, Vec::new());
        }
        let Plan { mut outputs, planned, changes: mut indices } = match reclaiming.to_account {
            true => Plan::default(),
            false => self.plan(&bank, &values, Keys::Own, now)?,
        };
        if reclaiming.to_account {
            outputs.push(Output::Account { account: self.account(&bank), amount });
        }
        let (commitment, refund) = (held.check.commitment(), held.check.refund);
        let early = reclaiming.early.clone().filter(|_| now < self.free_from(&held.check));
        let input = Input::Remainder { commitment, refund, returned: standing.returned, amount, early };
        let currency = held.check.currency.clone();
        let exchange = Exchange { bank, currency, inputs: vec![input], outputs, condition: None, seal_to: None };
        let key = self.seed.check(&bank, &held.check.id).refund;
        reclaiming.request = Some(UnverifiedJoint::from(Joint::sign(exchange, [&key])));
        (reclaiming.amount, reclaiming.outputs) = (Some(amount), planned);
        operation.work = Work::Reclaim(Box::new(reclaiming));
        indices.push(Change::Check(Box::new(held)));
        indices.push(Change::Operation(Box::new(operation)));
        self.commit(indices)
    }

    /// What was left has come back.
    pub(super) fn reclaimed(
        &mut self,
        operation: Operation,
        reclaiming: &Reclaiming,
        reply: &ExchangeReply,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let id = operation.id;
        let is_ours = reclaiming.request.as_ref().is_some_and(|request| request.id() == reply.request);
        if !is_ours || reply.state != State::Done {
            self.emit(id, Event::Distrusted("the bank's reply is to another request"));
            return Ok(());
        }
        let Some(tokens) = self.unblind(&reclaiming.outputs, &reply.signatures) else {
            self.emit(id, Event::Distrusted("the bank's blind signatures do not hold"));
            return Ok(());
        };
        let events = self.received(&tokens);
        let mut changes = self.known_by(&tokens);
        changes.extend(tokens.into_iter().map(Change::Token));
        if let Some(held) = self.checks.get(&reclaiming.number).cloned() {
            let more = reclaiming.amount.unwrap_or(Amount::ZERO);
            let returned = held.returned.checked_add(more).unwrap_or(held.returned);
            // Nothing can come any more once the payee's time is over; less than the smallest token is not waited for.
            let is_over = now >= self.free_from(&held.check);
            let state = if is_over { CheckState::Over } else { held.state };
            changes.push(Change::Check(Box::new(HeldCheck { returned, state, ..held })));
        }
        self.end(operation, End::Done, now, changes, events)
    }

    /// The bank has refused a remainder. If more was cashed or returned meanwhile, it is asked anew what stands of the check.
    pub(super) fn reclaim_refused(
        &mut self,
        mut operation: Operation,
        reclaiming: &Reclaiming,
        problem: &Problem,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let has_moved = matches!(problem.code.as_str(), "chain_exceeded" | "remainder_moved" | "brand_not_issuing");
        if has_moved && reclaiming.request.is_some() {
            operation.work = Work::Reclaim(Box::new(Reclaiming { request: None, ..reclaiming.clone() }));
            return self.commit(vec![Change::Operation(Box::new(operation))]);
        }
        // That the bank has nothing, or not yet, is an answer that only it gives.
        let is_over = matches!(problem.code.as_str(), "unknown_chain" | "remainder_early") || problem.is_final();
        if is_over {
            self.end(operation, End::Refused(problem.code.clone()), now, Vec::new(), Vec::new())
        } else {
            Ok(())
        }
    }
}
