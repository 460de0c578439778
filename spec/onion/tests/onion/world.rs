//! A sender and three mixes.

use naulon_onion::{
    HopKeys, HopPublic, HopSession, Kind, Next, OpenError, PathHop, Pay, Plan, Protocol, Session, Shape, Traffic,
};
use naulon_statement::{PublicKey, SecretKey};
use naulon_tick::{Front, Tick};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

pub const EPOCH: u32 = 7;

pub fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

pub fn mix(number: u8) -> PublicKey {
    SecretKey::from_seed(&[number; 32]).public()
}

pub fn fares() -> [Vec<u8>; 3] {
    [1, 2, 3].map(|hop: u8| vec![hop; 500 + usize::from(hop)])
}

pub fn pays(number: u32) -> [Pay; 3] {
    [1, 2, 3].map(|hop: u8| Pay::tick(Front { index: number + 1, tick: Tick([hop; 16]) }))
}

pub struct Path {
    pub shape: Shape,
    pub keys: [HopKeys; 3],
    pub hops: Vec<HopSession>,
    pub sender: Session,
    pub rng: ChaCha20Rng,
    pub set_up: Vec<u8>,
}

pub fn keys() -> ([HopKeys; 3], [PathHop; 3]) {
    let mut keys = [HopKeys::new(), HopKeys::new(), HopKeys::new()];
    let mut publics: Vec<HopPublic> = Vec::new();
    for (keys, number) in keys.iter_mut().zip(1..) {
        publics.push(keys.begin(EPOCH, &[number; 32]));
    }
    (keys, [0, 1, 2].map(|at: usize| PathHop { mix: mix(at as u8 + 1), key: publics[at] }))
}

pub fn plan(path: [PathHop; 3]) -> Plan {
    Plan { path, protocol: Protocol::BEFORE_SENDER, traffic: Traffic::Stream, fares: fares() }
}

impl Path {
    /// A session through three mixes, set up.
    pub fn open(shape: Shape) -> Path {
        let (mut keys, path) = keys();
        let mut rng = rng(1);
        let mut block = vec![0; shape.block()];
        let sender = Session::begin(shape, &plan(path), &mut block, &mut rng).unwrap();
        let set_up = block.clone();
        let mut hops = Vec::new();
        for (at, keys) in keys.iter_mut().enumerate() {
            let begun = keys.open_set_up(shape, 64, &mut block, &mut rng).unwrap();
            let next = path.get(at + 1).map_or(Next::Exit, |hop| Next::Mix(hop.mix));
            assert_eq!(begun.route.next, next);
            assert_eq!(begun.route.fare, fares()[at]);
            assert_eq!(begun.route.epoch, EPOCH);
            assert_eq!((begun.session.position(), begun.session.is_exit()), (at as u8 + 1, at == 2));
            hops.push(begun.session);
        }
        Path { shape, keys, hops, sender, rng, set_up }
    }

    /// A data block as it comes to the first mix.
    pub fn data(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut block = vec![0x77; self.shape.block()];
        let pays = pays(self.sender.next_number());
        self.sender.data(&pays, payload, &mut block).unwrap();
        block
    }

    /// Through the mixes from this one on; gives the payload.
    pub fn carry(&mut self, from: usize, block: &mut [u8]) -> Result<Vec<u8>, OpenError> {
        for hop in &mut self.hops[from..] {
            hop.open(block, &mut self.rng)?;
        }
        Ok(block[self.shape.payload_range(Kind::Data)].to_vec())
    }
}
