//! The calls that are measured: what each must do at least, and prepared requests in any number.

use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail};
use naulon_blind::{BlindedMessage, IssuerSecret, KnownBrand, R_LEN, SALT_LEN, Token};
use naulon_exchange::{
    Carrier, Condition, Entry, Exchange, Header, Input, OpenAccount, Output, UnverifiedDecision, key_commitment,
};
use naulon_log::MemoryStore;
use naulon_money::Amount;
use naulon_purchase::log::authenticate_commit;
use naulon_purchase::{AuthorizationM, LogRules};
use naulon_statement::{Digest, Duration, Joint, PublicKey, SecretKey, Signed, Unverified};
use naulon_wire::{BankCall, LogCall, LogReply};

use crate::house;
use crate::load::post;

/// The RSA and Ed25519 operations that a call cannot do without.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operations {
    /// RSA private: one a token issued.
    pub private: f64,
    /// RSA public: one a token given up.
    pub public: f64,
    /// Ed25519 verifications.
    pub verify: f64,
    /// Ed25519 signatures.
    pub sign: f64,
}

/// What a call's figures are to be, as multiples of the peer's.
#[derive(Clone, Copy, Debug, Default)]
pub struct GoalsBesidePeer {
    /// Calls answered a second, at least.
    pub throughput: Option<f64>,
    /// Processor time a call, at most.
    pub cpu: Option<f64>,
}

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One token for one token.
    OneToOne,
    /// Eight tokens for eight.
    EightToEight,
    /// One token from an account.
    Withdraw,
    /// One token into an account.
    Deposit,
    /// One token locked for a purchase.
    Lock,
    /// A locked purchase settled by the log's commit.
    Settle,
    /// The log's decision to commit.
    Decision,
}

impl Kind {
    /// All of them, in an order in which they can be made: what is settled was locked before.
    pub const ALL: [Kind; 7] =
        [Kind::OneToOne, Kind::Decision, Kind::EightToEight, Kind::Withdraw, Kind::Deposit, Kind::Lock, Kind::Settle];

    /// Those that an area's name stands for: all of them for `exchange`, one for its own name, and with a settlement the
    /// lock that it settles. None if there is no such area.
    pub fn of_area(area: &str) -> Vec<Kind> {
        let wanted = |kind: &Kind| match kind {
            Kind::Lock => [Kind::Lock, Kind::Settle].iter().any(|kind| kind.name() == area),
            kind => kind.name() == area,
        };
        Kind::ALL.into_iter().filter(|kind| area == "exchange" || wanted(kind)).collect()
    }

    /// The beginning of its figures' names.
    pub fn name(self) -> &'static str {
        match self {
            Kind::OneToOne => "exchange.1to1",
            Kind::EightToEight => "exchange.8to8",
            Kind::Withdraw => "exchange.withdraw",
            Kind::Deposit => "exchange.deposit",
            Kind::Lock => "exchange.lock",
            Kind::Settle => "exchange.settle",
            Kind::Decision => "log.decision",
        }
    }

    /// What it cannot do without. A checkpoint's signature is shared by a batch.
    pub fn operations(self) -> Operations {
        let none = Operations::default();
        match self {
            Kind::OneToOne => Operations { private: 1.0, public: 1.0, verify: 1.0, ..none },
            Kind::EightToEight => Operations { private: 8.0, public: 8.0, verify: 8.0, ..none },
            Kind::Withdraw => Operations { private: 1.0, verify: 1.0, ..none },
            Kind::Deposit => Operations { public: 1.0, verify: 1.0, ..none },
            Kind::Lock => Operations { public: 1.0, verify: 1.0, sign: 2.0, ..none },
            // The decision and the checkpoint that it stands under; the reply repeats header and promise.
            Kind::Settle => Operations { verify: 2.0, sign: 2.0, ..none },
            Kind::Decision => Operations { verify: 2.0, sign: 1.0 + 1.0 / crate::rows::BATCH as f64, ..none },
        }
    }

    /// What its processor time is to be at most, as a multiple of the unavoidable.
    pub fn goal(self) -> Option<f64> {
        match self {
            Kind::OneToOne => Some(1.25),
            Kind::Decision => Some(1.5),
            _ => None,
        }
    }

    /// How many tokens it gives for as many, if it does only that; a mint has a swap for it.
    pub fn tokens_swapped(self) -> Option<usize> {
        match self {
            Kind::OneToOne => Some(1),
            Kind::EightToEight => Some(8),
            _ => None,
        }
    }

    /// What its figures are to be, as multiples of the peer's.
    pub fn goals_beside_peer(self) -> GoalsBesidePeer {
        match self {
            Kind::OneToOne => GoalsBesidePeer { throughput: Some(3.0), cpu: Some(0.6) },
            Kind::EightToEight => GoalsBesidePeer { throughput: Some(1.5), cpu: None },
            _ => GoalsBesidePeer::default(),
        }
    }

    /// How many of them are made in a round.
    pub fn calls(self) -> usize {
        match self {
            Kind::OneToOne => 2_000,
            Kind::Decision => 4_000,
            Kind::EightToEight => 200,
            Kind::Withdraw | Kind::Deposit | Kind::Lock | Kind::Settle => 800,
        }
    }

    /// Whether the log answers it, not the bank.
    pub fn is_for_log(self) -> bool {
        self == Kind::Decision
    }
}

/// Makes requests that no server has seen before. Making them costs more than answering them, so it is done ahead.
pub struct Maker {
    brand: Arc<KnownBrand>,
    secret: IssuerSecret,
    log: LogRules,
    account: SecretKey,
    merchant: SecretKey,
    value: Amount,
    /// What is made is numbered, and everything random in it derived from the number.
    next: u64,
    /// The numbers of the purchases that were locked and not settled.
    locked: Vec<u64>,
}

impl Maker {
    /// For the bank that states this brand.
    pub fn new(brand: KnownBrand) -> Result<Maker> {
        Ok(Maker {
            brand: Arc::new(brand),
            secret: house::brand_secret()?,
            log: house::log_rules(&house::log_keys()?),
            account: SecretKey::from_seed(&[4; 32]),
            merchant: SecretKey::from_seed(&[5; 32]),
            value: house::denomination()?,
            next: 0,
            locked: Vec::new(),
        })
    }

    /// What is sent to a fresh bank first, one after the other: two accounts, one of them with money.
    pub fn openings(&self) -> Result<Vec<Vec<u8>>> {
        let bank = self.bank();
        let open = |key: &SecretKey| {
            let statement = Signed::sign(key, OpenAccount { bank, account: key.public() });
            request(&BankCall::OpenAccount(Unverified::from(&statement)))
        };
        let credit = self.credit(self.account.public(), "1000000".parse()?)?;
        Ok(vec![open(&self.account), open(&self.merchant), credit])
    }

    /// Money from outside into an account, once.
    pub fn credit(&self, account: PublicKey, amount: Amount) -> Result<Vec<u8>> {
        let input = Input::Outside { amount, reference: [7; 16] };
        self.exchange(vec![input], vec![Output::Account { account, amount }], None, &[house::operator_key()])
    }

    /// So many requests of this kind.
    pub fn make(&mut self, kind: Kind, count: usize) -> Result<Vec<Vec<u8>>> {
        let numbers: Vec<u64> = if kind == Kind::Settle {
            self.locked.drain(..count.min(self.locked.len())).collect()
        } else {
            (self.next..).take(count).collect()
        };
        match kind {
            Kind::Settle => return self.settle(&numbers),
            Kind::Lock => self.locked.extend(&numbers),
            _ => {}
        }
        self.next += count as u64;
        let maker = &*self;
        in_parallel(&numbers, |number| maker.one(kind, number))
    }

    /// A header as the bank signs it.
    pub fn header(&self, number: u64) -> Header {
        let condition = self.condition(number);
        Header {
            bank: self.bank(),
            merchant: condition.merchant,
            n: condition.n,
            expiry: condition.expiry,
            log: condition.log,
            a: Digest(derived("a", number)),
            c: condition.c,
            q: None,
            entry: Entry::Plain,
        }
    }

    fn one(&self, kind: Kind, number: u64) -> Result<Vec<u8>> {
        let account = self.account.public();
        let credit = |account| Output::Account { account, amount: self.value };
        match kind {
            Kind::OneToOne => self.spend(number, 1, vec![self.blinded(number, 0)], None),
            Kind::EightToEight => {
                self.spend(number, 8, (0..8).map(|place| self.blinded(number, place)).collect(), None)
            }
            Kind::Deposit => self.spend(number, 1, vec![credit(account)], None),
            Kind::Lock => request_of(self.lock(number)?),
            Kind::Withdraw => {
                let [order, _] = halves(derived("order", number));
                let input = Input::Account { account, amount: self.value, order };
                self.exchange(vec![input], vec![self.blinded(number, 0)], None, std::slice::from_ref(&self.account))
            }
            Kind::Decision => {
                let (header, authorization) = self.commit(self.header(number), number);
                Ok(request(&LogCall::Commit { header, authorization }))
            }
            Kind::Settle => bail!("settling needs the log"),
        }
    }

    fn lock(&self, number: u64) -> Result<Joint<Exchange>> {
        let (token, key) = self.token(number, 0)?;
        let output = Output::Account { account: self.merchant.public(), amount: self.value };
        self.signed(vec![Input::token(token)], vec![output], Some(self.condition(number)), &[key])
    }

    /// The decisions of a log of this process on the purchases of these numbers, as requests to settle them.
    fn settle(&self, numbers: &[u64]) -> Result<Vec<Vec<u8>>> {
        let commits = in_parallel(numbers, |number| {
            let joint = self.lock(number)?;
            let header = Header::of(&joint, joint.id()).context("a lock has a header")?;
            let (header, authorization) = self.commit(header, number);
            Ok(authenticate_commit(&self.log, header, authorization)?)
        })?;
        let mut log = house::log_over(MemoryStore::new(naulon_durable::fault::Faults::none()))?;
        let settle = |decision: UnverifiedDecision| request(&BankCall::Settle(decision));
        let answers = log.handle_batch(commits, house::now()).into_iter().map(|answer| match answer {
            Ok(LogReply::Decision(decision)) => Ok(settle(*decision)),
            Ok(_) => bail!("the log answered something else"),
            Err(problem) => Err(problem.into()),
        });
        answers.collect()
    }

    fn commit(&self, header: Header, number: u64) -> (Unverified<Header>, Unverified<AuthorizationM>) {
        let authorization = AuthorizationM { a: header.a, k: derived("k", number) };
        let authorization = Signed::sign(&self.merchant, authorization);
        (Unverified::from(&Signed::sign(&house::bank_key(), header)), Unverified::from(&authorization))
    }

    fn condition(&self, number: u64) -> Condition {
        let [n, _] = halves(derived("n", number));
        Condition {
            n,
            merchant: self.merchant.public(),
            // The same for all numbers of an hour or two, so that a lock is made twice alike.
            expiry: self.brand.brand().issue_from.plus(Duration::days(1)).plus(Duration::seconds(6 * 3600)),
            log: self.log.log,
            c: key_commitment(&n, &derived("k", number)),
            q: None,
            entry: Entry::Plain,
            carrier: Carrier::Wallet,
        }
    }

    fn spend(&self, number: u64, tokens: u8, outputs: Vec<Output>, condition: Option<Condition>) -> Result<Vec<u8>> {
        let tokens = (0..tokens).map(|place| self.token(number, place)).collect::<Result<Vec<_>>>()?;
        let (tokens, keys): (Vec<Token>, Vec<SecretKey>) = tokens.into_iter().unzip();
        let inputs = tokens.into_iter().map(Input::token).collect();
        self.exchange(inputs, outputs, condition, &keys)
    }

    fn exchange(
        &self,
        inputs: Vec<Input>,
        outputs: Vec<Output>,
        condition: Option<Condition>,
        keys: &[SecretKey],
    ) -> Result<Vec<u8>> {
        request_of(self.signed(inputs, outputs, condition, keys)?)
    }

    fn signed(
        &self,
        inputs: Vec<Input>,
        outputs: Vec<Output>,
        condition: Option<Condition>,
        keys: &[SecretKey],
    ) -> Result<Joint<Exchange>> {
        let exchange =
            Exchange { bank: self.bank(), currency: house::currency()?, inputs, outputs, condition, seal_to: None };
        Ok(Joint::sign(exchange, keys))
    }

    /// A token, signed without blinding: nobody is to be kept from recognising it, and r = 1 costs less.
    fn token(&self, number: u64, place: u8) -> Result<(Token, SecretKey)> {
        let key = SecretKey::from_seed(&derived(&format!("q{place}"), number));
        let input = self.brand.token_input(key.public().0);
        let mut r = [0; R_LEN];
        r[R_LEN - 1] = 1;
        let (message, unblinder) = input.blind(self.brand.issuer_key(), &[0; SALT_LEN], &r)?;
        let token = input.finalize(self.brand.issuer_key(), &self.secret.blind_sign(&message)?, &unblinder)?;
        Ok((token, key))
    }

    /// A wanted token. To the bank a blinded message is any number below N.
    fn blinded(&self, number: u64, place: u8) -> Output {
        let mut message = [0; 256];
        for (piece, bytes) in message.chunks_exact_mut(32).enumerate() {
            bytes.copy_from_slice(&derived(&format!("blinded{place}.{piece}"), number));
        }
        message[0] &= 0x7f;
        Output::Blinded { brand: Digest(*self.brand.key_id()), message: BlindedMessage(message) }
    }

    fn bank(&self) -> PublicKey {
        self.brand.brand().bank
    }
}

fn derived(purpose: &str, number: u64) -> [u8; 32] {
    Digest::of(&[b"naulon/bench/", &number.to_be_bytes(), purpose.as_bytes()]).0
}

fn halves(bytes: [u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    halves[0].copy_from_slice(&bytes[..16]);
    halves[1].copy_from_slice(&bytes[16..]);
    halves
}

fn request_of(joint: Joint<Exchange>) -> Result<Vec<u8>> {
    Ok(request(&BankCall::Exchange(joint.into())))
}

fn request(call: &impl naulon_wire::Call) -> Vec<u8> {
    let http = call.to_http();
    post(&http.path, &http.body)
}

/// On all processors, in order.
fn in_parallel<T: Send>(numbers: &[u64], make: impl Fn(u64) -> Result<T> + Sync) -> Result<Vec<T>> {
    let threads = thread::available_parallelism()?.get();
    let share = numbers.len().div_ceil(threads).max(1);
    let make = &make;
    thread::scope(|scope| {
        let spawn = |share: &'_ [u64]| {
            let share = share.to_vec();
            scope.spawn(move || share.into_iter().map(make).collect::<Result<Vec<T>>>())
        };
        let threads: Vec<_> = numbers.chunks(share).map(spawn).collect();
        let mut all = Vec::with_capacity(numbers.len());
        for thread in threads {
            let made = thread.join().map_err(|_| anyhow::anyhow!("making requests failed"))?;
            all.extend(made?);
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas() {
        assert_eq!(Kind::of_area("exchange"), Kind::ALL);
        assert_eq!(Kind::of_area("log.decision"), [Kind::Decision]);
        assert_eq!(Kind::of_area("exchange.settle"), [Kind::Lock, Kind::Settle]);
        assert_eq!(Kind::of_area("mix"), []);
    }
}
