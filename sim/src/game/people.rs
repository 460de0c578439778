//! People with wallets, who do what their timetables say; messages get lost on the way.

use std::collections::BTreeMap;

use naulon_durable::fault::Faults;
use naulon_exchange::{EntryMode, Header, RequestId};
use naulon_money::Amount;
use naulon_purchase::Ending;
use naulon_statement::{Duration, PublicKey, Timestamp, Unverified};
use naulon_tlog::WitnessPolicy;
use naulon_wallet::{
    BuyOptions, DepositAmount, INDICES_SKIPPED, Keys, MemoryGoods, MemoryStore, OperationId, Peers, PinnedBank,
    Question, Seed, Taken, Wallet, WalletError, restore_begins,
};
use naulon_wire::{AnyCall, AnyReply, Ask, BankCall, BankReply, CallError, Circuit, ShopCall, ShopReply};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::habits::Habits;
use super::keys::{self, BEGINNING};
use super::town::{Town, bank_identity, bank_key, credit, item, log_identity, shop_key};
use crate::fault::below;

/// Of so many messages one is lost: a request, or its answer.
const LOST_ONE_IN: u64 = 25;
/// The first pause before something is asked again, and the longest, in milliseconds.
const PAUSES: (u64, u64) = (300, 16_000);
/// How long a person waits before she looks again whether what she has begun is done, in milliseconds.
const GLANCE: u64 = 1_500;
/// The most events of one trial.
const MAX_EVENTS: usize = 200_000;
/// How long each of the two rounds of questions takes in which a wallet is restored.
pub const ROUND: Duration = Duration::seconds(6 * 3_600);
/// The smallest gap that a restoration can be told: the trials are many.
const GAP: u32 = INDICES_SKIPPED + 1;

/// One thing that a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Opens an account.
    Open,
    /// Pays this much in: the operator books it.
    PayIn(Amount),
    /// Reads the bank's register.
    Learn,
    /// Takes tokens out.
    Withdraw(Amount),
    /// Exchanges all tokens for fresh ones.
    Refresh,
    /// Buys the item of this number.
    Buy(usize),
    /// Has the shop give this much back of the first thing that she bought.
    Refund(Amount),
    /// Deposits this much; all, if the number is zero.
    Deposit(Amount),
    /// Loses the wallet and makes it anew from its words.
    Restore,
}

/// What happens at an instant.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A person does the next thing of her timetable.
    Next(usize),
    /// A wallet goes on with an operation.
    Go(usize, OperationId),
    /// A wallet that is being restored asks the next question.
    Ask(usize),
    /// The shop asks log and bank.
    Shop,
}

struct Person {
    wallet: Wallet<MemoryStore>,
    seed: Seed,
    /// What she still does, the next thing last, and when.
    timetable: Vec<(Timestamp, Act)>,
    pauses: BTreeMap<OperationId, u64>,
}

/// The people, their town and what is to come.
pub struct People {
    /// What the adversary sees.
    pub town: Town,
    /// Who authorised each purchase: the answer that the adversary looks for.
    pub truth: BTreeMap<RequestId, usize>,
    /// Each person's account.
    pub accounts: Vec<PublicKey>,
    /// How many registers wallets did not take.
    pub registers_refused: u64,
    /// What wallets refused to do.
    pub refused: Vec<(usize, Act, WalletError)>,
    habits: Habits,
    people: Vec<Person>,
    queue: BTreeMap<(Timestamp, u64), Event>,
    scheduled: u64,
    now: Timestamp,
    rng: ChaCha8Rng,
    shop_is_due: bool,
    circuits: u64,
}

impl People {
    /// People of this town with these timetables, each in the order of time. None if their wallets cannot be made.
    pub fn new(
        town: Town,
        timetables: Vec<Vec<(Timestamp, Act)>>,
        habits: Habits,
        trial: u64,
        witnesses: &WitnessPolicy,
    ) -> Option<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(trial ^ 0x6e61_756c_6f6e);
        let mut people = Vec::new();
        for (number, mut timetable) in timetables.into_iter().enumerate() {
            let mut seed = keys::customer_seed(trial, number);
            if habits.secret_seeds {
                rng.fill_bytes(&mut seed);
            }
            let seed = Seed::from_bytes(seed);
            let (store, goods) = (MemoryStore::new(Faults::none()), MemoryGoods::new(Faults::none()));
            let wallet = Wallet::create(store, &seed, peers(witnesses), goods).ok()?;
            timetable.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            people.push(Person { wallet, seed, timetable, pauses: BTreeMap::new() });
        }
        let accounts = people.iter().map(|person| person.wallet.account(&bank_key())).collect();
        let mut people = People {
            town,
            truth: BTreeMap::new(),
            accounts,
            registers_refused: 0,
            refused: Vec::new(),
            habits,
            people,
            queue: BTreeMap::new(),
            scheduled: 0,
            now: BEGINNING,
            rng,
            shop_is_due: false,
            circuits: 0,
        };
        people.town.open_the_shop(BEGINNING, &mut people.rng);
        for number in 0..people.people.len() {
            people.schedule_next(number);
        }
        Some(people)
    }

    /// Lets everything happen. True if it ends.
    pub fn live(&mut self) -> bool {
        for _ in 0..MAX_EVENTS {
            let Some(((at, _), event)) = self.queue.pop_first() else { return true };
            self.now = at;
            match event {
                Event::Next(person) => self.next(person),
                Event::Go(person, operation) => self.go(person, operation),
                Event::Ask(person) => self.ask(person),
                Event::Shop => {
                    self.shop_is_due = false;
                    if self.town.let_the_shop_ask(self.now, &mut self.rng) {
                        self.wake_the_shop(700);
                    }
                }
            }
        }
        false
    }

    fn after(&mut self, milliseconds: u64, event: Event) {
        self.at(Timestamp(self.now.0 + milliseconds), event);
    }

    fn at(&mut self, at: Timestamp, event: Event) {
        self.scheduled += 1;
        self.queue.insert((at.max(self.now), self.scheduled), event);
    }

    fn wake_the_shop(&mut self, milliseconds: u64) {
        if !self.shop_is_due {
            self.shop_is_due = true;
            self.after(milliseconds, Event::Shop);
        }
    }

    fn schedule_next(&mut self, number: usize) {
        if let Some((at, _)) = self.people[number].timetable.last() {
            self.at(*at, Event::Next(number));
        }
    }

    fn entropy(&mut self) -> [u8; 32] {
        let mut entropy = [0; 32];
        self.rng.fill_bytes(&mut entropy);
        entropy
    }

    /// The next thing of a timetable, if what was begun before is done.
    fn next(&mut self, number: usize) {
        let now = self.now;
        let person = &mut self.people[number];
        let busy = !person.wallet.under_way(now).is_empty() || person.wallet.is_restoring();
        let Some((_, act)) = person.timetable.last().copied() else { return };
        if busy {
            return self.after(GLANCE, Event::Next(number));
        }
        let Some(begun) = self.begin(number, act) else { return self.after(GLANCE, Event::Next(number)) };
        self.people[number].timetable.pop();
        match begun {
            Ok(Some(operation)) => self.after(0, Event::Go(number, operation)),
            Ok(None) => {}
            Err(error) => self.refused.push((number, act, error)),
        }
        self.schedule_next(number);
    }

    /// Begins an act; none if a message was lost on the way and she has to try again.
    fn begin(&mut self, number: usize, act: Act) -> Option<Result<Option<OperationId>, WalletError>> {
        let (bank, now, entropy) = (bank_key(), self.now, self.entropy());
        let keys = if self.habits.own_keys { Keys::Own } else { Keys::Shared };
        let wallet = &mut self.people[number].wallet;
        Some(match act {
            Act::Open => wallet.open_account(bank, now).map(Some),
            Act::PayIn(amount) => {
                let account = self.accounts[number];
                let call = AnyCall::Bank(credit(account, amount));
                let ask = Ask { to: bank, circuit: Circuit::Identified(account), call };
                let _ = self.town.carry(&ask, b"operator".to_vec(), now, &mut self.rng);
                Ok(None)
            }
            Act::Learn => {
                let AnyReply::Bank(BankReply::Description(description)) =
                    self.alone(number, bank, AnyCall::Bank(BankCall::Describe))?.ok()?
                else {
                    return None;
                };
                let accepted = self.people[number].wallet.accept_description(description, now);
                if accepted.as_ref().is_ok_and(|accepted| accepted.register.is_some()) {
                    // She asks again later, when nobody knows that it is she.
                    self.registers_refused += 1;
                    return None;
                }
                accepted.map(|_| None)
            }
            Act::Withdraw(amount) => wallet.withdraw_with(bank, amount, keys, now, &entropy).map(Some),
            Act::Refresh => wallet.refresh_with(bank, keys, now, &entropy).map(Some),
            Act::Deposit(amount) => {
                let amount = if amount.is_zero() { DepositAmount::All } else { DepositAmount::Exactly(amount) };
                wallet.deposit(bank, amount, now, &entropy).map(Some)
            }
            Act::Buy(wanted) => {
                let call = AnyCall::Shop(ShopCall::Offer { item: item(wanted) });
                let AnyReply::Shop(ShopReply::Offer(offer)) = self.alone(number, shop_key(), call)?.ok()? else {
                    return None;
                };
                let options = BuyOptions {
                    two_sided: self.habits.own_keys && below(&mut self.rng, 3) == 0,
                    expiry: Duration::seconds(120),
                    keep_remainder: !self.habits.whole_tokens,
                    entries: Some(EntryMode::ALL[below(&mut self.rng, 3) as usize]),
                    ..BuyOptions::default()
                };
                self.people[number].wallet.buy(*offer, options, now, &entropy).map(Some)
            }
            Act::Refund(amount) => self.refund(number, amount, &entropy),
            Act::Restore => {
                self.restore(number)?;
                Ok(None)
            }
        })
    }

    /// The shop's keeper grants a refund, and its buyer comes for it.
    fn refund(
        &mut self,
        number: usize,
        amount: Amount,
        entropy: &[u8; 32],
    ) -> Result<Option<OperationId>, WalletError> {
        let now = self.now;
        let wallet = &mut self.people[number].wallet;
        let bought = wallet.purchases(now)?.into_iter().find(|entry| entry.ending() == Some(Ending::Bought));
        let Some(bought) = bought else { return Ok(None) };
        let header = wallet.evidence(bought.id)?.header.and_then(|header| Unverified::<Header>::parse(&header).ok());
        if let Some(header) = header {
            self.town.grants.grant(header.claimed_body().digest(), amount);
        }
        wallet.refund(bought.id, now, entropy).map(Some)
    }

    /// Goes on with an operation, and looks at it again later unless it has ended.
    fn go(&mut self, number: usize, operation: OperationId) {
        let now = self.now;
        let asks = self.people[number].wallet.asks_of(operation, now).unwrap_or_default();
        let mut went_on = false;
        for ask in asks {
            self.note_truth(number, &ask);
            let Some(answer) = self.carry(number, &ask) else { continue };
            went_on |= answer.is_ok();
            let entropy = self.entropy();
            // What a wallet does not take it asks for again.
            let _ = self.people[number].wallet.answered(operation, answer, now, &entropy);
        }
        let person = &mut self.people[number];
        let entry = person.wallet.operation(operation, now).ok().flatten();
        if entry.is_none_or(|entry| entry.ended.is_some()) {
            person.pauses.remove(&operation);
            return;
        }
        let pause = person.pauses.entry(operation).or_insert(PAUSES.0);
        let wait = if went_on {
            *pause = PAUSES.0;
            20 + below(&mut self.rng, 100)
        } else {
            let wait = *pause;
            *pause = (wait * 2).min(PAUSES.1);
            wait
        };
        self.after(wait, Event::Go(number, operation));
    }

    fn note_truth(&mut self, number: usize, ask: &Ask) {
        if let AnyCall::Bank(BankCall::Exchange(joint)) = &ask.call
            && joint.claimed_body().condition.is_some()
        {
            self.truth.insert(joint.id(), number);
        }
    }

    /// Asks on a circuit that is used for this one call.
    fn alone(&mut self, number: usize, to: PublicKey, call: AnyCall) -> Option<Result<AnyReply, CallError>> {
        self.circuits += 1;
        let circuit = Circuit::Anonymous(self.circuits ^ (1 << 63));
        self.carry(number, &Ask { to, circuit, call })
    }

    /// Carries a call; none if it, or its answer, was lost.
    fn carry(&mut self, number: usize, ask: &Ask) -> Option<Result<AnyReply, CallError>> {
        let line = match ask.circuit {
            _ if !self.habits.own_connections => (number as u64).to_be_bytes().to_vec(),
            Circuit::Identified(account) => account.0.to_vec(),
            Circuit::Anonymous(circuit) => [&(number as u64).to_be_bytes()[..], &circuit.to_be_bytes()].concat(),
        };
        let fate = below(&mut self.rng, 2 * LOST_ONE_IN);
        if fate == 0 {
            return None;
        }
        let answer = self.town.carry(ask, line, self.now, &mut self.rng);
        if ask.to == shop_key() {
            let soon = 20 + below(&mut self.rng, 200);
            self.wake_the_shop(soon);
        }
        (fate != 1).then_some(answer)
    }
}

fn peers(witnesses: &WitnessPolicy) -> Peers {
    Peers::new([PinnedBank::new(bank_identity(), witnesses.clone())], [log_identity()], [shop_key()])
}

/// Restoring.
impl People {
    /// Makes the wallet anew from its seed; none if the bank's register could not be read.
    fn restore(&mut self, number: usize) -> Option<()> {
        let AnyReply::Bank(BankReply::Description(description)) =
            self.alone(number, bank_key(), AnyCall::Bank(BankCall::Describe))?.ok()?
        else {
            return None;
        };
        let now = self.now;
        let (store, goods) = (MemoryStore::new(Faults::none()), MemoryGoods::new(Faults::none()));
        let person = &mut self.people[number];
        let peers = person.wallet.peers().clone();
        let mut wallet = Wallet::restore(store, &person.seed, peers, goods, GAP).ok()?;
        wallet.accept_description(description, now).ok()?;
        person.wallet = wallet;
        let begins = restore_begins(now, self.rounds());
        self.at(begins, Event::Ask(number));
        Some(())
    }

    fn wait_for_question(&mut self, number: usize) {
        let entropy = self.entropy();
        let wait = self.people[number].wallet.restore_wait(self.now, self.rounds(), &entropy);
        self.after(wait.0.max(10), Event::Ask(number));
    }

    /// How long each round of a restoration's questions takes.
    fn rounds(&self) -> Duration {
        if self.habits.patient_restore { ROUND } else { Duration(0) }
    }

    fn ask(&mut self, number: usize) {
        let (now, entropy) = (self.now, self.entropy());
        let asked: Result<Option<(Question, Ask)>, WalletError> =
            self.people[number].wallet.restore_question(now, &entropy);
        match asked {
            Ok(Some((question, mut ask))) => {
                if !self.habits.own_sessions {
                    ask.circuit = Circuit::Anonymous(0);
                }
                if let Some(answer) = self.carry(number, &ask) {
                    let taken = self.people[number].wallet.restore_answered(question, answer);
                    debug_assert!(matches!(taken, Ok(Taken::Yes)), "{taken:?}");
                }
                self.wait_for_question(number);
            }
            Ok(None) => {
                let _ = self.people[number].wallet.finish_restore(now, &entropy);
                let under_way = self.people[number].wallet.under_way(now);
                for entry in under_way {
                    self.after(10, Event::Go(number, entry.id));
                }
            }
            Err(error) => self.refused.push((number, Act::Restore, error)),
        }
    }
}
