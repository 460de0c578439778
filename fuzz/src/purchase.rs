//! Lists of operations on the whole world: the bytes decide who wants what, what goes wrong and who cheats, and the
//! simulator plays it and checks every claim.

use naulon_durable::fault::When;
use naulon_money::Amount;
use naulon_sim::{Cheat, Fault, Place, Run, Want};

use crate::bytes_source::BytesSource;

/// More than that takes long and finds nothing else.
const MAX_FAULTS: usize = 12;

/// The run that these bytes decide.
pub fn operations(bytes: &[u8]) {
    let run = run(&mut BytesSource::new(bytes));
    let report = run.play(false);
    assert!(report.violations.is_empty(), "{run:?}\n{:#?}", report.violations);
}

fn run(source: &mut BytesSource<'_>) -> Run {
    let shops = 1 + source.below(2);
    let people = 1 + source.below(2);
    let two_sided = source.flag();
    let cheats = [None, None, Some(Cheat::CopiedWallet), Some(Cheat::WrongKey), Some(Cheat::OtherGoods)];
    let more = [Some(Cheat::SilentShop), Some(Cheat::LowPromise), Some(Cheat::DeafBank)];
    let cheat = source.of(&[&cheats[..], &more[..]].concat());
    let wants = (0..people).map(|_| wants(source, shops)).collect();
    let mut faults = Vec::new();
    while !source.is_empty() && faults.len() < MAX_FAULTS {
        faults.push(fault(source, shops, people));
    }
    Run { shops, two_sided, faults, cheat, ..Run::plain(source.number(), wants) }
}

fn wants(source: &mut BytesSource<'_>, shops: usize) -> Vec<Want> {
    let euros = |cents: u64| Amount::from_micros(cents * 10_000);
    let mut wants = vec![Want::OpenAccount(0, euros(3_000)), Want::Withdraw(0, euros(1_000))];
    for _ in 0..1 + source.below(3) {
        let shop = source.below(shops);
        wants.push(match source.below(6) {
            0 => Want::Refresh(0),
            1 => Want::Deposit(0, euros(10 * (1 + source.below(20) as u64))),
            2 => Want::Withdraw(0, euros(100)),
            _ => Want::Buy(shop, source.of(&["poem", "map", "nothing"]), source.flag()),
        });
    }
    wants
}

fn fault(source: &mut BytesSource<'_>, shops: usize, people: usize) -> Fault {
    let message = u64::from(source.byte());
    let late = source.of(&[20, 400, 3_000, 20_000, 130_000]);
    match source.below(6) {
        0 => Fault::Drop(message),
        1 => Fault::Double(message, late),
        2 => Fault::Delay(message, late),
        3 => Fault::Corrupt(message, source.number()),
        _ => {
            let place = match source.below(4) {
                0 => Place::Bank(0),
                1 => Place::Log(0),
                2 => Place::Shop(source.below(shops)),
                _ => Place::Wallet(source.below(people)),
            };
            Fault::Crash(place, 1 + source.below(8) as u64, source.of(&[When::Before, When::After]))
        }
    }
}
