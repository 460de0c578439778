//! The scenario `purchase`: a file is bought one- and two-sided, then with a network that fails half-way.

use std::path::PathBuf;
use std::time::Duration;

use naulon_money::Amount;
use naulon_purchase::{Ending, Standing, judge};
use naulon_statement::Timestamp;
use naulon_wallet::{BuyOptions, OperationId};
use serde_json::json;

use super::tap::Weather;
use super::town::{Place, Town};
use super::trace::Trace;
use crate::audit;
use crate::clock::utc;
use crate::identity;
use crate::output::Output;
use crate::parties::folder::random;
use crate::parties::wallet::room::{Room, Went};

/// How large the file is that is bought.
const GOODS_LEN: usize = 200_000;
/// Its name, by which it is bought.
const ITEM: &str = "poem.txt";
/// How long anything may take that is not meant to fail.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the wallet tries a shop that is down before the clocks are set ahead.
const WITHOUT_HOPE: Duration = Duration::from_millis(800);

/// What came of it.
pub struct Outcome {
    /// Whether everything went as it must.
    pub ok: bool,
    /// What was counted.
    pub figures: serde_json::Value,
}

/// Whether all went as it must, so far.
struct Checks {
    trace: Trace,
    failed: u32,
}

impl Checks {
    fn check(&mut self, holds: bool, what: &str) {
        self.trace.remark(&format!("{} {what}", if holds { "✓" } else { "✗" }));
        self.failed += u32::from(!holds);
    }
}

/// Shows it.
pub async fn show(place: &Place, output: Output) -> anyhow::Result<Outcome> {
    let started = std::time::Instant::now();
    let trace = Trace::new(output);
    let mut checks = Checks { trace: trace.clone(), failed: 0 };
    let price: Amount = "3.70".parse()?;
    let funds: Amount = "20".parse()?;
    let goods = poem(place)?;

    trace.heading("Bank, log, shop and wallet are made and started, each with keys of its own.");
    let town = Town::build(place, &goods, price, &trace, output).await?;
    let mut room = town.wallet()?;

    trace.heading(
        "An account is opened, money comes in, and tokens are withdrawn that the bank cannot recognise again.",
    );
    fund(&town, &mut room, funds, &trace, &mut checks).await?;

    trace.heading("A file is bought (AAT §3.3).");
    let one_sided = buy(&mut room, &town, false).await?;
    bought(&mut room, one_sided, &goods, &mut checks)?;

    trace.heading("It is bought again, with two-sided delivery (AAT §8.6).");
    let two_sided = buy(&mut room, &town, true).await?;
    bought(&mut room, two_sided, &goods, &mut checks)?;

    trace.heading("Who has learnt what by these two purchases (AAT §6, table 1), read from the messages that arrived:");
    trace.print_table();
    checks.check(trace.is_as_in_the_paper(), "as in the paper: nobody but the consumer knows who the consumer is");

    trace.heading("The same in a storm: of every message the answer is lost, then the message itself.");
    town.sky.set(Weather::Storm);
    let in_storm = buy(&mut room, &town, false).await?;
    bought(&mut room, in_storm, &goods, &mut checks)?;
    town.sky.set(Weather::Fair);

    trace.heading("The same with a shop that is gone when it is to be paid.");
    let aborted = abort(&town, room, &trace, &mut checks).await?;

    trace.heading("What is left, and what can be proven.");
    let mut room = town.wallet()?;
    conclude(place, &town, &mut room, [one_sided, two_sided, in_storm, aborted], &mut checks)?;
    let spent = price.checked_mul(3).unwrap_or(Amount::MAX);
    let left = free(&room);
    checks.check(left.checked_add(spent) == Some(funds), &format!("three files were paid, {left} EUR are left"));
    let books = audit::books(&place.folder("bank"))?;
    checks.check(
        books.agree && books.accounts == spent.to_string(),
        "the bank's books agree, and the shop has its money",
    );
    checks.check(trace.is_as_in_the_paper(), "lost messages and the abort have told nobody more than that");
    checks.check(books.locked == Amount::ZERO.to_string(), "nothing is locked any more");

    drop(room);
    town.stop().await?;
    let (messages, lost) = trace.counts();
    let figures = json!({
        "bought": 3, "aborted": 1, "price": price.to_string(), "left": left.to_string(), "messages": messages, "lost": lost,
        "checks_failed": checks.failed, "milliseconds": started.elapsed().as_millis() as u64,
    });
    Ok(Outcome { ok: checks.failed == 0, figures })
}

async fn fund(
    town: &Town<'_>,
    room: &mut Room,
    funds: Amount,
    trace: &Trace,
    checks: &mut Checks,
) -> anyhow::Result<()> {
    let (bank, now) = (room.bank.key, room.now());
    let account = room.wallet().account(&bank);
    trace.watch_for(account.as_bytes());
    let opening = room.wallet().open_account(bank, now)?;
    room.see_through(Some(opening), PATIENCE).await?;
    town.credit(account, funds).await?;
    room.describe().await?;
    let withdrawal = room.wallet().withdraw(bank, funds, now, &*random::<32>()?)?;
    room.see_through(Some(withdrawal), PATIENCE).await?;
    checks.check(free(room) == funds, &format!("{funds} EUR are in the wallet, as tokens"));
    Ok(())
}

/// Buys the item and sees it through, as far as it goes.
async fn buy(room: &mut Room, town: &Town<'_>, two_sided: bool) -> anyhow::Result<OperationId> {
    let operation = begin(room, town, two_sided).await?;
    room.see_through(Some(operation), PATIENCE).await?;
    Ok(operation)
}

async fn begin(room: &mut Room, town: &Town<'_>, two_sided: bool) -> anyhow::Result<OperationId> {
    let offer = room.offer(&town.shop, ITEM).await?;
    let options = BuyOptions { two_sided, ..BuyOptions::default() };
    Ok(room.wallet().buy(offer, options, room.now(), &*random::<32>()?)?)
}

/// The file must be here, byte for byte.
fn bought(room: &mut Room, operation: OperationId, goods: &PathBuf, checks: &mut Checks) -> anyhow::Result<()> {
    let now = room.now();
    let entry = room.wallet().operation(operation, now)?;
    let place = entry.as_ref().and_then(|entry| entry.place.clone());
    let same = place.is_some_and(|place| std::fs::read(place).ok() == std::fs::read(goods).ok());
    let ended = entry.is_some_and(|entry| entry.ending() == Some(Ending::Bought));
    checks.check(same && ended, &format!("paid, and the file is here, byte for byte; {} EUR are left", free(room)));
    Ok(())
}

/// Buys from a shop that is gone when it is to be paid; the wallet is closed and opened again half-way.
async fn abort(town: &Town<'_>, mut room: Room, trace: &Trace, checks: &mut Checks) -> anyhow::Result<OperationId> {
    let before = free(&room);
    town.sky.set(Weather::Down("/v1/payments"));
    let operation = begin(&mut room, town, false).await?;
    let went = room.see_through(Some(operation), WITHOUT_HOPE).await?;
    let expiry = room.wallet().operation(operation, room.now())?.and_then(|entry| entry.expiry);
    checks.check(
        went == Went::Stuck && expiry.is_some() && free(&room) < before,
        &format!("the tokens are locked until {}", utc(expiry.unwrap_or_default())),
    );
    trace.remark("The wallet is closed and opened again: all that it needs is on the disk.");
    drop(room);
    let mut room = town.wallet()?;
    trace.remark("The clocks of log and wallet are set ahead to the expiry, so that nobody has to wait for it.");
    let now = room.now();
    town.skip(expiry.unwrap_or(now).plus(naulon_statement::Duration::seconds(1)).since(now));
    room.see_through(Some(operation), PATIENCE).await?;
    let now = room.now();
    let ending = room.wallet().operation(operation, now)?.and_then(|entry| entry.ending());
    checks.check(ending == Some(Ending::Aborted), "the log has aborted the purchase");
    checks.check(free(&room) == before, &format!("the tokens are free again: {before} EUR"));
    Ok(operation)
}

/// Judges what the wallet can show about each purchase.
fn conclude(
    place: &Place,
    town: &Town<'_>,
    room: &mut Room,
    operations: [OperationId; 4],
    checks: &mut Checks,
) -> anyhow::Result<()> {
    let trust = identity::trust_in(&[town.bank.clone(), town.log.clone(), town.shop.clone()])?;
    let mut claims = 0;
    let mut consistent = true;
    for (number, operation) in operations.iter().enumerate() {
        let evidence = room.wallet().evidence(*operation)?;
        let judgement = judge(&evidence, &trust, |_, _| None);
        consistent &= judgement.standing() == Standing::Consistent;
        claims += judgement.claims.len();
        let file = place.path(&format!("purchase-{}.evidence.json", number + 1));
        std::fs::write(file, naulon_wire::EvidenceFile::write(&evidence))?;
    }
    checks.check(consistent, &format!("the evidence of all four purchases is consistent; it supports {claims} claims"));
    Ok(())
}

/// What can be paid with.
fn free(room: &Room) -> Amount {
    room.wallet().balance().get(&room.bank.key).map_or(Amount::ZERO, |balance| balance.free)
}

/// The file that is bought.
fn poem(place: &Place) -> anyhow::Result<PathBuf> {
    let path = place.path(ITEM);
    let mut text = format!("Written on {}.\n", utc(Timestamp(crate::clock::now().0)));
    let mut line = 0u32;
    while text.len() < GOODS_LEN {
        line += 1;
        text.push_str(&format!("{line:>6}  The ferryman asks for a fare, and not for a name.\n"));
    }
    std::fs::write(&path, text)?;
    Ok(path)
}
