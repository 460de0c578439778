//! The vectors, which another implementation made.

use naulon_onion::{HopKeys, Kind, Next, Pay, Protocol, Shape, Traffic, Trigger, When};
use naulon_statement::{Digest, PublicKey};
use naulon_tick::{Front, Tick};
use serde_json::Value;

use crate::world::rng;

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

#[test]
fn blocks_of_another_implementation_open() {
    let path = format!("{}/../../vectors/onion/onion.json", env!("CARGO_MANIFEST_DIR"));
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (shape, mut rng) = (Shape::STANDARD, rng(1));
    let block = |name: &str| bytes(&vectors["blocks"][name]);
    let (mut set_up, mut data, mut fare, mut packet) = (block("set_up"), block("data"), block("fare"), block("packet"));
    let tick = |at: usize, index| Some(Front { index, tick: Tick(array(&vectors["ticks"][at])) });
    let next = |at: usize| vectors["mixes"].get(at + 1).map_or(Next::Exit, |key| Next::Mix(PublicKey(array(key))));
    let mut hops = Vec::new();
    for (at, index) in [(0, 5), (1, 6), (2, 7)] {
        let mut keys = HopKeys::new();
        let public = keys.begin(258, &array(&vectors["hop_seeds"][at]));
        assert_eq!(public.key, array(&vectors["hop_keys"][at]));
        let begun = keys.open_set_up(shape, 64, &mut set_up, &mut rng).unwrap();
        assert_eq!((begun.route.next, begun.route.next_session.0), (next(at), array(&vectors["sessions"][at + 1])));
        assert_eq!(begun.route.protocol, Protocol { when: When::Before, trigger: Trigger::Recipient });
        assert_eq!((begun.route.traffic, begun.route.epoch), (Traffic::Cohort, 258));
        assert_eq!(begun.route.fare, bytes(&vectors["fares"][at]));
        let mut session = begun.session;
        let pay = session.open(&mut data, &mut rng).unwrap();
        let expected = Pay { slot: at as u8, is_last: true, tick: tick(at, index), ..Pay::default() };
        assert_eq!(pay, expected);
        let (pay, content) = session.open_fare(&mut fare, &mut rng).unwrap();
        assert_eq!((pay.tick, content), (tick(at, index + 4), bytes(&vectors["fares"][at])));
        let passed = keys.open_packet(shape, &mut packet, &mut rng).unwrap().part;
        assert_eq!((passed.next, passed.check), (next(at), Digest(array(&vectors["checks"][at]))));
        assert_eq!(passed.pay.tick, tick(at, index));
        hops.push(session);
    }
    assert_eq!(data[shape.payload_range(Kind::Data)], bytes(&vectors["payload"]));
    assert_eq!(packet[shape.payload_range(Kind::Packet)], bytes(&vectors["packet_payload"]));

    let onion = array(&vectors["reverse_onion"]["bytes"]);
    let mut back = vec![0; shape.block()];
    assert_eq!(hops[2].let_go(77, &onion, &mut back, &mut rng).unwrap().tick, tick(2, 7));
    assert_eq!(hops[1].open_return(&mut back, &mut rng).unwrap().tick, tick(1, 6));
    assert_eq!(hops[0].open_return(&mut back, &mut rng).unwrap().tick, tick(0, 5));

    hops[2].reply(&bytes(&vectors["reply"]["payload"]), &mut back, &mut rng).unwrap();
    hops[1].pass_back(&mut back, &mut rng).unwrap();
    hops[0].pass_back(&mut back, &mut rng).unwrap();
    assert_eq!(back[21..], bytes(&vectors["reply"]["sealed"]));
}
