//! What a call costs where no thread waits for another: its steps one after the other on this thread, over a store of
//! their own, in batches as large as the crowd of clients.
//!
//! What a server uses beyond its steps and the HTTP echo, it uses to hand calls from thread to thread.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use naulon_bank::{Applied, Authenticated, Bank};
use naulon_blind::Brand;
use naulon_log::Log;
use naulon_purchase::LogRequest;
use naulon_purchase::log::authenticate_commit;
use naulon_wire::{BankCall, BankReply, Call, HttpRequest, HttpResponse, LogCall, LogReply, Method, Problem};

use crate::calls::{Kind, Maker};
use crate::cpu;
use crate::figure::{Figure, MICROSECONDS};
use crate::house;
use crate::load::CLIENTS;
use crate::primitives::{RSA_PRIVATE, RSA_PUBLIC, SIGN, VERIFY};
use crate::samples::Samples;

/// Batches a round.
const BATCHES: usize = 4;

/// A bank and a log of this process.
pub struct Steps {
    bank: Bank<naulon_bank::SqliteStore>,
    log: Log<naulon_log::SqliteStore>,
}

impl Steps {
    /// Over new stores in the folder.
    pub fn new(brand: Brand, folder: &Path) -> Result<Steps> {
        let log = house::log_over(naulon_log::SqliteStore::open(&house::log_file(folder))?)?;
        Ok(Steps { bank: house::bank_over(brand, naulon_bank::SqliteStore::open(&house::bank_file(folder))?)?, log })
    }

    /// One sample of each step of those kinds that are taken apart.
    pub fn measure(&mut self, kinds: &[Kind], maker: &mut Maker, samples: &mut Samples) -> Result<()> {
        for kind in kinds.iter().filter(|kind| !steps(**kind).is_empty()) {
            let mut watch = Watch { kind: *kind, used: steps(*kind).iter().map(|step| (step.name, 0.0)).collect() };
            for _ in 0..BATCHES {
                let requests = maker.make(*kind, CLIENTS)?;
                let requests = requests.iter().map(|request| parse(request)).collect::<Result<Vec<_>>>()?;
                match kind {
                    Kind::Decision => self.decide(&requests, &mut watch)?,
                    _ => self.exchange(&requests, &mut watch)?,
                }
            }
            watch.into_samples(samples);
        }
        Ok(())
    }

    fn exchange(&mut self, requests: &[HttpRequest], watch: &mut Watch) -> Result<()> {
        let (bank, now) = (&mut self.bank, house::now());
        let calls: Vec<BankCall> = watch.step("parse", || requests.iter().map(BankCall::from_http).collect())?;
        let checked = |call| bank.authenticate(call, now);
        let checked: Vec<Authenticated> = watch.step("check", || calls.into_iter().map(checked).collect())?;
        let applied: Vec<Applied> = watch.step("apply", || bank.apply(&checked, now).into_iter().collect())?;
        let complete = |applied| bank.complete(applied);
        let replies: Vec<BankReply> = watch.step("sign", || applied.into_iter().map(complete).collect())?;
        let written: Vec<HttpResponse> =
            watch.step("write", || Ok(replies.into_iter().map(BankCall::reply_to_http).collect()))?;
        drop(written);
        Ok(())
    }

    fn decide(&mut self, requests: &[HttpRequest], watch: &mut Watch) -> Result<()> {
        let (log, now) = (&mut self.log, house::now());
        let calls: Vec<LogCall> = watch.step("parse", || requests.iter().map(LogCall::from_http).collect())?;
        let rules = log.rules().clone();
        let check = |call| match call {
            LogCall::Commit { header, authorization } => Ok(authenticate_commit(&rules, header, authorization)?),
            _ => Err(Problem::new("internal", "not a commit")),
        };
        let checked: Vec<LogRequest> = watch.step("check", || calls.into_iter().map(check).collect())?;
        let replies: Vec<LogReply> = watch.step("apply", || log.handle_batch(checked, now).into_iter().collect())?;
        let written: Vec<HttpResponse> =
            watch.step("write", || Ok(replies.into_iter().map(LogCall::reply_to_http).collect()))?;
        drop(written);
        Ok(())
    }
}

/// A step, and the raw operations that it cannot do without.
struct Step {
    name: &'static str,
    needs: &'static [&'static str],
}

/// The steps of the kinds that are taken apart; none of the others.
fn steps(kind: Kind) -> &'static [Step] {
    const fn step(name: &'static str, needs: &'static [&'static str]) -> Step {
        Step { name, needs }
    }
    match kind {
        Kind::OneToOne => {
            const {
                &[
                    step("parse", &[]),
                    step("check", &[VERIFY, RSA_PUBLIC]),
                    step("apply", &["exchange.1to1.rows"]),
                    step("sign", &[RSA_PRIVATE]),
                    step("write", &[]),
                ]
            }
        }
        // Here what is applied is signed before it is written.
        Kind::Decision => {
            const {
                &[
                    step("parse", &[]),
                    step("check", &[VERIFY, VERIFY]),
                    step("apply", &["log.decision.rows", SIGN]),
                    step("write", &[]),
                ]
            }
        }
        _ => &[],
    }
}

/// The figures of a kind's steps, each against what it cannot do without.
pub fn figures(kind: Kind, samples: &Samples) -> Vec<Figure> {
    let figure = |step: &Step| {
        let name = format!("{}.step.{}", kind.name(), step.name);
        let ratio = samples.ratio(&name, step.needs);
        let figure = Figure::new(&name, samples.median(&name), MICROSECONDS);
        if step.needs.is_empty() { figure } else { figure.against(step.needs.join(" + "), ratio) }
    };
    steps(kind).iter().map(figure).collect()
}

/// Adds up the processor time of each step.
struct Watch {
    kind: Kind,
    used: Vec<(&'static str, f64)>,
}

impl Watch {
    fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T, Problem>) -> Result<T> {
        let begun = cpu::of_this_thread();
        let done = work();
        let used = cpu::of_this_thread() - begun;
        let sum = self.used.iter_mut().find(|(known, _)| *known == name).context("the step is known")?;
        sum.1 += used.as_secs_f64() * 1e6;
        Ok(done?)
    }

    fn into_samples(self, samples: &mut Samples) {
        for (name, used) in self.used {
            samples.add(format!("{}.step.{name}", self.kind.name()), used / (BATCHES * CLIENTS) as f64);
        }
    }
}

/// A prepared request as the HTTP front hands it on.
fn parse(request: &[u8]) -> Result<HttpRequest> {
    let head = request.windows(4).position(|four| four == b"\r\n\r\n").context("a request has a head")?;
    let (head, body) = request.split_at(head + 4);
    let mut words = std::str::from_utf8(head)?.split(' ');
    ensure!(words.next() == Some("POST"), "a measured call is a POST");
    let path = words.next().context("a request has a path")?.to_owned();
    Ok(HttpRequest { method: Method::Post, body: body.to_vec(), ..HttpRequest::get(path) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_request_is_read() {
        let request = parse(&crate::load::post("/v1/commits", b"{}")).expect("a request");
        assert_eq!((request.path.as_str(), request.body.as_slice()), ("/v1/commits", &b"{}"[..]));
        assert!(parse(&crate::load::get("/v1/log")).is_err());
    }

    #[test]
    fn every_step_has_its_sample() {
        let mut samples = Samples::default();
        for (name, value) in [("exchange.1to1.rows", 20.0), (RSA_PRIVATE, 200.0)] {
            samples.add(name, value);
        }
        let used = steps(Kind::OneToOne).iter().map(|step| (step.name, 256.0 * 25.0)).collect();
        let mut watch = Watch { kind: Kind::OneToOne, used };
        assert!(watch.step("sleep", || Ok(())).is_err());
        watch.step("parse", || Ok(())).expect("known");
        watch.into_samples(&mut samples);
        let figures = figures(Kind::OneToOne, &samples);
        let apply = figures.iter().find(|figure| figure.name == "exchange.1to1.step.apply").expect("a figure");
        assert_eq!((figures.len(), apply.value, apply.ratio), (5, 25.0, Some(1.25)));
        assert!(steps(Kind::Lock).is_empty());
    }
}
