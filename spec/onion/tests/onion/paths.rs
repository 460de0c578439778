//! What arrives, and what does not pass twice.

use naulon_onion::{
    BuildError, Header, HopKeys, Kind, Next, OpenError, Pay, Protocol, Session, Shape, Traffic, packet,
};
use naulon_statement::Digest;
use proptest::prelude::*;

use crate::world::{EPOCH, Path, fares, keys, mix, pays, plan, rng};

#[test]
fn data_goes_through_and_each_mix_reads_only_its_tick() {
    for shape in [Shape::STANDARD, Shape::COMPARED] {
        let mut path = Path::open(shape);
        for number in 0..5 {
            let payload = vec![number; shape.payload(Kind::Data)];
            let mut block = path.data(&payload);
            let mut ids = Vec::new();
            for (hop, pay) in path.hops.iter_mut().zip(pays(u32::from(number))) {
                ids.push(Header::read(shape, &block).unwrap().session);
                assert_eq!(hop.open(&mut block, &mut path.rng), Ok(pay));
            }
            assert_eq!(block[shape.payload_range(Kind::Data)], payload);
            assert!(ids[0] != ids[1] && ids[1] != ids[2], "a session has another name on every link");
        }
    }
}

#[test]
fn the_same_session_goes_by_each_protocol_and_traffic() {
    for (protocol, traffic) in Protocol::ALL.into_iter().flat_map(|p| Traffic::ALL.map(|t| (p, t))) {
        let (mut keys, path) = keys();
        let (shape, mut rng) = (Shape::STANDARD, rng(2));
        let mut block = vec![0; shape.block()];
        let plan = naulon_onion::Plan { protocol, traffic, ..plan(path) };
        Session::begin(shape, &plan, &mut block, &mut rng).unwrap();
        for keys in &mut keys {
            let begun = keys.open_set_up(shape, 64, &mut block, &mut rng).unwrap();
            assert_eq!((begun.route.protocol, begun.route.traffic), (protocol, traffic));
        }
    }
}

#[test]
fn a_fare_block_brings_each_mix_a_check() {
    let mut path = Path::open(Shape::STANDARD);
    let mut block = vec![0; path.shape.block()];
    let full = [0, 1, 2].map(|hop: u8| vec![hop; path.shape.fare_room()]);
    for fares in [fares(), full, [vec![], vec![9], vec![]]] {
        let pays = pays(9).map(|pay| Pay { slot: 15, ..pay });
        path.sender.fare(&pays, &fares, &mut block).unwrap();
        for ((hop, fare), pay) in path.hops.iter_mut().zip(fares).zip(pays) {
            assert_eq!(hop.open_fare(&mut block, &mut path.rng), Ok((pay, fare)));
        }
    }
    let too_long = [vec![0; path.shape.fare_room() + 1], vec![], vec![]];
    assert_eq!(path.sender.fare(&pays(1), &too_long, &mut block), Err(BuildError::Room));
}

#[test]
fn replies_come_back_and_an_altered_one_is_pinned_on_a_mix() {
    let mut path = Path::open(Shape::STANDARD);
    let mut block = vec![0; path.shape.block()];
    for number in 0..3 {
        path.hops[2].reply(b"answer", &mut block, &mut path.rng).unwrap();
        path.hops[1].pass_back(&mut block, &mut path.rng).unwrap();
        path.hops[0].pass_back(&mut block, &mut path.rng).unwrap();
        let again = block.clone();
        assert_eq!(path.sender.open_reply(&mut block), Ok(number));
        assert_eq!(&block[path.shape.payload_range(Kind::Reply)][..7], b"answer\0");
        let replayed = path.sender.open_reply(&mut again.clone()).unwrap_err();
        assert_eq!((replayed.position, replayed.error), (0, OpenError::Replayed));
    }
    // Whoever sends on what its follower did not seal is named: the hop before, towards the sender.
    for altered_by in 0..=2_u8 {
        let mut path = Path::open(Shape::STANDARD);
        path.hops[2].reply(b"answer", &mut block, &mut path.rng).unwrap();
        for at in (0..2).rev() {
            if at + 1 == usize::from(altered_by) {
                block[100] ^= 1;
            }
            path.hops[at].pass_back(&mut block, &mut path.rng).unwrap();
        }
        if altered_by == 0 {
            block[100] ^= 1;
        }
        let error = path.sender.open_reply(&mut block).unwrap_err();
        assert_eq!((error.position, error.error), (altered_by, OpenError::Closed));
    }
}

#[test]
fn a_recipient_lets_the_ticks_of_a_block_go() {
    let mut path = Path::open(Shape::STANDARD);
    let mut block = vec![0; path.shape.block()];
    for number in [0, 1, 5] {
        let onion = path.sender.reverse_onion(number, &pays(number));
        let expected = pays(number);
        assert_eq!(path.hops[2].let_go(number, &onion, &mut block, &mut path.rng), Ok(expected[2]));
        assert_eq!(path.hops[1].open_return(&mut block, &mut path.rng), Ok(expected[1]));
        assert_eq!(path.hops[0].open_return(&mut block, &mut path.rng), Ok(expected[0]));
        // Neither for another block nor again.
        let again = path.hops[2].let_go(number, &onion, &mut block, &mut path.rng);
        assert_eq!(again, Err(OpenError::Replayed));
        let other = path.hops[2].let_go(number + 2, &onion, &mut block, &mut path.rng);
        assert_eq!(other, Err(OpenError::Closed));
    }
}

#[test]
fn packets_need_no_session() {
    let (mut keys, path) = keys();
    let (shape, mut rng) = (Shape::STANDARD, rng(3));
    let checks = [1, 2, 3].map(|hop: u8| Digest([hop; 32]));
    let payload = vec![0x42; shape.payload(Kind::Packet)];
    let mut block = vec![0; shape.block()];
    packet(shape, &path, &checks, &pays(3), &payload, &mut block, &mut rng).unwrap();
    let first = block.clone();
    for (at, keys) in keys.iter_mut().enumerate() {
        let passed = keys.open_packet(shape, &mut block, &mut rng).unwrap();
        assert_eq!(passed.part.next, path.get(at + 1).map_or(Next::Exit, |hop| Next::Mix(hop.mix)));
        assert_eq!((passed.part.check, passed.part.pay), (checks[at], pays(3)[at]));
    }
    assert_eq!(block[shape.payload_range(Kind::Packet)], payload);
    assert_eq!(keys[0].open_packet(shape, &mut first.clone(), &mut rng).unwrap_err(), OpenError::Replayed);
}

#[test]
fn a_set_up_is_opened_once_as_long_as_its_key_lives() {
    let mut path = Path::open(Shape::STANDARD);
    let shape = path.shape;
    let set_up = path.set_up.clone();
    let again =
        |keys: &mut HopKeys| keys.open_set_up(shape, 64, &mut set_up.clone(), &mut rng(6)).map(|_| ()).unwrap_err();
    let keys = &mut path.keys[0];
    assert_eq!(again(keys), OpenError::Replayed);
    keys.begin(EPOCH + 1, &[99; 32]);
    assert_eq!(again(keys), OpenError::Replayed, "blocks on their way over the end of an epoch");
    keys.begin(EPOCH + 2, &[98; 32]);
    assert_eq!(again(keys), OpenError::Closed, "the key is gone, and the memory with it");
    assert_eq!(keys.remembered(), 0);
    // A hop that kept its key over a restart keeps its memory, too.
    let mut restarted = HopKeys::new();
    restarted.begin(EPOCH, &[1; 32]);
    let mark = restarted.open_set_up(shape, 64, &mut set_up.clone(), &mut rng(6)).unwrap().mark;
    let mut restarted = HopKeys::new();
    restarted.begin(EPOCH, &[1; 32]);
    restarted.remember(EPOCH, mark);
    assert_eq!(again(&mut restarted), OpenError::Replayed);
}

#[test]
fn the_key_of_the_last_epoch_opens_what_is_on_its_way() {
    let (mut keys, path) = keys();
    keys[0].begin(EPOCH + 1, &[50; 32]);
    let (shape, mut rng) = (Shape::STANDARD, rng(4));
    let mut block = vec![0; shape.block()];
    Session::begin(shape, &plan(path), &mut block, &mut rng).unwrap();
    assert_eq!(keys[0].open_set_up(shape, 64, &mut block, &mut rng).unwrap().route.epoch, EPOCH);
}

#[test]
fn a_hop_key_of_small_order_is_refused() {
    let (_, mut path) = keys();
    path[1].key.key = [0; 32];
    let (shape, mut rng) = (Shape::STANDARD, rng(5));
    let mut block = vec![0; shape.block()];
    let begun = Session::begin(shape, &plan(path), &mut block, &mut rng).map(|_| ());
    assert_eq!(begun, Err(BuildError::HopKey(2)));
    assert_eq!(path[0].mix, mix(1));
}

#[test]
fn a_gap_above_the_window_closes_the_session() {
    let mut path = Path::open(Shape::STANDARD);
    let mut blocks: Vec<_> = (0..67).map(|_| path.data(b"x")).collect();
    let last = blocks.pop().unwrap();
    let error = path.hops[0].open(&mut last.clone(), &mut path.rng).unwrap_err();
    assert_eq!((error, error.ends_session()), (OpenError::Gap, true));
    assert!(path.hops[0].open(&mut blocks[64], &mut path.rng).is_ok(), "64 may be missing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Blocks in any order, some twice, some never: each that comes is delivered once.
    #[test]
    fn each_block_is_delivered_once(order in prop::collection::vec(0..40_usize, 1..120)) {
        let mut path = Path::open(Shape::COMPARED);
        let blocks: Vec<_> = (0..40).map(|number| path.data(&[number])).collect();
        let mut delivered = [false; 40];
        for number in order {
            let opened = path.carry(0, &mut blocks[number].clone());
            if delivered[number] {
                prop_assert_eq!(opened, Err(OpenError::Replayed));
            } else {
                prop_assert_eq!(opened.map(|payload| payload[0]), Ok(number as u8));
                delivered[number] = true;
            }
        }
    }

    /// Bytes of strangers.
    #[test]
    fn nothing_else_opens(bytes in prop::collection::vec(any::<u8>(), 4_096), kind in 0..8_u8, position in 0..5_u32) {
        let mut path = Path::open(Shape::STANDARD);
        let mut block = bytes;
        block[0] = kind;
        for mut block in [block.clone(), { block[17..21].copy_from_slice(&position.to_be_bytes()); block }] {
            let mut copy = block.clone();
            prop_assert!(path.keys[0].open_set_up(path.shape, 64, &mut copy, &mut path.rng).is_err());
            let mut copy = block.clone();
            prop_assert!(path.keys[0].open_packet(path.shape, &mut copy, &mut path.rng).is_err());
            prop_assert!(path.hops[1].open(&mut block.clone(), &mut path.rng).is_err());
            prop_assert!(path.hops[1].pass_back(&mut block.clone(), &mut path.rng).is_err());
            prop_assert!(path.hops[1].open_return(&mut block.clone(), &mut path.rng).is_err());
            prop_assert!(path.sender.open_reply(&mut block).is_err());
        }
    }
}
