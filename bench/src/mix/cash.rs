//! What it costs a bank to cash a chain: to check the request, to decide it, and to sign the reply.
//!
//! Beside what it cannot do without, a compression a tick and the verification of the payee's signature. Over the store in
//! memory and without HTTP, for what rows and messages cost, the area `exchange` measures.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use naulon_bank::{Bank, MemoryStore};
use naulon_durable::fault::Faults;
use naulon_exchange::{Challenge, Exchange, Input, OpenAccount, Output};
use naulon_money::Amount;
use naulon_statement::{Digest, Duration as Span, Joint, SecretKey, Signed, Unverified, UnverifiedJoint};
use naulon_tick::{ChainId, Check, Front, Walker};
use naulon_wire::{BankCall, BankReply};
use sha2::block_api::compress256;

use crate::cpu;
use crate::figure::{Figure, MICROSECONDS};
use crate::house;
use crate::samples::Samples;

/// Ticks of a chain, all of which are cashed.
const TICKS: u32 = 1_000;
/// Chains a round.
const CHAINS: u64 = 200;
/// What the ratio compares with.
const UNAVOIDABLE: &str = "1,000 compressions and one verification";
const CASHED: &str = "mix.cash.1000";
/// At most so many times the unavoidable.
const GOAL: f64 = 1.5;

/// The figures.
pub fn run(rounds: usize) -> Result<Vec<Figure>> {
    let mut samples = Samples::default();
    let mut cashing = Cashing::new()?;
    for round in 0..=rounds {
        let (cashed, unavoidable) = (cashing.cash()?, cashing.unavoidable()?);
        // The first round warms up.
        if round > 0 {
            samples.add(CASHED, cashed);
            samples.add(UNAVOIDABLE, unavoidable);
        }
    }
    let cashed = Figure::new(CASHED, samples.median(CASHED), MICROSECONDS);
    Ok(vec![
        Figure::new("mix.cash.1000.unavoidable", samples.median(UNAVOIDABLE), MICROSECONDS),
        cashed.against(UNAVOIDABLE, samples.ratio(CASHED, &[UNAVOIDABLE])).at_most(Some(GOAL)),
    ])
}

struct Cashing {
    bank: Bank<MemoryStore>,
    payee: SecretKey,
    made: u64,
}

impl Cashing {
    fn new() -> Result<Cashing> {
        let bank = house::bank_over(house::fresh_brand()?, MemoryStore::new(Faults::none()))?;
        let mut cashing = Cashing { bank, payee: SecretKey::from_seed(&[4; 32]), made: 0 };
        let open = OpenAccount { bank: house::bank_key().public(), account: cashing.payee.public() };
        cashing.call(BankCall::OpenAccount(Unverified::from(&Signed::sign(&cashing.payee, open))))?;
        Ok(cashing)
    }

    fn call(&mut self, call: BankCall) -> Result<BankReply> {
        self.bank.handle(call, house::now()).map_err(|problem| anyhow::anyhow!("the bank answers {problem}"))
    }

    /// Microseconds of processor time a chain, in the mean over some.
    fn cash(&mut self) -> Result<f64> {
        let calls = (0..CHAINS).map(|_| self.cashing_call()).collect::<Result<Vec<_>>>()?;
        let begun = cpu::of_this_thread();
        for call in calls {
            ensure!(matches!(self.call(call)?, BankReply::Exchange(_)), "the bank answers another question");
        }
        Ok(mean(cpu::of_this_thread() - begun))
    }

    /// A new check, set aside for at the bank, and the call that cashes all of it.
    fn cashing_call(&mut self) -> Result<BankCall> {
        self.made += 1;
        let seed = Digest::of(&[b"naulon/bench/chain", &self.made.to_be_bytes()]).0;
        let mut walker = Walker::new(ChainId(seed), &seed, TICKS)?;
        let check = Check {
            id: walker.id(),
            root: walker.root(),
            length: TICKS,
            value: Amount::from_micros(1),
            currency: house::currency()?,
            payee: self.payee.public(),
            salt: [0; 16],
            bank: house::bank_key().public(),
            expiry: house::now().plus(Span::days(1)),
            refund: SecretKey::from_seed(&seed).public(),
        };
        let maximum = check.maximum().context("countable")?;
        let mut reference = [0; 16];
        reference[..8].copy_from_slice(&self.made.to_be_bytes());
        let outside = Input::Outside { amount: maximum, reference };
        let fund = exchange(outside, Output::chain(&check).context("countable")?, &house::operator_key())?;
        self.call(fund)?;
        let BankReply::Challenge(challenge) = self.call(BankCall::Challenge)? else { bail!("no challenge") };
        let (from, to) = (check.front(), walker.advance(TICKS)?);
        self.cash_all(check, from, to, challenge, maximum)
    }

    fn cash_all(&self, check: Check, from: Front, to: Front, challenge: Challenge, amount: Amount) -> Result<BankCall> {
        let credit = Output::Account { account: self.payee.public(), amount };
        exchange(Input::Chain { check, from, to, challenge }, credit, &self.payee)
    }

    /// The same of what cannot be left out, with the fastest libraries.
    fn unavoidable(&self) -> Result<f64> {
        let message = [0x5a; 512];
        let signature = self.payee.sign(&message);
        let key = self.payee.public();
        let mut block = [0x5a; 64];
        let begun = cpu::of_this_thread();
        for _ in 0..CHAINS {
            for _ in 0..TICKS {
                let mut state = [0x6a09_e667_u32; 8];
                compress256(&mut state, std::slice::from_ref(&block));
                block[..4].copy_from_slice(&state[0].to_be_bytes());
            }
            ensure!(black_box(&key).verify(&message, &signature).is_ok(), "a signature holds");
        }
        black_box(block);
        Ok(mean(cpu::of_this_thread() - begun))
    }
}

fn mean(all: Duration) -> f64 {
    all.as_secs_f64() * 1e6 / CHAINS as f64
}

fn exchange(input: Input, output: Output, key: &SecretKey) -> Result<BankCall> {
    let body = Exchange {
        bank: house::bank_key().public(),
        currency: house::currency()?,
        inputs: vec![input],
        outputs: vec![output],
        condition: None,
        seal_to: None,
    };
    Ok(BankCall::Exchange(UnverifiedJoint::from(Joint::sign(body, [key]))))
}
