//! What must hold at the end of every run.

mod logs;

use std::collections::BTreeMap;

use naulon_exchange::{AuditReport, Record, State};
use naulon_money::Amount;
use naulon_purchase::goods::{GoodsError, MerchandiseKey, Opener, SEALED_CHUNK_LEN};
use naulon_purchase::{Breach, Claim, Ending, Evidence, GoodsM, JointBytes, Judgement, Party, Standing, Trust, judge};
use naulon_statement::{Digest, Duration, PublicKey};
use naulon_wallet::{End, Ended, Entry, OperationKind, TokenState};
use naulon_wire::Range;

use crate::cheat::{Cheat, GONE_FOR};
use crate::keys::BEGINNING;
use crate::network::Place;
use crate::party::{BankParty, Crook, GIVEN_BACK, GOODS, LogParty, ShopParty, is_over};
use crate::run::Merged;
use crate::watch::Watched;
use crate::world::World;

/// What was counted over runs: how purchases ended, and which evidence was judged to hold (AAT §4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By name.
    pub counts: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn count(&mut self, what: &str) {
        self.add_to(what, 1);
    }

    pub(crate) fn add_to(&mut self, what: &str, more: u64) {
        match self.counts.get_mut(what) {
            Some(count) => *count += more,
            None if more > 0 => {
                self.counts.insert(what.to_owned(), more);
            }
            None => {}
        }
    }

    /// How often this was counted.
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Tally) {
        for (what, count) in &other.counts {
            self.add_to(what, *count);
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong; empty if all claims hold.
    pub violations: Vec<String>,
    /// What was counted.
    pub tally: Tally,
    /// How many messages were sent.
    pub messages: u64,
    /// How many writes each party's store has seen.
    pub writes: Vec<(Place, u64)>,
    /// Everything that happened, if it was asked for.
    pub trace: Vec<String>,
}

/// Checks every claim; what does not hold is a violation.
pub fn everything(world: &mut World, report: &mut Report) {
    let watched = logs::read(world, report);
    let mut check = Check { world, report, watched };
    let Some(audits) = check.books() else { return };
    check.purchases();
    check.logs();
    check.shops();
    check.wallets_hold_what_the_banks_owe(&audits);
    check.refusals();
    check.cheats();
}

pub(crate) struct Check<'w> {
    pub(crate) world: &'w mut World,
    pub(crate) report: &'w mut Report,
    /// What everybody can read of each log.
    pub(crate) watched: Vec<Watched>,
}

impl Check<'_> {
    pub(crate) fn violation(&mut self, what: impl Into<String>) {
        self.report.violations.push(what.into());
    }

    pub(crate) fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violation(what());
        }
    }

    pub(crate) fn count(&mut self, what: &str) {
        self.report.tally.count(what);
    }

    /// The auditor agrees, and each bank's money is conserved.
    fn books(&mut self) -> Option<Vec<AuditReport>> {
        let mut audits = Vec::new();
        for number in 0..self.world.banks.len() {
            match self.world.banks[number].audit() {
                Ok(audit) => {
                    let owed = Amount::checked_sum([audit.accounts, audit.tokens, audit.locked]);
                    let is_conserved = owed == Some(audit.came_in);
                    self.require(is_conserved, || format!("bank {number}: money is not conserved: {audit:?}"));
                    self.require(audit.locked.is_zero(), || format!("bank {number}: {} is still locked", audit.locked));
                    audits.push(audit);
                }
                Err(why) => {
                    self.violation(format!("the audit of bank {number}: {why}"));
                    return None;
                }
            }
        }
        Some(audits)
    }

    /// What the wallet of this number has begun.
    pub(crate) fn history(&mut self, wallet: usize) -> Vec<Entry> {
        let now = self.world.clock(Place::Wallet(wallet));
        self.world.wallets[wallet].history(now)
    }

    /// Every purchase of every wallet, with what its buyer can show.
    pub(crate) fn all_purchases(&mut self) -> Vec<(usize, Entry, Evidence)> {
        let mut all = Vec::new();
        for number in 0..self.world.wallets.len() {
            let history = self.history(number);
            for entry in history.into_iter().filter(|entry| entry.kind == OperationKind::Purchase) {
                match self.world.wallets[number].evidence(entry.id) {
                    Some(evidence) => all.push((number, entry, evidence)),
                    None => self.violation(format!("wallet {number}, purchase {}: no evidence", entry.id)),
                }
            }
        }
        all
    }

    /// What the banks have on record of an authorization.
    pub(crate) fn record(&mut self, id: &Digest) -> Option<Record> {
        self.world.banks.iter_mut().find_map(|bank| bank.record(id))
    }

    /// Every purchase ended the same way for buyer and bank, and both hold the evidence for it.
    fn purchases(&mut self) {
        for (number, entry, evidence) in self.all_purchases() {
            self.purchase(number, &entry, &evidence);
        }
    }

    fn purchase(&mut self, number: usize, entry: &Entry, evidence: &Evidence) {
        let at = format!("wallet {number}, purchase {}", entry.id);
        let record = evidence.authorization_q.as_ref().and_then(|joint| self.record(&Digest::of(&[&joint.payload])));
        let state = record.as_ref().map(|record| record.state);
        let Some(ending) = entry.ending() else { return self.violation(format!("{at}: it has not ended")) };
        let (name, expected) = match ending {
            Ending::Bought => ("bought", Some(State::Committed)),
            Ending::Aborted => ("aborted", Some(State::Aborted)),
            Ending::Cheated => ("cheated", Some(State::Committed)),
            Ending::NotLocked => ("not_locked", None),
            Ending::GivenUp => ("given_up", None),
        };
        self.count(name);
        if let (Ending::NotLocked | Ending::GivenUp, Some(why)) = (ending, &entry.refused) {
            self.count(&format!("{name}: {why}"));
        }
        self.require(state == expected, || format!("{at}: {ending:?} for the buyer, {state:?} for the bank"));
        let may_be_cheated = matches!(self.world.run.cheat, Some(Cheat::WrongKey | Cheat::OtherGoods));
        self.require(ending != Ending::Cheated || may_be_cheated, || format!("{at}: cheated by an honest shop"));
        if record.as_ref().is_some_and(|record| record.state == State::Aborted && record.decision.is_none()) {
            // There is no decision to prove anything with: the merchant's own log was silent, and the bank went by its clock.
            let is_own = self.world.run.merged == Some(Merged::ShopAndLog);
            self.require(is_own, || format!("{at}: freed without an abort"));
            return self.count("own_log_lapsed");
        }
        self.buyers_evidence(&at, ending, evidence);
        if let Some(record) = &record {
            self.banks_evidence(&at, record);
        }
        if ending == Ending::Bought {
            let bought = entry.place.as_deref().and_then(|place| self.world.wallets[number].goods().finished(place));
            let sold = GOODS.iter().find(|(item, ..)| entry.title.as_deref() == Some(item)).map(|(_, plain, _)| *plain);
            self.require(bought.as_deref() == sold, || format!("{at}: the goods are not byte-exact"));
        }
        self.told_by_the_bank(&at, entry, record.as_ref());
    }

    /// Where shop and log are gone, the bank tells the buyer what was decided, and hands over k with it (AAT §4).
    fn told_by_the_bank(&mut self, at: &str, entry: &Entry, record: Option<&Record>) {
        let back = BEGINNING.plus(Duration(GONE_FOR));
        let soon = back.minus(Duration(GONE_FOR / 2));
        let settled = record.filter(|record| record.state == State::Committed).and_then(|record| record.settled);
        let Some(settled) = settled.filter(|_| self.world.run.cheat == Some(Cheat::Vanished)) else { return };
        // By a clock that is wrong the times say nothing.
        if !self.world.run.clocks.is_empty() || self.world.run.loss.is_some() || settled >= soon {
            return;
        }
        let is_told = entry.ended.as_ref().is_some_and(|ended| ended.at < back);
        self.require(is_told, || format!("{at}: shop and log are gone, and the bank has not said what was decided"));
        if is_told {
            self.count("bank_gave_k");
        }
    }

    /// The buyer can prove the contents, the abort, or the merchant's cheating.
    fn buyers_evidence(&mut self, at: &str, ending: Ending, evidence: &Evidence) {
        let judgement = self.judge(evidence);
        let proves = |claim: fn(&Claim) -> bool| judgement.claims.iter().any(claim);
        let holds = match ending {
            Ending::Bought => proves(|claim| matches!(claim, Claim::Contents { .. })),
            Ending::Aborted => proves(|claim| matches!(claim, Claim::Unlocked { .. })),
            Ending::Cheated => {
                let is_breach = |breach: &Breach| matches!(breach, Breach::DoesNotOpen | Breach::NotAsDescribed);
                judgement
                    .breaches
                    .iter()
                    .any(|(party, breach)| matches!(party, Party::Merchant(_)) && is_breach(breach))
            }
            Ending::NotLocked | Ending::GivenUp => return,
        };
        let name = match ending {
            Ending::Bought => "buyer_proves_contents",
            Ending::Aborted => "buyer_proves_unlock",
            _ => "buyer_proves_cheating",
        };
        if holds {
            self.count(name);
        } else {
            self.violation(format!("{at}: {ending:?}, but the buyer's evidence says {judgement:?}"));
        }
    }

    /// The bank can prove that the tokens are spent, or why it has freed them.
    fn banks_evidence(&mut self, at: &str, record: &Record) {
        let evidence = Evidence {
            authorization_q: Some(JointBytes::of(&record.exchange)),
            decisions: record.decision.iter().map(|decision| decision.to_bytes()).collect(),
            ..Evidence::default()
        };
        let judgement = self.judge(&evidence);
        let (name, holds) = match record.state {
            State::Committed => {
                ("bank_proves_spent", judgement.claims.iter().any(|claim| matches!(claim, Claim::Spent { .. })))
            }
            State::Aborted => {
                ("bank_proves_abort", judgement.claims.iter().any(|claim| matches!(claim, Claim::Unlocked { .. })))
            }
            State::Done | State::Locked => return,
        };
        if holds {
            self.count(name);
        } else {
            self.violation(format!("{at}: the bank's evidence says {judgement:?}"));
        }
    }

    /// Every sale is over; each that was committed is paid, and the shop can prove it.
    fn shops(&mut self) {
        for number in 0..self.world.shops.len() {
            let mut earned: BTreeMap<PublicKey, Amount> = BTreeMap::new();
            for (id, sale) in self.world.shops[number].sales() {
                let at = format!("shop {number}, sale {id}");
                let waits = self.world.run.cheat == Some(Cheat::SilentOwnLog);
                self.require(waits || is_over(&sale), || format!("{at}: it is not over"));
                let committed = sale.decision.as_ref().is_some_and(|decision| decision.decision().key().is_some());
                if !committed {
                    continue;
                }
                let sum = earned.entry(sale.payment.header.bank).or_default();
                *sum = sum.checked_add(sale.payment.goods_m.price).unwrap_or(Amount::MAX);
                let evidence = self.world.shops[number].evidence(&id).unwrap_or_default();
                let judgement = self.judge(&evidence);
                let credit = judgement.claims.iter().any(|claim| matches!(claim, Claim::Credit { .. }));
                let two_sided = sale.payment.header.q.is_some();
                let delivered = judgement.claims.iter().any(|claim| matches!(claim, Claim::Delivered { .. }));
                // A cheating shop's own goods do not bear out its contract, so it can prove no delivery either.
                let honest = !matches!(self.world.run.cheat, Some(Cheat::WrongKey | Cheat::OtherGoods));
                self.require(credit, || format!("{at}: the shop cannot prove its credit: {judgement:?}"));
                self.require(!honest || delivered == two_sided, || format!("{at}: the delivery: {judgement:?}"));
                if credit {
                    self.count("shop_proves_credit");
                }
                if delivered {
                    self.count("shop_proves_delivery");
                }
            }
            let mut missing = Amount::ZERO;
            for bank in 0..self.world.banks.len() {
                let earned = earned.get(&BankParty::key(bank)).copied().unwrap_or_default();
                let paid = self.world.banks[bank].balance(&ShopParty::key(number)).unwrap_or_default();
                self.require(paid <= earned, || format!("shop {number} earned {earned} and bank {bank} paid {paid}"));
                missing = missing.checked_add(earned.checked_sub(paid).unwrap_or_default()).unwrap_or(Amount::MAX);
            }
            let given_back = self.given_back(number);
            let (least, most) = given_back;
            let holds = (least..=most).contains(&missing);
            self.require(holds, || format!("shop {number} misses {missing}, and has given back {given_back:?}"));
        }
    }

    /// What a shop has given back, at least and at most: the wallets know it, but for those that were lost or copied.
    fn given_back(&mut self, shop: usize) -> (Amount, Amount) {
        let key = ShopParty::key(shop);
        let mut taken = Amount::ZERO;
        for wallet in 0..self.world.wallets.len() {
            for entry in self.history(wallet) {
                let is_done = matches!(entry.ended, Some(Ended { how: End::Done, .. }));
                if entry.kind == OperationKind::Refund && entry.shop == Some(key) && is_done {
                    taken = taken.checked_add(entry.amount.unwrap_or_default()).unwrap_or(Amount::MAX);
                    self.count("refunded");
                }
            }
        }
        let is_certain = self.world.run.loss.is_none() && self.world.run.cheat != Some(Cheat::CopiedWallet);
        let granted = self.world.shops[shop].granted().len() as u64 * GIVEN_BACK.micros();
        if is_certain { (taken, taken) } else { (Amount::ZERO, Amount::from_micros(granted)) }
    }

    /// The tokens in the wallets are the tokens that the banks owe for; none is reserved for anything any more.
    fn wallets_hold_what_the_banks_owe(&mut self, audits: &[AuditReport]) {
        let copied = self.world.run.cheat == Some(Cheat::CopiedWallet);
        let mut held: BTreeMap<PublicKey, Amount> = BTreeMap::new();
        // How much is left on a token that was used in part a restored wallet learns only when it wants more than that.
        let mut is_uncertain = false;
        for wallet in &mut self.world.wallets {
            let is_restored = wallet.restored.is_some();
            for token in wallet.tokens() {
                is_uncertain |= is_restored && token.in_parts;
                match token.state {
                    TokenState::Free => {
                        let sum = held.entry(token.bank).or_default();
                        *sum = sum.checked_add(token.value).unwrap_or(Amount::MAX);
                    }
                    TokenState::Reserved(operation) => {
                        let number = wallet.number();
                        self.report
                            .violations
                            .push(format!("wallet {number}: a token is kept for {operation}, which is over"));
                    }
                    TokenState::Spent => {}
                }
            }
        }
        for (bank, audit) in audits.iter().enumerate() {
            let crook = self.world.crook.as_ref().map_or(Amount::ZERO, |crook| crook.holds(bank));
            let sum = held.get(&BankParty::key(bank)).copied().unwrap_or_default().checked_add(crook);
            let (sum, owed) = (sum.unwrap_or(Amount::MAX), audit.tokens);
            // Two copies of a wallet hold the same tokens twice, and may make the same change: their owner's loss alone.
            let holds = sum == owed || copied || is_uncertain && sum > owed;
            self.require(holds, || format!("the wallets hold {sum}, bank {bank} owes {owed}"));
        }
        for number in 0..self.world.wallets.len() {
            if let Some(restored) = self.world.wallets[number].restored.clone() {
                self.count("wallet_restored");
                self.report.tally.add_to("restored_tokens", restored.tokens as u64);
                self.report.tally.add_to("restored_purchases", restored.purchases.len() as u64);
            }
        }
    }

    /// Counts what wallets refused by name before anything began.
    fn refusals(&mut self) {
        for number in 0..self.world.wallets.len() {
            let wallet = &self.world.wallets[number];
            let codes: Vec<String> = wallet.refused.iter().map(|(_, why)| format!("refused: {}", why.code())).collect();
            let logs_refused = wallet.logs_refused;
            codes.iter().for_each(|code| self.count(code));
            self.report.tally.add_to("crooked_log_refused", logs_refused);
        }
    }

    /// Who cheated can be convicted where the paper says so.
    fn cheats(&mut self) {
        for promise in std::mem::take(&mut self.world.cheater.false_promises) {
            // A false promise convicts the bank together with what it belongs to.
            for (_, _, mut evidence) in self.all_purchases() {
                evidence.authorization_b = Some(promise.clone());
                let convicted = self.judge(&evidence).breaches.iter().any(|(_, b)| *b == Breach::PromiseMisfit);
                if convicted {
                    self.count("bank_convicted");
                }
            }
        }
        if let Some(crook) = self.world.crook.take() {
            self.require(crook.bought.is_some(), || "a token could not be spent at its own bank".to_owned());
            for (what, code) in &crook.tried {
                let expected = Crook::expected(what, code.as_deref());
                let holds = code.as_deref() == Some(expected);
                self.require(holds, || format!("{what}: refused with {code:?}, not {expected}"));
                self.count(&format!("two_banks: {expected}"));
            }
        }
    }

    pub(crate) fn judge(&self, evidence: &Evidence) -> Judgement {
        let trust = Trust {
            banks: (0..self.world.banks.len()).map(BankParty::key).collect(),
            logs: (0..self.world.logs.len()).map(LogParty::identity).map(|log| (log.key, log)).collect(),
            merchants: (0..self.world.shops.len()).map(ShopParty::key).collect(),
        };
        let judgement = judge(evidence, &trust, |offer, k| self.open_goods(offer, k));
        debug_assert!(judgement.standing() != Standing::NotEnough || judgement.claims.is_empty());
        judgement
    }

    /// Decrypts the encrypted goods of an offer as a judge would who was handed them.
    pub(crate) fn open_goods(&self, offer: &GoodsM, k: &[u8; 32]) -> Option<Result<(), GoodsError>> {
        let sealed = self.world.shops.iter().find_map(|shop| shop.sealed(&offer.goods))?;
        Some(open(offer, k, &sealed))
    }
}

fn open(offer: &GoodsM, k: &[u8; 32], sealed: &[u8]) -> Result<(), GoodsError> {
    let file_key = MerchandiseKey::published(k).unwrap(&offer.n, &offer.wrapped_key)?;
    let mut opener = Opener::new(file_key);
    let chunks: Vec<&[u8]> = sealed.chunks(SEALED_CHUNK_LEN).collect();
    for (index, chunk) in chunks.iter().enumerate() {
        opener.open(chunk, index + 1 == chunks.len())?;
    }
    opener.finish(&offer.contract)
}

/// Everything from the first byte on, as much as there is.
pub const ALL: Range = Range { offset: 0, len: u64::MAX };
