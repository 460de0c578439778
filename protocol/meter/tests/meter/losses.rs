//! Generated lists of operations: whoever stops or cheats, and in whatever order blocks come, nobody is out by more than W.

use naulon_onion::{Protocol, Trigger, When};
use proptest::prelude::*;

use crate::world::{MIXES, Manners, World, terms};

#[derive(Clone, Copy, Debug)]
enum Step {
    Data,
    Ask,
    Settle,
    Fare,
    Deliver(usize, usize),
    Return(usize, usize),
    Lose(usize),
    LoseReturn(usize),
    Confirm,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Data),
        3 => Just(Step::Ask),
        2 => Just(Step::Settle),
        1 => Just(Step::Fare),
        20 => (0..=MIXES, 0..3_usize).prop_map(|(link, nth)| Step::Deliver(link, nth)),
        8 => (0..MIXES, 0..3_usize).prop_map(|(link, nth)| Step::Return(link, nth)),
        4 => Just(Step::Confirm),
    ]
}

fn losing_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => step(),
        1 => (0..=MIXES).prop_map(Step::Lose),
        1 => (0..MIXES).prop_map(Step::LoseReturn),
    ]
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Data => drop(world.data()),
        Step::Ask => drop(world.ask()),
        Step::Settle => world.settle(),
        Step::Fare => world.fare(),
        Step::Deliver(link, nth) => world.deliver(link, nth),
        Step::Return(link, nth) => world.give_back(link, nth),
        Step::Lose(link) => drop(world.links[link].pop_front()),
        Step::LoseReturn(link) => drop(world.returns[link].pop_front()),
        Step::Confirm => world.confirm(),
    }
    world.check();
}

fn protocol() -> impl Strategy<Value = Protocol> {
    (0..4_usize).prop_map(|at| Protocol::ALL[at])
}

fn manners() -> impl Strategy<Value = Manners> {
    let dropping = prop::option::of((0..MIXES, 0..20_u64));
    let paying = prop::option::of(0..MIXES);
    (dropping, prop::option::of(0..20_u32), any::<bool>(), paying).prop_map(
        |(dropping, stops_paying, keeps_ticks, paying)| Manners { dropping, stops_paying, keeps_ticks, paying },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn nobody_is_out_by_more_than_the_window(
        protocol in protocol(), window in 1..6_u32, ahead in 0..6_u32, length in 3..30_u32, manners in manners(),
        steps in prop::collection::vec(losing_step(), 1..250),
    ) {
        let mut world = World::new(terms(protocol, window), ahead, length, manners);
        steps.into_iter().for_each(|step| take(&mut world, step));
        world.settle_down();
        world.check();
    }

    /// Where all keep to the protocol and nothing is lost, nothing is refused, however blocks overtake each other; and in the end
    /// each mix has earned exactly what it forwarded.
    #[test]
    fn honest_parties_are_never_refused(
        protocol in protocol(), window in 1..6_u32, ahead in 0..6_u32, length in 3..30_u32,
        paying in prop::option::of(0..MIXES), steps in prop::collection::vec(step(), 1..250),
    ) {
        let manners = Manners { paying, ..Manners::default() };
        let mut world = World::new(terms(protocol, window), ahead, length, manners);
        let mut fares = 0;
        for step in steps {
            // A check in reserve comes before it is needed, and not after those behind it.
            if matches!(step, Step::Fare) {
                if fares < 2 {
                    world.fare();
                    world.settle_down();
                    fares += 1;
                }
                continue;
            }
            take(&mut world, step);
        }
        world.settle_down();
        // What is due may be due on two chains: one tick belongs to one.
        for _ in 0..2 {
            world.settle();
            world.settle_down();
        }
        for (number, mix) in world.mixes.iter().enumerate() {
            prop_assert_eq!(mix.refused, None, "mix {}", number);
            prop_assert_eq!(mix.held.len(), 0, "mix {}", number);
            if paying.is_none_or(|paying| paying == number) {
                prop_assert_eq!(world.ticks(number).1, mix.billed, "mix {}", number);
            }
        }
        prop_assert_eq!(world.delivered, world.mixes[0].billed);
    }
}

#[test]
fn a_session_of_each_protocol_and_case() {
    let cases = [None, Some(0), Some(1), Some(2)];
    for (protocol, paying) in Protocol::ALL.into_iter().flat_map(|p| cases.map(|c| (p, c))) {
        let mut world = World::new(terms(protocol, 4), 0, 1_000, Manners { paying, ..Manners::default() });
        for _ in 0..100 {
            if protocol == (Protocol { when: When::Before, trigger: Trigger::Recipient }) {
                world.ask().unwrap();
            }
            world.data().unwrap();
            world.settle_down();
            world.check();
        }
        world.settle();
        world.settle_down();
        assert_eq!(world.delivered, 100);
        for mix in 0..MIXES {
            let is_paid = paying.is_none_or(|paying| paying == mix);
            assert_eq!(world.mixes[mix].meter.used(), 100);
            assert_eq!(world.ticks(mix).1, if is_paid { 100 } else { 0 }, "{} {paying:?} {mix}", protocol.name());
        }
    }
}
