//! What must hold at the end of every run.

use std::collections::{BTreeMap, BTreeSet};

use naulon_exchange::{AuditReport, Outcome, Record, State};
use naulon_money::Amount;
use naulon_purchase::goods::{GoodsError, MerchandiseKey, Opener, SEALED_CHUNK_LEN};
use naulon_purchase::{Breach, Claim, Ending, Evidence, GoodsM, JointBytes, Judgement, Party, Standing, Trust, judge};
use naulon_statement::Digest;
use naulon_wallet::{Entry, OperationKind, TokenState};
use naulon_wire::Range;

use crate::cheat::Cheat;
use crate::network::Place;
use crate::party::{BankParty, GOODS, LogParty, ShopParty, is_over};
use crate::world::World;

/// What was counted over runs: how purchases ended, and which evidence was judged to hold (AAT §4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By name.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Tally) {
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
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
    let mut check = Check { world, report };
    let Some(audit) = check.books() else { return };
    check.purchases();
    check.log();
    check.shops();
    check.wallets_hold_what_the_bank_owes(&audit);
    check.cheats();
}

struct Check<'w> {
    world: &'w mut World,
    report: &'w mut Report,
}

impl Check<'_> {
    fn violation(&mut self, what: impl Into<String>) {
        self.report.violations.push(what.into());
    }

    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violation(what());
        }
    }

    /// The auditor agrees, and money is conserved.
    fn books(&mut self) -> Option<AuditReport> {
        match self.world.bank.audit() {
            Ok(audit) => {
                let owed = Amount::checked_sum([audit.accounts, audit.tokens, audit.locked]);
                self.require(owed == Some(audit.came_in), || format!("money is not conserved: {audit:?}"));
                self.require(audit.locked.is_zero(), || format!("{} is still locked", audit.locked));
                Some(audit)
            }
            Err(why) => {
                self.violation(format!("the audit: {why}"));
                None
            }
        }
    }

    /// Every purchase ended the same way for buyer and bank, and both hold the evidence for it.
    fn purchases(&mut self) {
        let now = self.world.now();
        for number in 0..self.world.wallets.len() {
            let history = self.world.wallets[number].history(now);
            for entry in history.iter().filter(|entry| entry.kind == OperationKind::Purchase) {
                self.purchase(number, entry);
            }
        }
    }

    fn purchase(&mut self, number: usize, entry: &Entry) {
        let at = format!("wallet {number}, purchase {}", entry.id);
        let Some(evidence) = self.world.wallets[number].evidence(entry.id) else {
            return self.violation(format!("{at}: no evidence"));
        };
        let record = evidence.authorization_q.as_ref().and_then(|joint| {
            let id = Digest::of(&[&joint.payload]);
            self.world.bank.record(&id)
        });
        let state = record.as_ref().map(|record| record.state);
        let Some(ending) = entry.ending() else { return self.violation(format!("{at}: it has not ended")) };
        let (name, expected) = match ending {
            Ending::Bought => ("bought", Some(State::Committed)),
            Ending::Aborted => ("aborted", Some(State::Aborted)),
            Ending::Cheated => ("cheated", Some(State::Committed)),
            Ending::NotLocked => ("not_locked", None),
            Ending::GivenUp => ("given_up", None),
        };
        self.report.tally.count(name);
        self.require(state == expected, || format!("{at}: {ending:?} for the buyer, {state:?} for the bank"));
        let may_be_cheated = matches!(self.world.run.cheat, Some(Cheat::WrongKey | Cheat::OtherGoods));
        self.require(ending != Ending::Cheated || may_be_cheated, || format!("{at}: cheated by an honest shop"));
        self.buyers_evidence(&at, ending, &evidence);
        if let Some(record) = record {
            self.banks_evidence(&at, &record);
        }
        if ending == Ending::Bought {
            let bought = entry.place.as_deref().and_then(|place| self.world.wallets[number].goods().finished(place));
            let sold = GOODS.iter().find(|(item, ..)| entry.title.as_deref() == Some(item)).map(|(_, plain, _)| *plain);
            self.require(bought.as_deref() == sold, || format!("{at}: the goods are not byte-exact"));
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
            self.report.tally.count(name);
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
            self.report.tally.count(name);
        } else {
            self.violation(format!("{at}: the bank's evidence says {judgement:?}"));
        }
    }

    /// The log has decided each subject once, and the bank has done what it decided.
    fn log(&mut self) {
        let published = self.world.log.published();
        let mut settled = BTreeSet::new();
        for (subject, decisions) in &published {
            self.require(decisions.len() == 1, || format!("the log decided {subject} {} times", decisions.len()));
            let Some(Some(decision)) = decisions.first() else { continue };
            let state = self.world.bank.record(&decision.a).map(|record| record.state);
            let expected = match decision.outcome {
                Outcome::Commit { .. } => State::Committed,
                Outcome::Abort => State::Aborted,
            };
            self.require(state == Some(expected), || format!("the log decided {expected:?}, the bank has {state:?}"));
            settled.insert(decision.a);
        }
    }

    /// Every sale is over; each that was committed is paid, and the shop can prove it.
    fn shops(&mut self) {
        for number in 0..self.world.shops.len() {
            let mut earned = Amount::ZERO;
            for (id, sale) in self.world.shops[number].sales() {
                let at = format!("shop {number}, sale {id}");
                self.require(is_over(&sale), || format!("{at}: it is not over"));
                let committed = sale.decision.as_ref().is_some_and(|decision| decision.decision().key().is_some());
                if !committed {
                    continue;
                }
                earned = earned.checked_add(sale.payment.goods_m.price).unwrap_or(Amount::MAX);
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
                    self.report.tally.count("shop_proves_credit");
                }
                if delivered {
                    self.report.tally.count("shop_proves_delivery");
                }
            }
            let balance = self.world.bank.balance(&ShopParty::key(number)).unwrap_or_default();
            self.require(balance == earned, || format!("shop {number} earned {earned} and was paid {balance}"));
        }
    }

    /// The tokens in the wallets are the tokens that the bank owes for; none is reserved for anything any more.
    fn wallets_hold_what_the_bank_owes(&mut self, audit: &AuditReport) {
        let copied = self.world.run.cheat == Some(Cheat::CopiedWallet);
        let mut held = Amount::ZERO;
        for wallet in &mut self.world.wallets {
            for token in wallet.tokens() {
                match token.state {
                    TokenState::Free => held = held.checked_add(token.value).unwrap_or(Amount::MAX),
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
        // Two copies of a wallet hold the same tokens twice, and may make the same change: their owner's loss alone.
        if !copied {
            let owed = audit.tokens;
            self.require(held == owed, || format!("the wallets hold {held}, the bank owes {owed}"));
        }
    }

    /// Who cheated can be convicted where the paper says so.
    fn cheats(&mut self) {
        let promises = std::mem::take(&mut self.world.cheater.false_promises);
        for promise in promises {
            // A false promise convicts the bank together with what it belongs to.
            let now = self.world.now();
            for number in 0..self.world.wallets.len() {
                for entry in self.world.wallets[number].history(now) {
                    let Some(mut evidence) = self.world.wallets[number].evidence(entry.id) else { continue };
                    evidence.authorization_b = Some(promise.clone());
                    let convicted = self.judge(&evidence).breaches.iter().any(|(_, b)| *b == Breach::PromiseMisfit);
                    if convicted {
                        self.report.tally.count("bank_convicted");
                    }
                }
            }
        }
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let log = LogParty::identity();
        let trust = Trust {
            banks: BTreeSet::from([BankParty::key()]),
            logs: BTreeMap::from([(log.key, log)]),
            merchants: (0..self.world.shops.len()).map(ShopParty::key).collect(),
        };
        let judgement = judge(evidence, &trust, |offer, k| self.open_goods(offer, k));
        debug_assert!(judgement.standing() != Standing::NotEnough || judgement.claims.is_empty());
        judgement
    }

    /// Decrypts the encrypted goods of an offer as a judge would who was handed them.
    fn open_goods(&self, offer: &GoodsM, k: &[u8; 32]) -> Option<Result<(), GoodsError>> {
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
