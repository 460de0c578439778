//! The one function that decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use naulon_money::Amount;
use naulon_statement::{PublicKey, Timestamp};

use crate::authenticate::{AuthenticatedExchange, Request};
use crate::instrument::{Given, Wanted, brand_of, chain, draw, is_use_of, purchase, purse};
use crate::refusal::Refusal;
use crate::request::Exchange;
use crate::rules::Rules;
use crate::state::{
    Decided, Draw, Guard, LedgerAccount, Mark, MarkKind, Plan, Record, RecordWrite, State, Transfer, View,
};

/// Decides an authenticated request on a view of the state. Pure: the same arguments give the same answer.
///
/// `now` must never run backwards, not even over a restart: some refusals are final because a time is past, and whoever was
/// told so takes what it would have given as free.
pub fn decide(rules: &Rules, view: &View, request: &Request, now: Timestamp) -> Result<Decided, Refusal> {
    match request {
        Request::Exchange(exchange) => decide_exchange(rules, view, exchange, now),
        Request::Decision(decision) => purchase::settle(rules, view, decision, now),
        Request::Lapse(_) => purchase::lapse(rules, view, now),
        Request::OpenAccount(open) if view.balances.contains_key(&open.account) => Ok(Decided::Nothing),
        Request::OpenAccount(open) => Ok(Decided::Write(Plan {
            record: RecordWrite::Open(open.account),
            marks: Vec::new(),
            freed: Vec::new(),
            draws: Vec::new(),
            chains: Vec::new(),
            guards: Vec::new(),
            transfers: Vec::new(),
        })),
    }
}

fn decide_exchange(
    rules: &Rules,
    view: &View,
    request: &AuthenticatedExchange,
    now: Timestamp,
) -> Result<Decided, Refusal> {
    if let Some(record) = &view.record {
        return Ok(Decided::Replay(record.clone()));
    }
    let exchange: &Exchange = &request.joint;
    check_dates(rules, exchange, now)?;
    purse::check_dates(rules, exchange, now)?;
    purse::check_stopped(view, exchange)?;
    if let Some(condition) = &exchange.condition {
        purchase::check_time(rules, exchange, condition, now)?;
    }
    let (marks, draws) = taken(view, request)?;
    let chains = chain::writes(rules, view, request, now)?;
    let guards = guards(request)?;
    for guard in &guards {
        check_guard(view, guard).map_err(|refusal| purse::overdrawn(exchange, guard, refusal))?;
    }
    check_room(view, request)?;
    let (state, transfers) = match exchange.condition {
        Some(_) => (State::Locked, purchase::lock_transfers(&request.given)),
        None => (State::Done, match_values(&request.given, &request.wanted)),
    };
    let record = Record { exchange: request.joint.clone(), state, accepted: now, decision: None, settled: None };
    Ok(Decided::Write(Plan {
        record: RecordWrite::Insert(Arc::new(record)),
        marks,
        freed: Vec::new(),
        draws,
        chains,
        guards,
        transfers,
    }))
}

/// Tokens may be exchanged and deposited until their brand's redeem-until, spent in a purchase until its spend-until, and
/// issued within its issue window.
fn check_dates(rules: &Rules, exchange: &Exchange, now: Timestamp) -> Result<(), Refusal> {
    for token in exchange.tokens() {
        let brand = brand_of(rules, token)?;
        let until = match exchange.condition {
            Some(_) => brand.brand().spend_until,
            None => brand.brand().redeem_until,
        };
        if now < brand.brand().issue_from {
            return Err(Refusal::BrandNotIssuing);
        }
        if now >= until {
            return Err(Refusal::BrandClosed);
        }
    }
    for (brand, _) in exchange.blinded() {
        let known = rules.brands.get(brand).ok_or(Refusal::UnknownBrand)?;
        if !known.issues_at(now) {
            return Err(Refusal::BrandNotIssuing);
        }
    }
    Ok(())
}

/// The marks that a request takes, and the parts of tokens; or who holds one of them.
fn taken(view: &View, request: &AuthenticatedExchange) -> Result<(Vec<Mark>, Vec<Draw>), Refusal> {
    let (mut marks, mut draws) = (Vec::new(), Vec::new());
    for (given, mark) in request.given.iter().filter_map(|given| Some((given, given.mark?))) {
        let holder = view.holders.get(&mark);
        // A token that its first use has opened for the others is not in their way.
        let is_open = holder.is_some_and(|holder| is_use_of(&holder.exchange, &mark.key));
        match (holder, given.part_of) {
            (Some(holder), None) if is_open => return Err(Refusal::InParts(holder.clone())),
            (Some(holder), _) if !is_open => return Err(conflict(mark.kind, holder)),
            (_, Some(issued)) => {
                let (part_marks, part) = draw(view, &request.joint.id(), (given, mark), issued)?;
                marks.extend(part_marks);
                draws.push(part);
            }
            (_, None) => marks.push(mark),
        }
    }
    if let Some(mark) = request.offer_mark() {
        if let Some(holder) = view.holders.get(&mark) {
            return Err(conflict(mark.kind, holder));
        }
        marks.push(mark);
    }
    Ok((marks, draws))
}

fn conflict(kind: MarkKind, holder: &Arc<Record>) -> Refusal {
    match (kind, holder.state) {
        (MarkKind::Token | MarkKind::Part, State::Locked) => Refusal::Locked(holder.clone()),
        (MarkKind::Token | MarkKind::Part, _) => Refusal::Spent(holder.clone()),
        (MarkKind::Order, _) => Refusal::OrderUsed,
        (MarkKind::Offer, _) => Refusal::OfferTaken,
    }
}

/// One guard an account: what all orders on it take together, or that it is open to be credited.
fn guards(request: &AuthenticatedExchange) -> Result<Vec<Guard>, Refusal> {
    let mut taken: BTreeMap<PublicKey, Amount> = BTreeMap::new();
    for given in &request.given {
        if let LedgerAccount::Customer(account) = given.ledger {
            let sum = taken.entry(account).or_default();
            *sum = sum.checked_add(given.value).ok_or(Refusal::AmountOutOfRange)?;
        }
    }
    for wanted in &request.wanted {
        if let LedgerAccount::Customer(account) = wanted.ledger {
            taken.entry(account).or_default();
        }
    }
    let guard = |(account, at_least): (PublicKey, Amount)| match at_least.is_zero() {
        true => Guard::Open(account),
        false => Guard::Balance { account, at_least },
    };
    Ok(taken.into_iter().map(guard).collect())
}

fn check_guard(view: &View, guard: &Guard) -> Result<(), Refusal> {
    match guard {
        Guard::Open(account) if view.balances.contains_key(account) => Ok(()),
        Guard::Open(account) => Err(Refusal::UnknownAccount(*account)),
        Guard::Balance { account, at_least } => {
            let balance = view.balances.get(account).ok_or(Refusal::UnknownAccount(*account))?;
            if balance >= at_least { Ok(()) } else { Err(Refusal::InsufficientFunds) }
        }
    }
}

/// What an account is to hold afterwards can be counted. What it gives in the same request is not taken off, so that the
/// check needs no order of the two.
fn check_room(view: &View, request: &AuthenticatedExchange) -> Result<(), Refusal> {
    let mut held = view.balances.clone();
    for wanted in &request.wanted {
        if let LedgerAccount::Customer(account) = wanted.ledger {
            let balance = held.entry(account).or_default();
            *balance = balance.checked_add(wanted.value).ok_or(Refusal::AccountFull(account))?;
        }
    }
    Ok(())
}

/// Pairs inputs with outputs of the same total value into at most (inputs + outputs − 1) journal lines.
fn match_values(given: &[Given], wanted: &[Wanted]) -> Vec<Transfer> {
    let mut lines = Vec::new();
    let mut sinks = wanted.iter().map(|w| (w.ledger, w.value.micros()));
    let mut sink = sinks.next();
    for source in given {
        let mut left = source.value.micros();
        while left > 0 {
            let Some((ledger, room)) = sink else { return lines };
            let moved = left.min(room);
            lines.push(Transfer { from: source.ledger, to: ledger, amount: Amount::from_micros(moved) });
            left -= moved;
            sink = if room > moved { Some((ledger, room - moved)) } else { sinks.next() };
        }
    }
    lines
}
