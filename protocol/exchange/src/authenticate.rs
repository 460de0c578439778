//! The checks that need no state: form, signatures, tokens, balance of values.

use std::collections::BTreeSet;
use std::sync::Arc;

use naulon_money::Amount;
use naulon_statement::{Digest, Joint, PublicKey, Signed, StatementError, Unverified, UnverifiedJoint};

use crate::decision::{ProvenDecision, UnverifiedDecision};
use crate::instrument::{
    Given, Wanted, all_given, all_wanted, brand_of, chain, check_purposes, offer_mark, part_marks, purchase, purse,
    purse_stop,
};
use crate::refusal::Refusal;
use crate::request::{Exchange, MAX_INPUTS, MAX_OUTPUTS, OpenAccount, RequestId};
use crate::rules::Rules;
use crate::state::{LedgerAccount, Mark, Needs};

/// A request whose every signature, token and proof holds. What is left to check needs the state.
#[derive(Clone, Debug)]
pub enum Request {
    /// An exchange, or the authorization_q of a purchase.
    Exchange(Box<AuthenticatedExchange>),
    /// A log's decision on a purchase.
    Decision(Arc<ProvenDecision>),
    /// The opening of an account.
    OpenAccount(Signed<OpenAccount>),
    /// To free a purchase whose merchant keeps the log and has not claimed it in time (AAT §7). Nobody sends it: the bank has
    /// it by its own clock.
    Lapse(RequestId),
}

/// An exchange that holds by itself, and what its inputs and outputs mean.
#[derive(Clone, Debug)]
pub struct AuthenticatedExchange {
    pub(crate) joint: Joint<Exchange>,
    pub(crate) given: Vec<Given>,
    pub(crate) wanted: Vec<Wanted>,
}

impl AuthenticatedExchange {
    /// The signed exchange.
    pub fn joint(&self) -> &Joint<Exchange> {
        &self.joint
    }
}

/// Checks an exchange by itself: the cheap checks first, then Ed25519, then RSA.
pub fn authenticate(rules: &Rules, request: UnverifiedJoint<Exchange>) -> Result<Request, Refusal> {
    let exchange = request.claimed_body();
    if exchange.bank != rules.bank {
        return Err(Refusal::WrongBank);
    }
    if exchange.currency != rules.currency {
        return Err(Refusal::WrongCurrency);
    }
    let (inputs, outputs) = (exchange.inputs.len(), exchange.outputs.len());
    if inputs == 0 || inputs > MAX_INPUTS || outputs == 0 || outputs > MAX_OUTPUTS {
        return Err(Refusal::Size);
    }
    let given = all_given(rules, exchange)?;
    let wanted = all_wanted(rules, exchange)?;
    if let Some(condition) = &exchange.condition {
        purchase::check_form(exchange, condition)?;
    }
    if exchange.seal_to.is_some_and(|key| !key.takes_boxes()) {
        return Err(StatementError::Malformed.into());
    }
    check_purposes(rules, exchange)?;
    purse::check_form(exchange)?;
    check_distinct(exchange, &given)?;
    chain::check_distinct(&given, &wanted)?;
    check_balanced(&given, &wanted)?;
    let joint = request.verify()?;
    check_signers(&joint, &given)?;
    chain::verify(&joint)?;
    purse::verify(rules, &joint)?;
    for token in joint.tokens() {
        brand_of(rules, token)?.verify(token)?;
    }
    Ok(Request::Exchange(Box::new(AuthenticatedExchange { joint, given, wanted })))
}

/// Checks a log's decision by itself.
pub fn authenticate_decision(rules: &Rules, decision: UnverifiedDecision) -> Result<Request, Refusal> {
    let log = rules.logs.get(&decision.decision.claimed_signer()).ok_or(Refusal::UnknownLog)?;
    Ok(Request::Decision(Arc::new(decision.verify(log)?)))
}

/// Checks the opening of an account by itself.
pub fn authenticate_account(rules: &Rules, request: Unverified<OpenAccount>) -> Result<Request, Refusal> {
    let account = request.claimed_body().account;
    if request.claimed_body().bank != rules.bank {
        return Err(Refusal::WrongBank);
    }
    Ok(Request::OpenAccount(request.verify(&account)?))
}

fn check_distinct(exchange: &Exchange, given: &[Given]) -> Result<(), Refusal> {
    let mut marks = BTreeSet::new();
    if !given.iter().filter_map(|g| g.mark).all(|mark| marks.insert(mark)) {
        return Err(Refusal::DuplicateInput);
    }
    let blinded: Vec<_> = exchange.blinded().collect();
    let distinct: BTreeSet<_> = blinded.iter().collect();
    if distinct.len() != blinded.len() {
        return Err(Refusal::DuplicateOutput);
    }
    Ok(())
}

fn check_balanced(given: &[Given], wanted: &[Wanted]) -> Result<(), Refusal> {
    let inputs = Amount::checked_sum(given.iter().map(|g| g.value)).ok_or(Refusal::AmountOutOfRange)?;
    let outputs = Amount::checked_sum(wanted.iter().map(|w| w.value)).ok_or(Refusal::AmountOutOfRange)?;
    if inputs == outputs { Ok(()) } else { Err(Refusal::Unbalanced { inputs, outputs }) }
}

/// Every key that an input names has signed, and no other.
fn check_signers(joint: &Joint<Exchange>, given: &[Given]) -> Result<(), Refusal> {
    let needed: BTreeSet<PublicKey> = given.iter().map(|g| g.signer).collect();
    let signed = joint.signers();
    if let Some(missing) = needed.difference(&signed).next() {
        return Err(Refusal::SignatureMissing(*missing));
    }
    match signed.difference(&needed).next() {
        Some(extra) => Err(Refusal::SignatureUnneeded(*extra)),
        None => Ok(()),
    }
}

impl Request {
    /// What the request touches.
    pub fn needs(&self) -> Needs {
        match self {
            Request::Exchange(exchange) => exchange.needs(),
            Request::Decision(decision) => Needs { record: Some(decision.decision().a), ..Needs::default() },
            Request::Lapse(purchase) => Needs { record: Some(*purchase), ..Needs::default() },
            Request::OpenAccount(open) => Needs { accounts: BTreeSet::from([open.account]), ..Needs::default() },
        }
    }
}

impl AuthenticatedExchange {
    fn needs(&self) -> Needs {
        let customer = |ledger: &LedgerAccount| match ledger {
            LedgerAccount::Customer(account) => Some(*account),
            LedgerAccount::Outside | LedgerAccount::Tokens(_) | LedgerAccount::Locked | LedgerAccount::Chains => None,
        };
        let ledgers = self.given.iter().map(|g| &g.ledger).chain(self.wanted.iter().map(|w| &w.ledger));
        let stops = purse::brands(&self.joint).map(|brand| purse_stop(&brand));
        let accounts = ledgers.filter_map(customer).chain(stops).collect();
        let in_parts = self.given.iter().filter(|g| g.part_of.is_some());
        let remainders: BTreeSet<Digest> = in_parts.filter_map(|g| Some(g.mark?.key)).collect();
        let marks = self.given.iter().filter_map(|g| g.mark).chain(self.offer_mark());
        let marks = marks.chain(remainders.iter().flat_map(part_marks)).collect();
        let used = self.given.iter().filter_map(|g| Some(g.chain.as_ref()?.commitment()));
        let chains = used.chain(self.wanted.iter().filter_map(|w| Some(w.chain.as_ref()?.0))).collect();
        Needs { record: Some(self.joint.id()), marks, accounts, remainders, chains }
    }

    /// The mark of the offer that it accepts, if it is a purchase.
    pub(crate) fn offer_mark(&self) -> Option<Mark> {
        self.joint.condition.as_ref().map(|condition| offer_mark(&condition.merchant, &condition.n))
    }
}
