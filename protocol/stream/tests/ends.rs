//! Both ends driven by generated operations, over a network that keeps payloads back and swaps them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use naulon_stream::{End, Event, FIRST_WINDOW, Limits, MAX_EARLY, Reason, StreamError, Target};
use proptest::prelude::*;

const PAYLOAD: usize = 600;

#[derive(Clone, Debug)]
enum Op {
    Open,
    Answer(bool),
    Write { side: bool, stream: u8, len: u16 },
    Read { side: bool, stream: u8, len: u16 },
    Finish { side: bool, stream: u8 },
    Reset { side: bool, stream: u8 },
    Send { side: bool, count: u8 },
    Dummy { side: bool },
    Deliver { side: bool, pick: u8 },
    SayReceived { side: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let side = any::<bool>;
    let stream = || 0u8..6;
    prop_oneof![
        2 => Just(Op::Open),
        3 => any::<bool>().prop_map(Op::Answer),
        6 => (side(), stream(), 0u16..9_000).prop_map(|(side, stream, len)| Op::Write { side, stream, len }),
        6 => (side(), stream(), 1u16..9_000).prop_map(|(side, stream, len)| Op::Read { side, stream, len }),
        1 => (side(), stream()).prop_map(|(side, stream)| Op::Finish { side, stream }),
        1 => (side(), stream()).prop_map(|(side, stream)| Op::Reset { side, stream }),
        8 => (side(), 1u8..20).prop_map(|(side, count)| Op::Send { side, count }),
        1 => side().prop_map(|side| Op::Dummy { side }),
        9 => (side(), any::<u8>()).prop_map(|(side, pick)| Op::Deliver { side, pick }),
        1 => side().prop_map(|side| Op::SayReceived { side }),
    ]
}

/// What one direction of a stream has carried.
#[derive(Default)]
struct Direction {
    written: Vec<u8>,
    read: Vec<u8>,
    finished: bool,
}

struct World {
    ends: [End; 2],
    /// Payloads on their way *from* each side.
    network: [Vec<Vec<u8>>; 2],
    /// By stream and the side that writes.
    carried: BTreeMap<(u32, usize), Direction>,
    asked: Vec<u32>,
    opened: u32,
    broken: Vec<u32>,
    seed: u8,
}

impl World {
    fn new() -> Self {
        World {
            ends: [End::client(Limits::CLIENT), End::exit(Limits::EXIT)],
            network: [Vec::new(), Vec::new()],
            carried: BTreeMap::new(),
            asked: Vec::new(),
            opened: 0,
            broken: Vec::new(),
            seed: 0,
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Open => {
                let target = Target::parse("host.example", 80).unwrap();
                assert_eq!(self.ends[0].open(target).unwrap(), self.opened);
                self.opened += 1;
            }
            Op::Answer(yes) => {
                let Some(stream) = self.asked.pop() else { return };
                if yes {
                    self.ends[1].accept(stream);
                } else if self.ends[1].is_alive(stream) {
                    self.ends[1].refuse(stream, Reason::Refused);
                    self.broken.push(stream);
                }
            }
            Op::Write { side, stream, len } => self.write(side.into(), stream.into(), len.into()),
            Op::Read { side, stream, len } => self.read(side.into(), stream.into(), len.into()),
            Op::Finish { side, stream } => {
                if self.ends[usize::from(side)].is_alive(stream.into()) {
                    self.ends[usize::from(side)].finish(stream.into());
                    self.carried.entry((stream.into(), side.into())).or_default().finished = true;
                }
            }
            Op::Reset { side, stream } => {
                if self.ends[usize::from(side)].is_alive(stream.into()) {
                    self.ends[usize::from(side)].reset(stream.into(), Reason::Gone);
                    self.broken.push(stream.into());
                }
            }
            Op::Send { side, count } => {
                for _ in 0..count {
                    self.send(side.into());
                }
            }
            Op::Dummy { side } => {
                if self.network[usize::from(side)].len() < MAX_EARLY {
                    let mut payload = vec![1; PAYLOAD];
                    self.ends[usize::from(side)].fill_dummy(&mut payload).unwrap();
                    self.network[usize::from(side)].push(payload);
                }
            }
            Op::Deliver { side, pick } => {
                self.deliver(side.into(), pick.into());
            }
            Op::SayReceived { side } => self.ends[usize::from(side)].say_received(),
        }
    }

    fn write(&mut self, side: usize, stream: u32, len: usize) {
        self.seed = self.seed.wrapping_add(41);
        let bytes: Vec<u8> = (0..len).map(|at| self.seed.wrapping_mul(7).wrapping_add((at % 251) as u8)).collect();
        let taken = self.ends[side].write(stream, &bytes);
        self.carried.entry((stream, side)).or_default().written.extend(&bytes[..taken]);
    }

    fn read(&mut self, side: usize, stream: u32, len: usize) {
        let received = self.ends[side].received(stream);
        let bytes = received[..len.min(received.len())].to_vec();
        self.ends[side].consume(stream, bytes.len());
        let direction = self.carried.entry((stream, 1 - side)).or_default();
        direction.read.extend(bytes);
        assert!(direction.written.starts_with(&direction.read), "stream {stream} of side {}", 1 - side);
    }

    fn send(&mut self, side: usize) -> bool {
        let mut payload = vec![1; PAYLOAD];
        let room = self.network[side].len() < MAX_EARLY;
        let said = room && self.ends[side].fill(&mut payload).unwrap();
        if said {
            self.network[side].push(payload);
        }
        said
    }

    fn deliver(&mut self, from: usize, pick: usize) -> bool {
        if self.network[from].is_empty() {
            return false;
        }
        let at = pick % self.network[from].len();
        let payload = self.network[from].remove(at);
        self.ends[1 - from].take(&payload).unwrap();
        while let Some(event) = self.ends[1 - from].next_event() {
            match event {
                Event::Open { stream, .. } => self.asked.push(stream),
                Event::Refused { stream, .. } | Event::Reset { stream, .. } => self.broken.push(stream),
                Event::Received { payloads } => assert!(payloads <= self.ends[1 - from].payloads_sent()),
                Event::Opened { .. } | Event::Readable { .. } | Event::Writable { .. } => {}
            }
        }
        true
    }

    /// Everybody sends, delivers and reads until nothing moves.
    fn drain(&mut self) {
        loop {
            while let Some(stream) = self.asked.pop() {
                self.ends[1].accept(stream);
            }
            let mut moved = false;
            for side in [0, 1] {
                moved |= self.send(side);
                moved |= self.deliver(side, 0);
                for stream in 0..self.opened {
                    while !self.ends[side].received(stream).is_empty() {
                        self.read(side, stream, usize::MAX);
                        moved = true;
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_goes_in_comes_out(ops in proptest::collection::vec(op(), 1..300)) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
        }
        world.drain();
        for ((stream, side), direction) in &world.carried {
            if !world.broken.contains(stream) {
                prop_assert_eq!(&direction.written, &direction.read, "stream {} of side {}", stream, side);
                if direction.finished {
                    prop_assert!(world.ends[1 - side].is_ended(*stream));
                }
            }
        }
        for stream in 0..world.opened {
            let both = [0, 1].iter().all(|side| world.carried.get(&(stream, *side)).is_some_and(|one| one.finished));
            if both || world.broken.contains(&stream) {
                prop_assert!(world.ends.iter().all(|end| !end.is_alive(stream)), "stream {} is forgotten", stream);
            }
        }
    }

    #[test]
    fn rubbish_never_panics(payloads in proptest::collection::vec(proptest::collection::vec(0u8..10, 0..80), 1..20)) {
        for mut end in [End::client(Limits::CLIENT), End::exit(Limits::EXIT)] {
            for (number, rubbish) in payloads.iter().enumerate() {
                let mut payload = (number as u32).to_be_bytes().to_vec();
                payload.extend(rubbish);
                if end.take(&payload).is_err() {
                    break;
                }
            }
        }
    }
}

fn carry(from: &mut End, to: &mut End) -> Result<(), StreamError> {
    let mut payload = [0; PAYLOAD];
    while from.fill(&mut payload)? {
        to.take(&payload)?;
    }
    Ok(())
}

fn opened() -> (End, End) {
    let (mut client, mut exit) = (End::client(Limits::CLIENT), End::exit(Limits::EXIT));
    client.open(Target::parse("a.example", 1).unwrap()).unwrap();
    carry(&mut client, &mut exit).unwrap();
    exit.accept(0);
    carry(&mut exit, &mut client).unwrap();
    (client, exit)
}

#[test]
fn a_stream_that_is_not_read_holds_up_no_other_and_stays_within_its_window() {
    let (mut client, mut exit) = opened();
    client.open(Target::parse("b.example", 1).unwrap()).unwrap();
    carry(&mut client, &mut exit).unwrap();
    exit.accept(1);
    let mut left = 3_000_000;
    while left > 0 {
        let sent = exit.write(0, &vec![7; 50_000]);
        left -= exit.write(1, &vec![9; 50_000.min(left)]);
        carry(&mut exit, &mut client).unwrap();
        while !client.received(1).is_empty() {
            let len = client.received(1).len();
            client.consume(1, len);
        }
        carry(&mut client, &mut exit).unwrap();
        assert!(client.received(0).len() <= FIRST_WINDOW as usize);
        let _ = sent;
    }
    assert_eq!(exit.room(0), 0, "the writer is held up");
}

#[test]
fn a_window_grows_for_a_reader_that_keeps_up() {
    let (mut client, mut exit) = opened();
    let mut most = 0;
    for _ in 0..200 {
        exit.write(0, &vec![1; 256 * 1024]);
        carry(&mut exit, &mut client).unwrap();
        let mut got = 0;
        while !client.received(0).is_empty() {
            let len = client.received(0).len();
            client.consume(0, len);
            got += len;
        }
        most = most.max(got);
        carry(&mut client, &mut exit).unwrap();
    }
    assert!(most >= 256 * 1024, "{most}");
}

#[test]
fn faults_have_names() {
    // More than the window.
    let (client, _) = opened();
    let mut generous = client;
    let mut cell = vec![4, 0, 0, 0, 0];
    cell.extend(500u16.to_be_bytes());
    cell.extend([0; 500]);
    let mut number = generous.payloads_taken();
    let fault = loop {
        let payload = [&number.to_be_bytes()[..], &cell].concat();
        if let Err(fault) = generous.take(&payload) {
            break fault;
        }
        number += 1;
    };
    assert_eq!(fault, StreamError::Window);

    // A payload twice, one too far ahead, a stream that was never opened, an answer nobody asked for.
    let (mut client, mut exit) = opened();
    assert_eq!(exit.take(&[0; PAYLOAD]), Err(StreamError::Repeated(0)));
    for ahead in 0..MAX_EARLY as u32 {
        exit.take(&(ahead + 9).to_be_bytes()).unwrap();
    }
    assert_eq!(exit.take(&9_999u32.to_be_bytes()), Err(StreamError::Missing));
    let next = client.payloads_taken().to_be_bytes();
    assert_eq!(client.take(&[&next[..], &[6, 0, 0, 0, 9, 0, 0]].concat()), Err(StreamError::OutOfTurn));
    let (mut client, _) = opened();
    let next = client.payloads_taken().to_be_bytes();
    assert_eq!(client.take(&[&next[..], &[2, 0, 0, 0, 0, 0, 0]].concat()), Err(StreamError::OutOfTurn));
    let (mut client, _) = opened();
    let open = [1, 0, 0, 0, 9, 0, 4, 0, 80, 3, b'a'];
    let next = client.payloads_taken().to_be_bytes();
    assert_eq!(client.take(&[&next[..], &open].concat()), Err(StreamError::OutOfTurn));
}

#[test]
fn an_exit_takes_only_so_many_streams() {
    let (mut client, mut exit) = (End::client(Limits::CLIENT), End::exit(Limits::EXIT));
    for _ in 0..=Limits::EXIT.streams {
        client.open(Target::parse("a.example", 1).unwrap()).unwrap();
    }
    carry(&mut client, &mut exit).unwrap();
    carry(&mut exit, &mut client).unwrap();
    let last = Limits::EXIT.streams as u32;
    assert_eq!(client.next_event(), Some(Event::Refused { stream: last, reason: Reason::TooMany }));
    assert_eq!(exit.streams(), Limits::EXIT.streams);
}

#[test]
fn targets_are_checked() {
    for (host, port) in [("", 80), ("a b", 80), ("a\0b", 80), ("example.org", 0), (&"x".repeat(256), 80)] {
        assert!(Target::parse(host, port).is_err(), "{host:?}");
    }
    assert_eq!(Target::parse("EXAMPLE.org", 80), Target::parse("example.ORG", 80));
    assert_eq!(format!("{:?}", Target::parse("secret.example", 80).unwrap()), "Target(…)");
}

#[test]
fn an_exit_confirms_what_came_in() {
    let (mut client, mut exit) = opened();
    exit.confirm_every(4);
    let mut dummy = [0; PAYLOAD];
    for count in 1..4 {
        client.fill_dummy(&mut dummy).unwrap();
        exit.take(&dummy).unwrap();
        assert_eq!(exit.has_something_to_say(), exit.payloads_taken() >= 4, "{count}");
    }
    carry(&mut exit, &mut client).unwrap();
    let confirmed = std::iter::from_fn(|| client.next_event()).find_map(|event| match event {
        Event::Received { payloads } => Some(payloads),
        _ => None,
    });
    assert_eq!(confirmed, Some(4), "the opening and three dummies");
    assert!(!exit.has_something_to_say());
}
