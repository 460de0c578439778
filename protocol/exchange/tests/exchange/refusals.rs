//! Every refusal by name: what was sent, what the bank says, and that nothing changed.

use std::collections::BTreeSet;

use naulon_blind::{BlindedMessage, Token};
use naulon_exchange::{
    Condition, Decided, Exchange, Header, Input, LogDecision, MAX_INPUTS, OpenAccount, Output, Refusal, Request, Rules,
    UnverifiedDecision, authenticate, authenticate_account, authenticate_decision, decide,
};
use naulon_money::Amount;
use naulon_statement::{Digest, Joint, PublicKey, Signed, Timestamp, Unverified, UnverifiedJoint, cbor};

use super::books::Books;
use super::world::*;

pub fn rules() -> &'static Rules {
    &world().rules
}

/// A bank where accounts 0 and 3 are open, account 0 has 100 and has withdrawn tokens 0 to 3 (ones) and 8 (a five).
pub fn bank_with_money() -> Books {
    let mut books = Books::default();
    for index in [0, 3] {
        let open = OpenAccount { bank: bank(), account: account(index).public() };
        let open = authenticate_account(rules(), Unverified::from(&Signed::sign(&account(index), open)));
        ask(&mut books, open, Timestamp(0)).expect("opens");
    }
    let pay_in = Input::Outside { amount: units(100), reference: [1; 16] };
    must(&mut books, exchange(vec![pay_in], vec![credit(0, 100)], None));
    let outputs = [0, 1, 2, 3, 8].map(|token| world().token_output(token)).to_vec();
    must(&mut books, exchange(vec![debit(0, 9, 1)], outputs, None));
    books
}

pub fn credit(index: usize, amount: u64) -> Output {
    Output::Account { account: account(index).public(), amount: units(amount) }
}

fn debit(index: usize, amount: u64, order: u8) -> Input {
    Input::Account { account: account(index).public(), amount: units(amount), order: [order; 16] }
}

pub fn token(index: usize) -> Input {
    world().token_input(index)
}

fn change(index: usize) -> Output {
    world().token_output(index)
}

fn ask(books: &mut Books, request: Result<Request, Refusal>, now: Timestamp) -> Result<(), Refusal> {
    let request = request?;
    if let Decided::Write(plan) = decide(rules(), &books.view(&request.needs()), &request, now)? {
        books.write(&plan).expect("nobody else writes");
    }
    Ok(())
}

fn send(books: &mut Books, joint: Joint<Exchange>, now: Timestamp) -> Result<(), Refusal> {
    ask(books, authenticate(rules(), UnverifiedJoint::from(joint)), now)
}

fn must(books: &mut Books, body: Exchange) -> Joint<Exchange> {
    let joint = sign(body);
    send(books, joint.clone(), Timestamp(0)).expect("is accepted");
    joint
}

/// A sound purchase of tokens 0 and 8 from merchant 3 for 5, with a token 1 back.
fn purchase() -> Exchange {
    let condition = condition(3, 7, seconds(100), 0, None);
    exchange(vec![token(0), token(8)], vec![credit(3, 5), change(4)], Some(condition))
}

pub fn refused(code: &str, now: Timestamp, joint: Joint<Exchange>) {
    let mut books = bank_with_money();
    let before = format!("{:?}", (&books.records, &books.marks, &books.balances, &books.journal));
    let refusal = send(&mut books, joint, now).expect_err(code);
    assert_eq!(refusal.code(), code, "{refusal}");
    assert_eq!(format!("{:?}", (&books.records, &books.marks, &books.balances, &books.journal)), before, "{code}");
}

#[test]
fn every_refusal_by_itself() {
    let at = Timestamp(0);
    let deposit = || exchange(vec![token(0)], vec![credit(0, 1)], None);
    let with = |change: &dyn Fn(&mut Exchange), mut body: Exchange| {
        change(&mut body);
        sign(body)
    };
    refused("wrong_bank", at, with(&|e| e.bank = key(9).public(), deposit()));
    refused("wrong_currency", at, with(&|e| e.currency = "USD".parse().expect("a currency"), deposit()));
    refused("exchange_size", at, with(&|e| e.outputs.clear(), deposit()));
    refused("exchange_size", at, Joint::sign(exchange(vec![], vec![credit(0, 1)], None), []));
    let many = (0..=MAX_INPUTS).map(|order| debit(0, 1, order as u8)).collect();
    refused("exchange_size", at, sign(exchange(many, vec![credit(0, 1)], None)));
    refused("signature_missing", at, Joint::sign(deposit(), []));
    refused("signature_missing", at, Joint::sign(deposit(), [&world().tokens[1].q]));
    refused("signature_unneeded", at, Joint::sign(deposit(), [&world().tokens[0].q, &account(0)]));
    refused("unbalanced", at, with(&|e| e.outputs = vec![credit(0, 2)], deposit()));
    refused("unbalanced", at, with(&|e| e.outputs = vec![change(5), change(6)], deposit()));
    refused("amount_out_of_range", at, with(&|e| e.outputs = vec![credit(0, 1), credit(0, 0)], deposit()));
    let too_much = Output::Account { account: account(0).public(), amount: Amount::from_micros(u64::MAX) };
    refused("amount_out_of_range", at, with(&|e| e.outputs = vec![too_much.clone()], deposit()));
    let all = |order| Input::Outside { amount: Amount::MAX, reference: [order; 16] };
    let most = |index| Output::Account { account: account(index).public(), amount: Amount::MAX };
    refused("amount_out_of_range", at, sign(exchange(vec![all(2), all(3)], vec![most(0), most(3)], None)));
    refused("account_full", at, sign(exchange(vec![all(2)], vec![most(0)], None)));
    refused("duplicate_input", at, with(&|e| e.inputs = vec![token(0), token(0)], deposit()));
    refused("duplicate_input", at, sign(exchange(vec![debit(0, 1, 5), debit(0, 2, 5)], vec![credit(3, 3)], None)));
    let twice = vec![change(5), change(5)];
    refused("duplicate_output", at, sign(exchange(vec![debit(0, 2, 5)], twice, None)));
    let unknown = Output::Blinded { brand: Digest([0; 32]), message: world().tokens[5].blinded };
    refused("unknown_brand", at, with(&|e| e.outputs = vec![unknown.clone()], deposit()));
    let unsignable = Output::Blinded { brand: world().brand_id(0), message: BlindedMessage([0xff; 256]) };
    refused("malformed", at, with(&|e| e.outputs = vec![unsignable.clone()], deposit()));
    refused("unknown_account", at, with(&|e| e.outputs = vec![credit(1, 1)], deposit()));
    refused("unknown_account", at, sign(exchange(vec![debit(1, 1, 1)], vec![credit(0, 1)], None)));
    refused("insufficient_funds", at, sign(exchange(vec![debit(0, 92, 5)], vec![credit(3, 92)], None)));
    let two_orders = vec![debit(0, 50, 5), debit(0, 50, 6)];
    refused("insufficient_funds", at, sign(exchange(two_orders, vec![credit(3, 100)], None)));
    refused("order_used", at, sign(exchange(vec![debit(0, 1, 1)], vec![credit(3, 1)], None)));
    let again = Input::Outside { amount: units(5), reference: [1; 16] };
    refused("order_used", at, sign(exchange(vec![again], vec![credit(3, 5)], None)));
    let forged = forged_token();
    refused("bad_token", at, Joint::sign(exchange(vec![forged], vec![credit(0, 1)], None), [&key(77)]));
    refused("bad_token", at, sign_as_token_0(other_challenge()));
}

#[test]
fn brands_have_dates() {
    let deposit = |index| sign(exchange(vec![token(index)], vec![credit(0, world().value(index))], None));
    refused("brand_closed", seconds(2_000), deposit(8));
    refused("brand_not_issuing", seconds(1_199), deposit(2 * TOKENS));
    let withdraw = |index, amount| sign(exchange(vec![debit(0, amount, 5)], vec![change(index)], None));
    refused("brand_not_issuing", seconds(1_000), withdraw(9, 5));
    refused("brand_not_issuing", seconds(1_199), withdraw(2 * TOKENS, 1));
    let mut books = bank_with_money();
    let last = |second: u64| Timestamp(second * 1_000 - 1);
    send(&mut books, withdraw(9, 5), last(1_000)).expect("windows are half-open");
    send(&mut books, withdraw(2 * TOKENS, 1), seconds(1_200)).expect_err("the order is used up");
    send(&mut books, deposit(8), last(2_000)).expect("windows are half-open");
}

#[test]
fn purchases_have_a_form() {
    let with = |change: &dyn Fn(&mut Exchange)| {
        let mut body = purchase();
        change(&mut body);
        sign(body)
    };
    let set = |change: fn(&mut Condition)| with(&|e| change(e.condition.as_mut().expect("a purchase")));
    let at = Timestamp(0);
    let mut books = bank_with_money();
    send(&mut books, with(&|_| {}), at).expect("the unchanged one is accepted");
    refused("condition_inputs", at, with(&|e| e.inputs = vec![debit(0, 6, 5)]));
    refused("condition_inputs", at, with(&|e| e.inputs = vec![token(0), debit(0, 5, 5)]));
    refused("condition_inputs", at, set(|c| c.q = Some(key(9).public())));
    refused("condition_inputs", at, set(|c| c.q = Some(PublicKey(*world().tokens[8].token.nonce()))));
    refused("condition_outputs", at, with(&|e| e.outputs = vec![credit(0, 6)]));
    refused("condition_outputs", at, with(&|e| e.outputs = vec![credit(3, 3), credit(3, 3)]));
    refused("condition_outputs", at, with(&|e| e.outputs = vec![credit(3, 3), credit(0, 3)]));
    refused("condition_outputs", at, with(&|e| e.outputs = vec![change(9), change(4)]));
    refused("unknown_log", at, set(|c| c.log = log_key(2).public()));
    refused("expiry_too_soon", Timestamp(40_001), with(&|_| {}));
    refused("expiry_too_late", at, set(|c| c.expiry = Timestamp(1_000_001)));
    refused("expiry_too_late", at, set(|c| c.expiry = Timestamp(u64::MAX)));
    // Whoever asks again and again must come to hear that it is too late, whatever else is the matter.
    refused("expiry_too_soon", seconds(100), set(|c| c.log = log_key(2).public()));
    refused("brand_closed", seconds(1_500), set(|c| c.expiry = seconds(1_700)));
    // 60 seconds before the fives' last day, and not one less, so that they are worth something after an abort.
    refused("expiry_too_late", seconds(1_400), set(|c| c.expiry = Timestamp(1_940_001)));
    let with_change_of_five = |expiry| {
        let condition = condition(3, 7, Timestamp(expiry), 0, None);
        sign(exchange((0..6).map(token).collect(), vec![credit(3, 1), change(9)], Some(condition)))
    };
    refused("expiry_too_late", seconds(999), with_change_of_five(1_940_001));
    let mut books = bank_with_money();
    send(&mut books, with_change_of_five(1_940_000), seconds(999)).expect("what comes back is worth something");
    send(&mut bank_with_money(), with(&|_| {}), Timestamp(40_000)).expect("exactly the shortest lock is left");
}

#[test]
fn tokens_and_offers_are_held_by_one_purchase() {
    let mut books = bank_with_money();
    let first = must(&mut books, purchase());
    let other_offer = |n| condition(3, n, seconds(100), 0, None);
    let same_token = sign(exchange(vec![token(8)], vec![credit(3, 5)], Some(other_offer(8))));
    let Err(Refusal::Locked(record)) = send(&mut books, same_token, Timestamp(0)) else { panic!("locked") };
    assert_eq!(record.id(), first.id(), "the refusal proves itself by the earlier request");
    let same_offer = sign(exchange(vec![token(1)], vec![credit(3, 1)], Some(other_offer(7))));
    assert_eq!(send(&mut books, same_offer, Timestamp(0)).expect_err("taken").code(), "offer_taken");

    let header = Header::of(&first, first.id()).expect("a purchase");
    settle(&mut books, 0, commit(&header)).expect("settles");
    let spent = sign(exchange(vec![token(8)], vec![credit(0, 5)], None));
    let Err(Refusal::Spent(record)) = send(&mut books, spent, Timestamp(0)) else { panic!("spent") };
    let decision = record.decision.as_ref().expect("whoever hears \"spent\" gets the commit").decision();
    assert_eq!(decision.key(), Some(&merchandise_key(&[7; 16])), "and with it k");
    assert_eq!(books.balances[&account(3).public()], units(5));
}

#[test]
fn an_abort_frees_everything_and_ends_the_authorization() {
    let mut books = bank_with_money();
    let first = must(&mut books, purchase());
    let header = Header::of(&first, first.id()).expect("a purchase");
    settle(&mut books, 0, abort(&header)).expect("settles");
    assert_eq!(books.audit(rules()).expect("agrees").locked, Amount::ZERO);
    // The same authorization again is answered, and locks nothing.
    send(&mut books, first.clone(), Timestamp(0)).expect("a replay");
    assert_eq!(books.audit(rules()).expect("agrees").locked, Amount::ZERO);
    assert_eq!(settle(&mut books, 0, commit(&header)).expect_err("final").code(), "log_contradiction");
    // Tokens and offer are free for another one.
    let mut second = purchase();
    second.condition.as_mut().expect("a purchase").expiry = seconds(200);
    let second = must(&mut books, second);
    settle(&mut books, 0, commit(&Header::of(&second, second.id()).expect("a purchase"))).expect("settles");
    assert_eq!(books.balances[&account(3).public()], units(5));
}

fn settle(books: &mut Books, log: usize, decision: LogDecision) -> Result<(), Refusal> {
    ask(books, authenticate_decision(rules(), prove(log, decision)), Timestamp(0))
}

#[test]
fn decisions_must_hold() {
    let mut books = bank_with_money();
    let first = must(&mut books, purchase());
    let header = Header::of(&first, first.id()).expect("a purchase");
    let proven = || prove(0, commit(&header));
    let mut refuse = |code: &str, decision: UnverifiedDecision| {
        let refusal = ask(&mut books, authenticate_decision(rules(), decision), Timestamp(0)).expect_err(code);
        assert_eq!(refusal.code(), code, "{refusal}");
    };
    refuse("unknown_log", prove(2, commit(&header)));
    refuse("decision_misfit", prove(1, commit(&header)));
    refuse("decision_misfit", prove(0, LogDecision { q: Some(key(9).public()), ..commit(&header) }));
    refuse("decision_misfit", prove(0, LogDecision { expiry: seconds(101), ..commit(&header) }));
    refuse("unknown_purchase", prove(0, LogDecision { a: Digest([0; 32]), ..commit(&header) }));
    let other = prove(0, abort(&header));
    refuse("bad_decision", UnverifiedDecision { decision: other.decision.clone(), ..proven() });
    let mut elsewhere = proven();
    elsewhere.inclusion.index = 0;
    refuse("bad_decision", elsewhere);
    refuse("bad_decision", UnverifiedDecision { checkpoint: other.checkpoint.clone(), ..proven() });
    refuse("bad_decision", UnverifiedDecision { checkpoint: prove(1, commit(&header)).checkpoint, ..proven() });
    let mut longer = proven();
    longer.inclusion.size += 1;
    refuse("bad_decision", longer);
    let mut bytes = cbor::to_vec(&proven());
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    if let Ok(changed) = cbor::from_slice::<UnverifiedDecision>(&bytes) {
        refuse("bad_decision", changed);
    }
    ask(&mut books, authenticate_decision(rules(), proven()), Timestamp(0)).expect("the honest one settles");
}

/// The right keys, each with a sound signature, but over another exchange.
#[test]
fn signatures_are_over_this_exchange() {
    let [mine, other] = [0, 3].map(|to| sign(exchange(vec![token(0)], vec![credit(to, 1)], None)));
    let signatures: Vec<&[u8]> = other.signatures().iter().map(|signature| signature.bytes()).collect();
    let forged = UnverifiedJoint::<Exchange>::parse(mine.payload(), &signatures).expect("parses");
    assert_eq!(authenticate(rules(), forged).expect_err("forged").code(), "bad_signature");
}

/// The cheap checks come first, and a check of one kind never shadows that another bank is meant: a misrouted request says
/// nothing about the request.
#[test]
fn another_banks_request_is_only_ever_that() {
    let mut body = purchase();
    body.bank = key(9).public();
    body.outputs.push(credit(1, 9));
    refused("wrong_bank", seconds(9_999), Joint::sign(body, []));
}

fn forged_token() -> Input {
    let mut bytes = world().tokens[0].token.to_bytes();
    bytes[2..34].copy_from_slice(key(77).public().as_bytes());
    Input::token(Token::parse(&bytes).expect("parses"))
}

/// The signature holds, but not for a token of the brand that it names.
fn other_challenge() -> Input {
    let mut bytes = world().tokens[0].token.to_bytes();
    bytes[34] ^= 1;
    Input::token(Token::parse(&bytes).expect("parses"))
}

fn sign_as_token_0(input: Input) -> Joint<Exchange> {
    Joint::sign(exchange(vec![input], vec![credit(0, 1)], None), [&world().tokens[0].q])
}

#[test]
fn accounts_are_opened_by_their_own_key() {
    let open = |bank, account| OpenAccount { bank, account };
    let refuse = |signed: Signed<OpenAccount>| {
        authenticate_account(rules(), Unverified::from(&signed)).expect_err("refused").code()
    };
    assert_eq!(refuse(Signed::sign(&account(0), open(key(9).public(), account(0).public()))), "wrong_bank");
    assert_eq!(refuse(Signed::sign(&account(1), open(bank(), account(0).public()))), "wrong_signer");
}

/// No two kinds of refusal share a code, but for the statement's own.
#[test]
fn codes_are_distinct() {
    let refusals = [
        Refusal::WrongBank,
        Refusal::WrongCurrency,
        Refusal::Size,
        Refusal::UnknownBrand,
        Refusal::BrandNotIssuing,
        Refusal::BrandClosed,
        Refusal::DuplicateInput,
        Refusal::DuplicateOutput,
        Refusal::AmountOutOfRange,
        Refusal::ConditionInputs,
        Refusal::ConditionOutputs,
        Refusal::UnknownLog,
        Refusal::InsufficientFunds,
        Refusal::OrderUsed,
        Refusal::OfferTaken,
        Refusal::UnknownPurchase,
        Refusal::DecisionMisfit,
        Refusal::KeyMismatch,
        Refusal::Stale,
    ];
    let codes: BTreeSet<_> = refusals.iter().map(Refusal::code).collect();
    assert_eq!(codes.len(), refusals.len());
}
