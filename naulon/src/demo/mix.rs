//! The scenario `mix`: a page is fetched through three mixes that are paid for every block, in each of MixPay's four protocols
//! and both cases.

use std::sync::Arc;

use naulon_money::Amount;
use naulon_onion::Protocol;
use naulon_proxy::{Billing, MAX_SILENCE, Proxy, ProxyRules, Terms};
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::chain::{Chain, MIXES};
use super::purchase::Outcome;
use super::town::{Place, any};
use super::web::{self, Web};
use crate::clock::now;
use crate::output::{self, Output};
use crate::parties::serving;

/// How many blocks a check pays.
const CHECK: u32 = 8_192;
/// What the payer has in the beginning.
const FUNDS: &str = "100";

/// One fetch.
#[derive(Serialize)]
struct Run {
    protocol: &'static str,
    paid: &'static str,
    bytes: usize,
    is_whole: bool,
    /// What each mix forwarded and billed.
    blocks: [u64; MIXES],
    /// What each mix cashed.
    ticks: [u64; MIXES],
    /// What came into each mix's account.
    earned: [String; MIXES],
    /// What was set aside, and what came back of it.
    set_aside: String,
    returned: String,
    is_exact: bool,
}

/// Shows it.
pub async fn show(place: &Place, bytes: usize, output: Output) -> anyhow::Result<Outcome> {
    let say = |words: String| if output.json { Ok(()) } else { output.line(&words) };
    serving::start_logging(if output.json { "error" } else { "warn" })?;
    let funds: Amount = FUNDS.parse()?;
    let web = Web::start(serving::listen(any()?).await?).await?;
    let mut runs = Vec::new();
    let mut is_conserved = true;
    for (billing, name) in [(Billing::Each, "each"), (Billing::Chain, "contract")] {
        say(match billing {
            Billing::Each => {
                "A bank, a directory, three mixes and a web server on this machine; every mix is paid.".to_owned()
            }
            Billing::Chain => {
                "\nThe same with mixes of one provider: the first is paid, and pays the others.".to_owned()
            }
        })?;
        let chain = Chain::build(place, name, billing == Billing::Chain, funds, output).await?;
        for protocol in Protocol::ALL {
            let run = fetch(&chain, &web, protocol, billing, bytes).await?;
            say(told(&run))?;
            runs.push(run);
        }
        let left = chain.funds().await?;
        let mut with_mixes = Amount::ZERO;
        for mix in &chain.mixes {
            with_mixes = with_mixes.checked_add(chain.balance(&mix.payee).await?).unwrap_or(Amount::MAX);
        }
        let adds_up = left.checked_add(with_mixes) == Some(funds);
        is_conserved &= adds_up;
        let verdict = if adds_up { "✓ nothing is lost" } else { "✗ money is missing" };
        say(format!("{verdict}: of {funds} {left} are left, and {with_mixes} are with the mixes"))?;
        chain.stop().await?;
    }
    say(format!("\n{}", table(&runs)))?;
    let ok = is_conserved && runs.iter().all(|run| run.is_whole && run.is_exact);
    Ok(Outcome { ok, figures: json!({ "runs": runs, "conserved": is_conserved }) })
}

async fn fetch(chain: &Chain, web: &Web, protocol: Protocol, billing: Billing, bytes: usize) -> anyhow::Result<Run> {
    let before = counts(chain)?;
    let mut balances = [Amount::ZERO; MIXES];
    for (at, mix) in chain.mixes.iter().enumerate() {
        balances[at] = chain.balance(&mix.payee).await?;
    }
    let rules = ProxyRules { billing, terms: Terms { protocol, check_length: CHECK }, max_silence: MAX_SILENCE };
    let proxy = Proxy::new(rules, Arc::clone(&chain.fares) as _, chain.snapshot().await?, Arc::new(now));
    let listener = serving::listen(any()?).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move { proxy.serve(listener, async { drop(stopped.await) }).await });
    let fetched = web::fetch(address, "demo", web.address, bytes).await;
    drop(stop);
    serving.await?;
    let (digest, length) = fetched?;
    chain.cash().await?;
    let made = chain.fares.take_made();
    let set_aside = Amount::checked_sum(made.iter().filter_map(|made| made.check.maximum())).unwrap_or(Amount::MAX);
    let returned = chain.take_back(&made).await?;
    let after = counts(chain)?;
    let mut earned = [Amount::ZERO; MIXES];
    for (at, mix) in chain.mixes.iter().enumerate() {
        earned[at] = chain.balance(&mix.payee).await?.checked_sub(balances[at]).unwrap_or(Amount::ZERO);
    }
    let blocks: [u64; MIXES] = std::array::from_fn(|at| after[at].0 - before[at].0);
    let ticks: [u64; MIXES] = std::array::from_fn(|at| after[at].1 - before[at].1);
    // Where one mix is paid for all, its ticks are theirs.
    let is_exact = match billing {
        Billing::Each => blocks == ticks,
        Billing::Chain => blocks[0] == ticks[0] && blocks == [blocks[0]; MIXES] && ticks[1..] == [0; MIXES - 1],
    };
    let spent = Amount::checked_sum(earned).and_then(|earned| earned.checked_add(returned));
    Ok(Run {
        protocol: protocol.name(),
        paid: if billing == Billing::Each { "every mix" } else { "one for all" },
        bytes: length,
        is_whole: length == bytes && digest == web::page_digest(bytes),
        blocks,
        ticks,
        earned: earned.map(|earned| earned.to_string()),
        set_aside: set_aside.to_string(),
        returned: returned.to_string(),
        is_exact: is_exact && spent == Some(set_aside),
    })
}

/// Blocks billed and ticks cashed, of each mix.
fn counts(chain: &Chain) -> anyhow::Result<[(u64, u64); MIXES]> {
    let mut counts = [(0, 0); MIXES];
    for (at, count) in counts.iter_mut().enumerate() {
        *count = (chain.billed(at), chain.earned(at)?.0);
    }
    Ok(counts)
}

fn told(run: &Run) -> String {
    let mark = |holds: bool| if holds { "✓" } else { "✗" };
    format!(
        "{} {} bytes through three mixes, {}, paid to {}: {} blocks, {} ticks cashed {}",
        mark(run.is_whole),
        run.bytes,
        run.protocol,
        run.paid,
        list(&run.blocks),
        list(&run.ticks),
        mark(run.is_exact)
    )
}

fn list(numbers: &[impl ToString]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ")
}

fn table(runs: &[Run]) -> String {
    let rows = runs.iter().map(|run| {
        vec![
            run.protocol.to_owned(),
            run.paid.to_owned(),
            list(&run.blocks),
            list(&run.ticks),
            list(&run.earned),
            run.set_aside.clone(),
            run.returned.clone(),
        ]
    });
    let headings = ["protocol", "paid", "blocks forwarded", "ticks cashed", "earned", "set aside", "returned"];
    output::table(&headings, rows, &[2, 3, 4, 5, 6])
}
