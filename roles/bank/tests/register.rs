//! The register as it runs: brands before they are used, days that are summed up, receipts.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use std::ops::Range;

use naulon_bank::{
    Bank, BankStore, DayKey, DeliveredPlace, LogFault, MemoryStore, OpenError, RegisterAppending, RegisterError,
    RegisterRows, RegisterStore, SqliteStore, StoredChunk, Written,
};
use naulon_blind::Brand;
use naulon_durable::StoreError;
use naulon_durable::fault::{Faults, When};
use naulon_exchange::register::{
    Day, DaySummary, DayWatch, EntryKind, ItemPromise, ReadRegister, Receipt, RegisterEntry, Side, Verdict,
    issued_item, redeemed_item,
};
use naulon_exchange::{Audit, Needs, Outcome, Plan, Record, RequestId, State, View};
use naulon_money::Amount;
use naulon_statement::{Digest, Duration, PublicKey, Signed, Timestamp, Unverified};
use naulon_tlog::{CheckpointSigner, WitnessPolicy, decode_bundle};
use naulon_wire::{BankCall, BankReply};
use world::*;

const DAY: Duration = Duration::days(1);

fn read<S: BankStore>(bank: &Bank<S>) -> ReadRegister {
    let copy = bank.desk().register();
    copy.read(&bank.identity(), &WitnessPolicy::unwitnessed(), None).expect("the register holds")
}

/// Sums up all days that are over.
fn close<S: BankStore>(bank: &mut Bank<S>, now: Timestamp) {
    while bank.close_days(now).expect("closes") {}
}

fn public<S: BankStore>(bank: &mut Bank<S>, path: &str) -> Vec<u8> {
    match bank.handle(BankCall::Public(path.to_owned()), NOW).expect("a file") {
        BankReply::Public(file) => file.bytes.to_vec(),
        other => panic!("not a file: {other:?}"),
    }
}

/// The sums of all days, as anybody reads them.
fn days<S: BankStore>(bank: &mut Bank<S>) -> Vec<DaySummary> {
    let entries = bank.desk().register().entries.clone();
    let days = entries.iter().zip(0..).filter(|(entry, _)| entry.kind() == Some(EntryKind::Day));
    let places: Vec<u64> = days.map(|(_, place)| place).collect();
    let mut summaries = Vec::new();
    for place in places {
        let bytes = public(bank, &format!("/body/{place}"));
        let summary = Unverified::<DaySummary>::parse(&bytes).expect("a day").verify(&key("bank").public());
        summaries.push(summary.expect("signed").into_body());
    }
    summaries
}

fn receipt<S: BankStore>(bank: &mut Bank<S>, request: RequestId, side: Side, item: Digest, now: Timestamp) -> Receipt {
    match bank.handle(BankCall::Receipt { request, side, item }, now).expect("a receipt") {
        BankReply::Receipt(receipt) => *receipt,
        other => panic!("not a receipt: {other:?}"),
    }
}

fn exchanged<S: BankStore>(bank: &mut Bank<S>, call: BankCall, now: Timestamp) -> naulon_wire::ExchangeReply {
    match bank.handle(call, now).expect("accepted") {
        BankReply::Exchange(reply) => *reply,
        other => panic!("not the reply of an exchange: {other:?}"),
    }
}

#[test]
fn brands_stand_in_the_register_before_they_are_used() {
    let store = MemoryStore::new(Faults::none());
    let mut few = rules();
    few.brands.retain(|id, _| *id == brand_id(ONE));
    let mut bank = Bank::open(keys(), few, signatory(), store.clone()).expect("opens");
    let known = read(&bank);
    assert_eq!((known.brands.len(), known.fees.len(), known.memory.size), (1, 1, 2));
    // At every write that could fail, either the brand is not issued, or it stands in the register.
    for nth in 1..4 {
        store.faults().plan(nth, When::After);
        let added = bank.add_brands(&[brand(FIVE).brand().clone()]);
        let register = bank.desk().register();
        let stands = register.brands.iter().any(|it| it.claimed_body().key_id() == brand_id(FIVE).0);
        assert!(stands || !bank.desk().rules().brands.contains_key(&brand_id(FIVE)), "{nth}: {added:?}");
        store.faults().restart();
        bank = open(store.clone());
    }
    let all = read(&bank);
    assert_eq!(all.brands.len(), 5);
    let again = read(&open(store.clone()));
    assert_eq!(again.memory, all.memory, "opening it again changes nothing");

    // As files, the same to everybody.
    let checkpoint = String::from_utf8(public(&mut bank, "/checkpoint")).expect("text");
    assert_eq!(checkpoint, all.memory.note);
    let bundle = public(&mut bank, &format!("/tile/entries/000.p/{}", all.memory.size));
    let entries = decode_bundle(&bundle).expect("a bundle");
    for (entry, place) in entries.iter().zip(0..) {
        let body = public(&mut bank, &format!("/body/{place}"));
        let entry = RegisterEntry::from_bytes((*entry).try_into().expect("33 bytes"));
        assert_eq!(RegisterEntry::new(entry.kind().expect("a kind"), &body), entry);
    }
    assert_eq!(public(&mut bank, "/tile/0/000.p/1").len(), 32);
    for none in ["/tile/entries/000", "/body/99", "/body/x", "/tile/9/000"] {
        let refused = bank.handle(BankCall::Public(none.to_owned()), NOW).expect_err("no such file");
        assert_eq!(refused.code, "not_found", "{none}");
    }
}

fn days_are_summed_up_and_receipts_lead_to_them<S: BankStore>(mut store: impl FnMut() -> S) {
    let mut bank = furnished(store());
    let alice = key("alice");
    let first = Day::of(NOW);
    let tomorrow = NOW.plus(DAY);
    // Today: six tokens issued, one exchanged for another, three locked.
    let blinds: Vec<Blind> = (0..6).map(|n| Blind::new(ONE, 7_000 + n)).collect();
    let outputs = || blinds.iter().map(Blind::output).collect();
    let withdrawn = exchanged(&mut bank, order(&alice, amount("6"), 9, outputs()), NOW);
    let coins: Vec<Coin> =
        blinds.iter().zip(&withdrawn.signatures).map(|(blind, signature)| blind.coin(signature)).collect();
    let fresh = Blind::new(ONE, 7_100);
    let swap = call(exchange(vec![coins[0].input()], vec![fresh.output()]), [&coins[0].q]);
    let swapped = exchanged(&mut bank, swap, NOW);
    let change = Blind::new(ONE, 7_101);
    let long = naulon_exchange::Condition { expiry: NOW.plus(DAY), ..condition(1) };
    let locked = exchanged(&mut bank, lock(&[&coins[1], &coins[2]], amount("1"), &[&change], long), NOW);
    let short = exchanged(&mut bank, lock(&[&coins[3]], amount("1"), &[], condition(2)), NOW);
    let issued = |blind: &Blind| issued_item(&brand_id(ONE), &blind.message);

    // Before the day is over there is a promise.
    let item = issued(&blinds[4]);
    let Receipt::Promised(promise) = receipt(&mut bank, withdrawn.request, Side::Issued, item, NOW) else { panic!() };
    let expected =
        ItemPromise { bank: key("bank").public(), brand: brand_id(ONE), day: first, side: Side::Issued, item };
    assert_eq!(*promise.claimed_body(), expected);
    let spent = redeemed_item(&coins[0].token);
    let Receipt::Promised(redeemed) = receipt(&mut bank, swapped.request, Side::Redeemed, spent, NOW) else { panic!() };
    // What was not delivered is promised to nobody, nor what is not in the exchange.
    for (request, side, item) in [
        (locked.request, Side::Issued, issued(&change)),
        (locked.request, Side::Redeemed, redeemed_item(&coins[1].token)),
        (withdrawn.request, Side::Issued, issued(&fresh)),
        (withdrawn.request, Side::Redeemed, item),
        (Digest([1; 32]), Side::Issued, item),
    ] {
        let refused = bank.handle(BankCall::Receipt { request, side, item }, NOW).expect_err("refused");
        assert_eq!(refused.code, "unknown_purchase");
    }
    assert!(!bank.close_days(NOW).expect("looks"), "today is not over");
    assert_eq!(days(&mut bank), []);

    // Tomorrow the log's decisions come. Then the bank is down for three days, and catches up.
    let time = condition(2).expiry;
    let decision = TestLog::default().decide(&header(&short), time, Outcome::Abort);
    bank.handle(settle(&decision), tomorrow).expect("settled");
    let decision = TestLog::default().decide(&header(&locked), NOW, Outcome::Commit { k: K });
    bank.handle(settle(&decision), tomorrow).expect("settled");
    drop(bank);
    let mut bank = open(store());
    close(&mut bank, Timestamp(NOW.0 + 4 * DAY.0));
    let told = days(&mut bank);
    assert_eq!(
        told.iter().map(|day| day.day).collect::<Vec<_>>(),
        (0..4).map(|n| Day(first.0 + n)).collect::<Vec<_>>()
    );
    let counts = |day: &DaySummary| {
        let row = day.brand(&brand_id(ONE)).expect("a row");
        [row.issued, row.redeemed, row.issued_total, row.redeemed_total]
    };
    assert_eq!(counts(&told[0]), [7, 1, 7, 1]);
    assert_eq!(counts(&told[1]), [1, 2, 8, 3], "a purchase counts on the day on which it is settled");
    assert_eq!(counts(&told[3]), [0, 0, 8, 3]);
    let mut watch = DayWatch::default();
    read(&bank).brands.iter().for_each(|brand| watch.brand(brand));
    assert!(told.iter().all(|day| watch.day(day).is_empty()));
    assert_eq!(watch.late(Timestamp(NOW.0 + 4 * DAY.0), Duration(0)), None);
    // The auditor, who reads the records, counts the same.
    let position = bank.audit().expect("agrees").brands[&brand_id(ONE)];
    assert_eq!((position.issued, position.redeemed), (8, 3));

    // The receipts lead to the roots, and the promises are kept.
    let later = Timestamp(NOW.0 + 4 * DAY.0);
    for (promise, request, side, item) in
        [(promise, withdrawn.request, Side::Issued, item), (redeemed, swapped.request, Side::Redeemed, spent)]
    {
        let shown = receipt(&mut bank, request, side, item, later);
        assert!(matches!(shown, Receipt::Shown { .. }));
        assert_eq!(shown.judge(promise).expect("holds").1, Verdict::Kept);
    }
    for (side, item) in [(Side::Issued, issued(&change)), (Side::Redeemed, redeemed_item(&coins[2].token))] {
        let promise = ItemPromise { side, item, day: first.next(), ..expected.clone() };
        assert_eq!(receipt(&mut bank, locked.request, side, item, later).check(&promise), Ok(Verdict::Kept));
    }

    // A clock that is set back changes no day that is told: what comes now, comes now.
    let seen = read(&bank).memory;
    drop(bank);
    let mut bank = open(store());
    assert_eq!(read(&bank).memory, seen);
    exchanged(&mut bank, deposit(&[&coins[5]], &alice), NOW);
    close(&mut bank, NOW);
    assert_eq!(read(&bank).memory, seen);
    close(&mut bank, Timestamp(NOW.0 + 6 * DAY.0));
    let told = days(&mut bank);
    assert_eq!(counts(&told[4]), [0, 1, 8, 4]);
}

#[test]
fn memory_days_are_summed_up_and_receipts_lead_to_them() {
    let store = MemoryStore::new(Faults::none());
    days_are_summed_up_and_receipts_lead_to_them(|| store.clone());
}

#[test]
fn sqlite_days_are_summed_up_and_receipts_lead_to_them() {
    let directory = tempfile::tempdir().expect("a directory");
    days_are_summed_up_and_receipts_lead_to_them(|| SqliteStore::open(&directory.path().join("bank")).expect("opens"));
}

/// A day of more records than one step reads, and of more items than one row holds.
#[test]
fn a_large_day_is_closed_in_steps_and_every_item_is_found() {
    let mut bank = furnished(MemoryStore::new(Faults::none()));
    let blind = Blind::new(ONE, 1);
    let coins = withdraw(&mut bank, 1, &[ONE]);
    drop(coins);
    // The same output bought again and again is as many items, which a root of sorted items holds side by side.
    let mut requests = Vec::new();
    for n in 0..90_u16 {
        let mut number = [0; 16];
        number[..2].copy_from_slice(&n.to_be_bytes());
        let alice = key("alice");
        let input = naulon_exchange::Input::Account { account: alice.public(), amount: amount("1"), order: number };
        let output = Blind::new(ONE, 100 + u32::from(n)).output();
        let reply = exchanged(&mut bank, call(exchange(vec![input], vec![output]), [&alice]), NOW);
        requests.push((reply.request, issued_item(&brand_id(ONE), &Blind::new(ONE, 100 + u32::from(n)).message)));
    }
    let later = Timestamp(NOW.0 + DAY.0);
    close(&mut bank, later);
    for (request, item) in requests {
        let shown = receipt(&mut bank, request, Side::Issued, item, later);
        let promise = ItemPromise {
            bank: key("bank").public(),
            brand: brand_id(ONE),
            day: Day::of(NOW),
            side: Side::Issued,
            item,
        };
        assert_eq!(shown.check(&promise), Ok(Verdict::Kept));
    }
    drop(blind);
}

#[test]
fn a_bank_whose_register_is_not_the_signed_one_does_not_open() {
    let store = MemoryStore::new(Faults::none());
    drop(open(store.clone()));
    let mut tampered = store.clone();
    let checkpoint = tampered.register(0).expect("reads").checkpoint.expect("signed");
    let more = RegisterAppending { before: 6, statements: vec![(EntryKind::Fees, vec![1])], checkpoint };
    assert_eq!(tampered.append_register(&more), Ok(Written::Yes));
    let opened = Bank::open(keys(), rules(), signatory(), store);
    assert!(matches!(opened.err(), Some(OpenError::Register(RegisterError::OtherTree(7)))));

    let store = MemoryStore::new(Faults::none());
    drop(open(store.clone()));
    let checkpoints = CheckpointSigner::new("bank.example/register", &[9; 32]).expect("an origin");
    let other = naulon_bank::BankKeys { checkpoints, ..keys() };
    let opened = Bank::open(other, rules(), signatory(), store);
    assert!(matches!(opened.err(), Some(OpenError::Register(RegisterError::OtherKey))));
}

/// A bank that leaves an issued token out of its day, say because somebody makes tokens on the side.
struct Forgetful(MemoryStore, Digest);

impl RegisterStore for Forgetful {
    fn register(&mut self, from: u64) -> Result<RegisterRows, StoreError> {
        self.0.register(from)
    }
    fn register_statement(&mut self, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.register_statement(index)
    }
    fn append_register(&mut self, appending: &RegisterAppending) -> Result<Written, StoreError> {
        self.0.append_register(appending)
    }
    fn keep_cosigned(&mut self, size: u64, note: &str) -> Result<Written, StoreError> {
        self.0.keep_cosigned(size, note)
    }
    fn delivered(
        &mut self,
        within: Range<Timestamp>,
        after: Option<&DeliveredPlace>,
        limit: usize,
    ) -> Result<Vec<(DeliveredPlace, Record)>, StoreError> {
        let mut found = self.0.delivered(within, after, limit)?;
        found.retain(|(_, record)| record.id() != self.1);
        Ok(found)
    }
    fn keep_chunks(&mut self, chunks: &[StoredChunk]) -> Result<(), StoreError> {
        self.0.keep_chunks(chunks)
    }
    fn chunk_roots(&mut self, key: &DayKey) -> Result<Vec<naulon_tlog::Hash>, StoreError> {
        self.0.chunk_roots(key)
    }
    fn chunk(&mut self, key: &DayKey, number: u64) -> Result<Option<Vec<Digest>>, StoreError> {
        self.0.chunk(key, number)
    }
    fn chunk_of(&mut self, key: &DayKey, item: &Digest) -> Result<Option<u64>, StoreError> {
        self.0.chunk_of(key, item)
    }
}

impl BankStore for Forgetful {
    fn view(&mut self, needs: &[Needs]) -> Result<Vec<View>, StoreError> {
        self.0.view(needs)
    }
    fn commit(&mut self, plans: &[Plan]) -> Result<Vec<Written>, StoreError> {
        self.0.commit(plans)
    }
    fn record(&mut self, id: &RequestId) -> Result<Option<Record>, StoreError> {
        self.0.record(id)
    }
    fn outputs(&mut self, keys: &[Digest]) -> Result<Vec<(Digest, State)>, StoreError> {
        self.0.outputs(keys)
    }
    fn locked(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.0.locked(after, limit)
    }
    fn records(&mut self, after: Option<&RequestId>, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.0.records(after, limit)
    }
    fn forget(&mut self, forgotten: &[naulon_exchange::Forgotten]) -> Result<usize, StoreError> {
        self.0.forget(forgotten)
    }
    fn balance(&mut self, account: &PublicKey) -> Result<Option<Amount>, StoreError> {
        self.0.balance(account)
    }
    fn brands(&mut self) -> Result<Vec<Signed<Brand>>, StoreError> {
        self.0.brands()
    }
    fn add_brand(&mut self, brand: &Signed<Brand>) -> Result<Written, StoreError> {
        self.0.add_brand(brand)
    }
    fn latest_time(&mut self) -> Result<Timestamp, StoreError> {
        self.0.latest_time()
    }
    fn keep_time(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.0.keep_time(now)
    }
    fn keep_log_fault(&mut self, fault: &LogFault) -> Result<(), StoreError> {
        self.0.keep_log_fault(fault)
    }
    fn log_faults(&mut self) -> Result<Vec<LogFault>, StoreError> {
        self.0.log_faults()
    }
    fn audit(&mut self, audit: &mut Audit<'_>) -> Result<(), StoreError> {
        self.0.audit(audit)
    }
}

#[test]
fn an_item_that_a_bank_leaves_out_convicts_it() {
    let store = MemoryStore::new(Faults::none());
    let mut bank = furnished(store.clone());
    withdraw(&mut bank, 1, &[ONE, ONE, ONE]);
    let blind = Blind::new(ONE, 9_000);
    let reply = exchanged(&mut bank, order(&key("alice"), amount("1"), 2, vec![blind.output()]), NOW);
    let item = issued_item(&brand_id(ONE), &blind.message);
    let Receipt::Promised(promise) = receipt(&mut bank, reply.request, Side::Issued, item, NOW) else { panic!() };
    drop(bank);
    let mut bank = open(Forgetful(store, reply.request));
    let later = Timestamp(NOW.0 + DAY.0);
    close(&mut bank, later);
    let missing = receipt(&mut bank, reply.request, Side::Issued, item, later);
    assert!(matches!(missing, Receipt::Missing { .. }), "{missing:?}");
    assert_eq!(missing.judge(promise).expect("holds").1, Verdict::Broken);
}
