//! Every byte of a block, changed on one link, is caught at the next mix or does not exist behind it.

use naulon_onion::{HOPS, Kind, OpenError, Shape, packet};
use naulon_statement::Digest;

use crate::world::{Path, keys, pays, rng};

/// Changes each byte of the block that comes to the hop in turn. `open` is that hop, given the changed block: it refuses, or the
/// block that it makes is the very one that it makes of the unchanged.
fn every_byte(block: &[u8], edge: usize, mut open: impl FnMut(&mut [u8]) -> Result<(), OpenError>) {
    let mut plain = block.to_vec();
    open(&mut plain).unwrap();
    for at in 0..block.len() {
        let mut tagged = block.to_vec();
        tagged[at] ^= 1 << (at % 8);
        match open(&mut tagged) {
            Err(_) => assert!(at < edge, "byte {at} is nobody's and still was refused"),
            Ok(()) => {
                assert!(at >= edge, "byte {at} was changed and passed");
                assert!(tagged == plain, "a change of byte {at} got through");
            }
        }
    }
}

#[test]
fn of_a_set_up_block() {
    for position in 1..=HOPS {
        let shape = Shape::STANDARD;
        let mut path = Path::open(shape);
        let mut block = path.set_up.clone();
        let (mut keys, _) = keys();
        for keys in &mut keys[..position - 1] {
            keys.open_set_up(shape, 64, &mut block, &mut path.rng).unwrap();
        }
        let edge = shape.edge(Kind::SetUp, position as u8);
        every_byte(&block, edge, |block| {
            // A hop that remembers nothing, so that only the change can be its reason; its randomness is the same each time.
            let (mut fresh, _) = crate::world::keys();
            fresh[position - 1].open_set_up(shape, 64, block, &mut rng(8)).map(|_| ())
        });
    }
}

#[test]
fn of_data_and_fare_blocks() {
    for (kind, position) in [Kind::Data, Kind::Fare].into_iter().flat_map(|kind| (1..=HOPS).map(move |at| (kind, at))) {
        let shape = Shape::STANDARD;
        let mut path = Path::open(shape);
        let mut block = vec![0; shape.block()];
        match kind {
            Kind::Data => path.sender.data(&pays(0), b"payload", &mut block).unwrap(),
            _ => path.sender.fare(&pays(0), &crate::world::fares(), &mut block).unwrap(),
        };
        for hop in &mut path.hops[..position - 1] {
            match kind {
                Kind::Data => hop.open(&mut block, &mut path.rng).map(|_| ()).unwrap(),
                _ => hop.open_fare(&mut block, &mut path.rng).map(|_| ()).unwrap(),
            }
        }
        // The hop's state before the block, again and again: the same path is opened anew, and gives the same keys.
        let edge = shape.edge(kind, position as u8);
        let mut fresh = Path::open(shape);
        every_byte(&block, edge, |block| {
            let hop = &mut fresh.hops[position - 1];
            let opened = match kind {
                Kind::Data => hop.open(block, &mut rng(8)).map(|_| ()),
                _ => hop.open_fare(block, &mut rng(8)).map(|_| ()),
            };
            if opened.is_ok() {
                fresh = Path::open(shape);
            }
            opened
        });
    }
}

#[test]
fn of_a_packet() {
    for position in 1..=HOPS {
        let shape = Shape::STANDARD;
        let (mut keys, path) = keys();
        let mut block = vec![0; shape.block()];
        let checks = [Digest([1; 32]), Digest([2; 32]), Digest([3; 32])];
        packet(shape, &path, &checks, &pays(0), b"payload", &mut block, &mut rng(7)).unwrap();
        for keys in &mut keys[..position - 1] {
            keys.open_packet(shape, &mut block, &mut rng(9)).unwrap();
        }
        every_byte(&block, shape.edge(Kind::Packet, position as u8), |block| {
            let (mut fresh, _) = crate::world::keys();
            fresh[position - 1].open_packet(shape, block, &mut rng(8)).map(|_| ())
        });
    }
}

#[test]
fn of_a_return() {
    for position in (1..HOPS).rev() {
        let shape = Shape::STANDARD;
        let prepare = || {
            let mut path = Path::open(shape);
            let mut block = vec![0; shape.block()];
            let onion = path.sender.reverse_onion(4, &pays(4));
            path.hops[2].let_go(4, &onion, &mut block, &mut path.rng).unwrap();
            for at in (position..2).rev() {
                path.hops[at].open_return(&mut block, &mut path.rng).unwrap();
            }
            (path, block)
        };
        let (mut path, block) = prepare();
        let edge = naulon_onion::HEADER_LEN + position * 37;
        every_byte(&block, edge, |block| {
            let opened = path.hops[position - 1].open_return(block, &mut rng(8)).map(|_| ());
            if opened.is_ok() {
                path = prepare().0;
            }
            opened
        });
    }
}
