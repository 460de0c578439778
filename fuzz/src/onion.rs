//! Blocks of strangers: a hop with a session, a sender and a recipient take anything and end with an error, or with a block of the
//! same length.

use std::sync::{Mutex, OnceLock, PoisonError};

use naulon_onion::{
    HOPS, HopKeys, HopSession, LetterReader, LetterWriter, PathHop, Pay, Plan, Protocol, Session, Shape, Traffic,
    packet,
};
use naulon_statement::{BoxSecretKey, Digest};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::samples;

struct World {
    keys: [HopKeys; HOPS],
    hops: Vec<HopSession>,
    sender: Session,
    seeds: Vec<(&'static str, Vec<u8>)>,
}

fn world() -> World {
    let (shape, mut rng) = (Shape::STANDARD, ChaCha20Rng::from_seed([5; 32]));
    let mut keys = [HopKeys::new(), HopKeys::new(), HopKeys::new()];
    let mut number = 0;
    let path = keys.each_mut().map(|keys| {
        number += 1;
        PathHop { mix: samples::key(number).public(), key: keys.begin(1, &[number; 32]) }
    });
    let fares = [vec![1; 400], vec![2; 400], vec![3; 400]];
    let plan = Plan { path, protocol: Protocol::BEFORE_SENDER, traffic: Traffic::Stream, fares: fares.clone() };
    let mut block = vec![0; shape.block()];
    let mut sender = Session::begin(shape, &plan, &mut block, &mut rng).expect("begins");
    let mut seeds = vec![("set-up", block.clone())];
    let hops = keys.iter_mut().map(|keys| keys.open_set_up(shape, 64, &mut block, &mut rng).expect("opens").session);
    let hops: Vec<HopSession> = hops.collect();
    let mut add = |name, block: &Vec<u8>| seeds.push((name, block.clone()));
    sender.data(&[Pay::default(); HOPS], b"data", &mut block).expect("fits");
    add("data", &block);
    sender.fare(&[Pay::default(); HOPS], &fares, &mut block).expect("fits");
    add("fare", &block);
    let checks = [Digest([1; 32]), Digest([2; 32]), Digest([3; 32])];
    packet(shape, &path, &checks, &[Pay::default(); HOPS], b"data", &mut block, &mut rng).expect("fits");
    add("packet", &block);
    let mut writer = LetterWriter::new(&recipient().public(), &[6; 64]).expect("a key");
    add("letter", &writer.seal(None, b"text").expect("seals"));
    World { keys, hops, sender, seeds }
}

fn recipient() -> BoxSecretKey {
    BoxSecretKey::from_seed(&[9; 32])
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    world().seeds
}

/// A block, to every hop in every way, to the sender, and as a letter to the recipient.
pub fn block(bytes: &[u8]) {
    // What opens once does not open again: the world is made once, and seeds are opened once.
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    let world = WORLD.get_or_init(|| Mutex::new(world()));
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    let (shape, mut rng) = (Shape::STANDARD, ChaCha20Rng::from_seed([7; 32]));
    let World { keys, hops, sender, .. } = &mut *world;
    for (keys, hop) in keys.iter_mut().zip(hops) {
        let mut copy = bytes.to_vec();
        let mut take = |open: &mut dyn FnMut(&mut [u8], &mut ChaCha20Rng) -> bool| {
            copy.clear();
            copy.extend_from_slice(bytes);
            if open(&mut copy, &mut rng) {
                assert_eq!(copy.len(), shape.block());
            }
        };
        take(&mut |block, rng| keys.open_set_up(shape, 64, block, rng).is_ok());
        take(&mut |block, rng| keys.open_packet(shape, block, rng).is_ok());
        take(&mut |block, rng| hop.open(block, rng).is_ok());
        take(&mut |block, rng| hop.open_fare(block, rng).is_ok());
        take(&mut |block, rng| hop.pass_back(block, rng).is_ok());
        take(&mut |block, rng| hop.open_return(block, rng).is_ok());
    }
    let _ = sender.open_reply(&mut bytes.to_vec());
    if let Ok(mut reader) = LetterReader::begin(&recipient(), bytes) {
        let _ = reader.open(bytes);
        assert!(reader.open(bytes).is_err(), "a letter is opened once");
    }
}
