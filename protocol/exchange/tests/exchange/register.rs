//! The register: what a reader takes, what she refuses, and what convicts a bank.

use naulon_blind::{Brand, IssuerSecret, Method, Purpose};
use naulon_exchange::register::*;
use naulon_exchange::{Record, State};
use naulon_statement::{Digest, Duration, Signed, Timestamp, Unverified};
use naulon_tlog::{Checkpoint, CheckpointSigner, Hash, InclusionProof, Tree, WitnessPolicy, WitnessSigner};

use super::world::*;

const DAY: u64 = 86_400_000;
const ORIGIN: &str = "bank.example/register";

/// A bank's register, and whatever the bank may do with it.
#[derive(Clone, Default)]
struct Register {
    entries: Vec<RegisterEntry>,
    brands: Vec<Signed<Brand>>,
    fees: Vec<Signed<FeeTable>>,
}

fn signer() -> CheckpointSigner {
    CheckpointSigner::new(ORIGIN, &[5; 32]).expect("an origin")
}

fn witness(n: u8) -> WitnessSigner {
    WitnessSigner::new(&format!("witness.example/{n}"), &[100 + n; 32]).expect("a name")
}

/// Two of three.
fn policy() -> WitnessPolicy {
    WitnessPolicy::new((0..3).map(|n| witness(n).verifier().clone()).collect(), 2).expect("a policy")
}

fn identity() -> BankIdentity {
    BankIdentity { key: bank(), checkpoints: signer().verifier().clone() }
}

/// A brand of one of the test keys, worth this many units, issued in days [from, from + 10).
fn brand(which: usize, value: u64, from: u64) -> Brand {
    let path = format!("{}/../../vectors/brand-keys/test-only-{which:02}.pkcs8.der", env!("CARGO_MANIFEST_DIR"));
    let secret = IssuerSecret::from_der(&std::fs::read(path).expect("a key file")).expect("a key");
    Brand {
        bank: bank(),
        currency: currency(),
        denomination: units(value),
        method: Method::BlindRsa2048,
        purpose: Purpose::Money,
        issue_from: Timestamp(from * DAY),
        withdraw_until: Timestamp((from + 10) * DAY),
        spend_until: Timestamp((from + 20) * DAY),
        redeem_until: Timestamp((from + 30) * DAY),
        key: *secret.public().spki(),
    }
}

impl Register {
    fn of(brands: impl IntoIterator<Item = Brand>) -> Self {
        let mut register = Register::default();
        register.fee(FeeTable::free(bank(), currency(), Timestamp(0)));
        brands.into_iter().for_each(|brand| register.state(brand));
        register
    }

    fn fee(&mut self, table: FeeTable) {
        let signed = Signed::sign(&key(1), table);
        self.entries.push(RegisterEntry::of(&signed));
        self.fees.push(signed);
    }

    fn state(&mut self, brand: Brand) {
        let signed = Signed::sign(&key(1), brand);
        self.entries.push(RegisterEntry::of(&signed));
        self.brands.push(signed);
    }

    fn checkpoint(&self) -> Checkpoint {
        let mut tree = Tree::default();
        tree.append(&self.entries.iter().map(RegisterEntry::leaf).collect::<Vec<Hash>>());
        Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() }
    }

    /// What the bank hands out, cosigned by these witnesses.
    fn copy(&self, witnesses: &[u8]) -> RegisterCopy {
        let checkpoint = self.checkpoint();
        let mut note = signer().sign(&checkpoint).expect("signs").into_string();
        for n in witnesses {
            note.push_str(witness(*n).cosign(&checkpoint, 1_800_000_000).expect("cosigns").line());
            if !note.ends_with('\n') {
                note.push('\n');
            }
        }
        RegisterCopy {
            checkpoint: note,
            entries: self.entries.clone(),
            brands: self.brands.iter().map(Unverified::from).collect(),
            fees: self.fees.iter().map(Unverified::from).collect(),
        }
    }
}

fn read(copy: &RegisterCopy) -> Result<ReadRegister, RegisterRefusal> {
    copy.read(&identity(), &policy(), None)
}

#[test]
fn a_register_that_enough_witnesses_have_seen_gives_its_brands_and_fees() {
    let register = Register::of([brand(0, 1, 0), brand(1, 5, 0), brand(2, 1, 10)]);
    let known = read(&register.copy(&[0, 2])).expect("read");
    assert_eq!((known.brands.len(), known.not_yet, known.senseless.len()), (3, 0, 0));
    assert_eq!(known.brands[1].denomination, units(5));
    assert!(known.fees_at(Timestamp(7)).expect("a table").is_free());
    assert_eq!(known.memory.size, 4);

    // Too few witnesses, others' witnesses, another key.
    assert!(matches!(read(&register.copy(&[0])), Err(RegisterRefusal::Checkpoint(_))));
    assert!(matches!(read(&register.copy(&[0, 7])), Err(RegisterRefusal::Checkpoint(_))));
    let checkpoints = CheckpointSigner::new(ORIGIN, &[6; 32]).expect("an origin").verifier().clone();
    let other = BankIdentity { checkpoints, ..identity() };
    let refused = register.copy(&[0, 1]).read(&other, &policy(), None);
    assert!(matches!(refused, Err(RegisterRefusal::Checkpoint(_))));
    // Who wants no witness says so by name.
    assert!(register.copy(&[]).read(&identity(), &WitnessPolicy::unwitnessed(), None).is_ok());
}

#[test]
fn a_brand_outside_of_the_checkpoint_is_not_one_yet() {
    let mut register = Register::of([brand(0, 1, 0)]);
    let before = register.copy(&[0, 1]);
    register.state(brand(1, 5, 0));
    // The statement alone is not enough, nor an entry that the checkpoint does not cover.
    let ahead = RegisterCopy { brands: register.copy(&[]).brands, ..before.clone() };
    let known = read(&ahead).expect("read");
    assert_eq!((known.brands.len(), known.not_yet), (1, 1));
    let longer = RegisterCopy { entries: register.entries.clone(), ..ahead };
    assert_eq!(read(&longer).expect_err("refused"), RegisterRefusal::OtherEntries);
    // What stands in it and is not shown could be a rival.
    let after = register.copy(&[0, 1]);
    let hidden = RegisterCopy { brands: before.brands, ..after };
    assert_eq!(read(&hidden).expect_err("refused"), RegisterRefusal::Withheld(2));
    // An entry that says it is something else hides no brand: the brand is none.
    let mut disguised = Register::of([brand(0, 1, 0)]);
    let own = Signed::sign(&key(1), brand(1, 1, 0));
    disguised.entries.push(RegisterEntry::new(EntryKind::Day, own.bytes()));
    disguised.brands.push(own);
    let known = read(&disguised.copy(&[0, 1])).expect("read");
    assert_eq!((known.brands.len(), known.not_yet), (1, 1));
}

#[test]
fn two_brands_for_one_place_convict_the_bank() {
    let first = brand(0, 1, 0);
    let rivals = |second: Brand| {
        let refused = read(&Register::of([brand(3, 5, 0), first.clone(), second.clone()]).copy(&[0, 1]));
        match refused.expect_err("refused") {
            RegisterRefusal::Rivals(pair) => {
                // Both are signed by the bank: anybody can check them.
                let pair = [pair.first, pair.second].map(|signed| {
                    let bytes = signed.bytes().to_vec();
                    Unverified::<Brand>::parse(&bytes).expect("a brand").verify(&bank()).expect("signed").into_body()
                });
                assert!(pair.contains(&first) && pair.contains(&second));
            }
            other => panic!("{other:?}"),
        }
    };
    rivals(brand(1, 1, 0));
    // A start that is a little later is the same trick, and so is one key for two values.
    rivals(brand(1, 1, 9));
    rivals(brand(0, 2, 0));
    assert!(read(&Register::of([first.clone(), brand(1, 1, 10), brand(2, 2, 0)]).copy(&[0, 1])).is_ok());
}

#[test]
fn a_senseless_entry_is_used_by_nobody_and_blocks_nobody() {
    let mut register = Register::of([brand(0, 1, 0)]);
    register.state(Brand { withdraw_until: Timestamp(0), ..brand(1, 2, 0) });
    register.state(Brand { bank: key(9).public(), ..brand(2, 2, 0) });
    let stolen = Signed::sign(&key(9), brand(3, 2, 0));
    register.entries.push(RegisterEntry::of(&stolen));
    register.brands.push(stolen);
    register.entries.push(RegisterEntry::from_bytes([200; REGISTER_ENTRY_LEN]));
    register.state(brand(4, 2, 0));
    let known = read(&register.copy(&[0, 1])).expect("read");
    assert_eq!(known.brands.iter().map(|brand| brand.denomination).collect::<Vec<_>>(), [units(1), units(2)]);
    assert_eq!(known.senseless.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn what_was_seen_goes_on_or_the_bank_is_convicted() {
    let mut register = Register::of([brand(0, 1, 0)]);
    let seen = read(&register.copy(&[0, 1])).expect("read").memory;
    let mut other = register.clone();
    register.state(brand(1, 5, 0));
    let again =
        |register: &Register, seen: &RegisterMemory| register.copy(&[1, 2]).read(&identity(), &policy(), Some(seen));
    let later = again(&register, &seen).expect("goes on").memory;
    assert_eq!(again(&register, &later).expect("the same").memory.size, 3);
    assert_eq!(again(&other, &later).expect_err("older"), RegisterRefusal::Older { seen: 3, shown: 2 });
    // Another tree of the same size, and a longer one: two checkpoints of one key that cannot both be.
    other.state(brand(2, 5, 0));
    for _ in 0..2 {
        let RegisterRefusal::Forked { seen, shown } = again(&other, &later).expect_err("forked") else { panic!() };
        let open = |note: &str| policy().accept(signer().verifier(), note).expect("cosigned").checkpoint().clone();
        assert_ne!(open(&seen).root, open(&shown).root);
        other.state(brand(3, 2, 0));
    }
}

/// Everybody's fees are those of the last table that has begun.
#[test]
fn fees_are_those_of_the_table_in_force() {
    let mut register = Register::of([]);
    register.fee(FeeTable { deposit: units(1), ..FeeTable::free(bank(), currency(), Timestamp(100)) });
    let known = read(&register.copy(&[0, 1])).expect("read");
    assert!(known.fees_at(Timestamp(99)).expect("a table").is_free());
    assert_eq!(known.fees_at(Timestamp(100)).expect("a table").deposit, units(1));
}

fn items(count: u64) -> Vec<Digest> {
    (0..count).map(|n| Digest::of(&[b"item", &n.to_be_bytes()])).collect()
}

/// A summary with these items issued of one brand, and where each item stands.
fn summary(day: Day, issued: &[Digest]) -> (Unverified<DaySummary>, impl Fn(&Digest) -> Neighbour + use<>) {
    let listed = DayItems::new(issued.to_vec());
    let row = BrandDay {
        brand: Digest([1; 32]),
        issued: listed.count(),
        issued_root: listed.root(),
        redeemed: 0,
        redeemed_root: DayItems::default().root(),
        issued_total: listed.count(),
        redeemed_total: 0,
    };
    let signed = Signed::sign(&key(1), DaySummary { bank: bank(), day, brands: vec![row] });
    let chunks: Vec<ItemChunk> = listed.chunks().collect();
    let size = listed.count();
    let place = move |item: &Digest| {
        let roots: Vec<Hash> = chunks.iter().map(|chunk| chunk.root).collect();
        let found = chunks.iter().enumerate().find_map(|(c, chunk)| Some((c, chunk.items.binary_search(item).ok()?)));
        let (chunk, place) = found.expect("an item of the day");
        let path = item_path(&chunks[chunk].items, place, &roots, chunk).expect("a path");
        Neighbour { item: *item, proof: InclusionProof { index: (chunk * ITEM_CHUNK + place) as u64, size, path } }
    };
    (Unverified::from(&signed), place)
}

fn promise(item: Digest) -> ItemPromise {
    ItemPromise { bank: bank(), brand: Digest([1; 32]), day: Day(7), side: Side::Issued, item }
}

#[test]
fn a_promise_is_kept_by_a_place_under_the_root_and_broken_by_a_gap() {
    for count in [1, 2, 300, 600] {
        let mut all = items(count + 1);
        all.sort();
        for missing in [0, all.len() / 2, all.len() - 1] {
            let mut told = all.clone();
            let item = told.remove(missing);
            let (summary, place) = summary(Day(7), &told);
            let mine = Unverified::from(&Signed::sign(&key(1), promise(item)));
            let below = missing.checked_sub(1).map(|n| place(&told[n]));
            let above = told.get(missing).map(&place);
            let gap = |below: Option<Neighbour>, above: Option<Neighbour>| {
                Receipt::Missing { summary: summary.clone(), below, above }.judge(mine.clone()).map(|(_, said)| said)
            };
            assert_eq!(gap(below.clone(), above.clone()), Ok(Verdict::Broken));
            // A gap that is none convicts nobody.
            if below.is_some() {
                assert!(gap(None, above.clone()).is_err());
            }
            if above.is_some() {
                assert!(gap(below.clone(), None).is_err());
                assert!(gap(above, below).is_err());
            }
            // The others stand there.
            let other = promise(told[0]);
            let shown = Receipt::Shown { summary: summary.clone(), proof: place(&told[0]).proof };
            assert_eq!(shown.check(&other), Ok(Verdict::Kept));
            assert!(shown.check(&promise(item)).is_err());
            assert!(shown.check(&ItemPromise { day: Day(8), ..other.clone() }).is_err());
            assert!(shown.check(&ItemPromise { side: Side::Redeemed, ..other.clone() }).is_err());
            assert!(shown.check(&ItemPromise { brand: Digest([2; 32]), ..other }).is_err());
        }
    }
    // A day without a row for the brand, or with none of its items.
    let (empty, _) = summary(Day(7), &[]);
    let mine = promise(items(1)[0]);
    let gap = Receipt::Missing { summary: empty.clone(), below: None, above: None };
    assert_eq!(gap.check(&mine), Ok(Verdict::Broken));
    assert_eq!(gap.check(&ItemPromise { brand: Digest([2; 32]), ..mine.clone() }), Ok(Verdict::Broken));
    // Nobody but the bank can make a promise, or a sum.
    let forged = Unverified::from(&Signed::sign(&key(9), mine.clone()));
    assert!(gap.judge(forged).is_err());
    let own = DaySummary { bank: bank(), day: Day(7), brands: vec![] };
    let forged = Receipt::Missing { summary: Unverified::from(&Signed::sign(&key(9), own)), below: None, above: None };
    assert!(forged.check(&mine).is_err());
    // Another promise says nothing new.
    let again = Receipt::Promised(Unverified::from(&Signed::sign(&key(1), mine.clone())));
    assert_eq!(again.check(&mine), Ok(Verdict::Open));
}

#[test]
fn a_watcher_finds_days_that_do_not_hold() {
    let terms = brand(0, 1, 0);
    let id = Digest(terms.key_id());
    let row = |issued, redeemed, issued_total, redeemed_total| BrandDay {
        brand: id,
        issued,
        issued_root: Digest([0; 32]),
        redeemed,
        redeemed_root: Digest([0; 32]),
        issued_total,
        redeemed_total,
    };
    let day = |day, brands| DaySummary { bank: bank(), day: Day(day), brands };
    let begun = || {
        let mut watch = DayWatch::default();
        watch.brand(&terms);
        assert_eq!(watch.day(&day(3, vec![row(5, 2, 5, 2)])), []);
        watch
    };
    assert_eq!(begun().day(&day(4, vec![row(1, 4, 6, 6)])), []);
    let more = DayFault::MoreRedeemed { brand: id, day: Day(4), issued: 6, redeemed: 7 };
    assert_eq!(begun().day(&day(4, vec![row(1, 5, 6, 7)])), [more]);
    assert_eq!(begun().day(&day(4, vec![row(1, 1, 7, 3)])), [DayFault::Totals { brand: id, day: Day(4) }]);
    assert_eq!(begun().day(&day(4, vec![])), [DayFault::Row { brand: id, day: Day(4) }]);
    assert_eq!(
        begun().day(&day(4, vec![row(0, 0, 5, 2), row(0, 0, 5, 2)])),
        [DayFault::Row { brand: id, day: Day(4) }]
    );
    for found in [3, 5] {
        let out = DayFault::OutOfOrder { last: Day(3), found: Day(found) };
        assert_eq!(begun().day(&day(found, vec![row(0, 0, 5, 2)])), [out]);
    }
    // After its redeem-until a brand needs no row.
    assert_eq!(DayWatch::default().day(&day(31, vec![])), []);
    // Lateness is a matter of the clock.
    let grace = Duration::seconds(3_600);
    let at = |day: u64, hours: u64| Timestamp(day * DAY + hours * 3_600_000);
    assert_eq!(begun().late(at(5, 0), grace), None);
    assert_eq!(begun().late(at(5, 1), grace), Some(DayFault::Late { last: Some(Day(3)), due: Day(4) }));
}

/// Counted is what was delivered, when it was.
#[test]
fn a_record_counts_when_it_is_delivered() {
    let world = world();
    let outputs = vec![naulon_exchange::Output::Blinded { brand: world.brand_id(0), message: world.tokens[1].blinded }];
    let exchange = exchange(vec![world.token_input(0)], outputs, None);
    let record = |state, settled| Record {
        exchange: sign(exchange.clone()),
        state,
        accepted: Timestamp(5),
        decision: None,
        settled,
    };
    let token = &world.tokens[0].token;
    let items = vec![
        (Side::Redeemed, world.brand_id(0), redeemed_item(token)),
        (Side::Issued, world.brand_id(0), issued_item(&world.brand_id(0), &world.tokens[1].blinded)),
    ];
    assert_eq!(day_items(&record(State::Done, None)), Some((Timestamp(5), items.clone())));
    assert_eq!(day_items(&record(State::Committed, Some(Timestamp(9)))), Some((Timestamp(9), items)));
    for state in [State::Locked, State::Aborted] {
        assert_eq!(day_items(&record(state, Some(Timestamp(9)))), None);
    }
}

#[test]
fn a_judge_convicts_a_bank_by_its_own_words_only() {
    use std::collections::BTreeMap;
    let banks = BTreeMap::from([(bank(), identity())]);
    let found = |evidence: RegisterEvidence| evidence.judge(&banks);
    let breach = |evidence| found(evidence).breaches.into_iter().map(|(_, breach)| breach).collect::<Vec<_>>();

    // A promise and what came of it.
    let mut all = items(3);
    all.sort();
    let (summary, place) = summary(Day(7), &[all[0], all[2]]);
    let signed = |item| Some(Signed::sign(&key(1), promise(item)).bytes().to_vec());
    let gap = Receipt::Missing { summary: summary.clone(), below: Some(place(&all[0])), above: Some(place(&all[2])) };
    let shown = Receipt::Shown { summary, proof: place(&all[0]).proof };
    let bytes = |receipt: &Receipt| Some(naulon_statement::cbor::to_vec(receipt));
    let missing = RegisterEvidence { promise: signed(all[1]), receipt: bytes(&gap), ..RegisterEvidence::default() };
    assert_eq!(breach(missing.clone()), [RegisterBreach::ItemMissing]);
    let kept = RegisterEvidence { promise: signed(all[0]), receipt: bytes(&shown), ..RegisterEvidence::default() };
    assert_eq!((found(kept.clone()).kept, found(kept.clone()).breaches), (Some(bank()), vec![]));
    for nothing in [
        RegisterEvidence { receipt: None, ..missing.clone() },
        RegisterEvidence { receipt: bytes(&gap), ..kept },
        RegisterEvidence { promise: signed(all[1]), receipt: bytes(&shown), ..RegisterEvidence::default() },
        RegisterEvidence { promise: Some(vec![1, 2]), ..missing.clone() },
    ] {
        let judged = found(nothing);
        assert_eq!((judged.breaches.len(), judged.kept, judged.dismissed.len()), (0, None, 1));
    }
    assert_eq!(missing.judge(&BTreeMap::new()).breaches, [], "a bank that the judge does not know");

    // Two brands for one place.
    let stated = |brand: Brand| Signed::sign(&key(1), brand).bytes().to_vec();
    let brands = |a, b| RegisterEvidence { brands: vec![a, b], ..RegisterEvidence::default() };
    assert_eq!(breach(brands(stated(brand(0, 1, 0)), stated(brand(1, 1, 5)))), [RegisterBreach::RivalBrands]);
    assert_eq!(breach(brands(stated(brand(0, 1, 0)), stated(brand(1, 1, 10)))), []);
    assert_eq!(breach(brands(stated(brand(0, 1, 0)), stated(brand(0, 1, 0)))), []);
    let forged = Signed::sign(&key(9), brand(1, 1, 5)).bytes().to_vec();
    assert_eq!(breach(brands(stated(brand(0, 1, 0)), forged)), []);

    // Two registers.
    let one = Register::of([brand(0, 1, 0)]);
    let mut other = Register::of([brand(1, 1, 0)]);
    let both = |a: &Register, b: &Register, entries: &Register| RegisterEvidence {
        checkpoints: vec![a.copy(&[]).checkpoint, b.copy(&[]).checkpoint],
        entries: entries.entries.clone(),
        ..RegisterEvidence::default()
    };
    assert_eq!(breach(both(&one, &other, &Register::default())), [RegisterBreach::TwoRegisters]);
    other.state(brand(2, 5, 0));
    assert_eq!(breach(both(&one, &other, &other)), [RegisterBreach::TwoRegisters]);
    assert_eq!(breach(both(&one, &other, &one)), [], "others' entries prove nothing");
    let mut longer = one.clone();
    longer.state(brand(2, 5, 0));
    assert_eq!(breach(both(&one, &longer, &longer)), []);
    assert_eq!(breach(both(&longer, &one, &longer)), []);
}
