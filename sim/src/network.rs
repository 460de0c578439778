//! Simulated time, and a network that loses, repeats and delays.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

use naulon_statement::Timestamp;
use naulon_wire::{HttpRequest, HttpResponse};
use rand_chacha::ChaCha8Rng;

use crate::fault::{Fault, below};

/// Where a party stands in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A bank.
    Bank(usize),
    /// A log.
    Log(usize),
    /// A shop.
    Shop(usize),
    /// A wallet.
    Wallet(usize),
    /// The outsider who watches the logs.
    Watcher,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Bank(i) => write!(f, "bank {i}"),
            Place::Log(i) => write!(f, "log {i}"),
            Place::Shop(i) => write!(f, "shop {i}"),
            Place::Wallet(i) => write!(f, "wallet {i}"),
            Place::Watcher => f.write_str("watcher"),
        }
    }
}

/// Names an ask, so that its answer finds it.
pub type AskId = u64;

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who sent it.
    pub from: Place,
    /// To whom.
    pub to: Place,
    /// Which ask it belongs to.
    pub ask: AskId,
    /// The very HTTP message that the programs would send.
    pub content: Content,
}

/// A request or a response.
#[derive(Clone, Debug)]
pub enum Content {
    /// A request.
    Request(HttpRequest),
    /// A response.
    Response(HttpResponse),
}

impl Content {
    /// Flips one bit of a response, if it has a body. Requests arrive as they were sent: the papers assume secure channels
    /// (AAT §2), and a party that could put words into another's mouth could refuse in its name.
    fn corrupt(&mut self, at: u64) {
        let flip = |body: &mut [u8]| {
            if let Some(byte) = usize::try_from(at >> 3).ok().and_then(|at| at.checked_rem(body.len())) {
                body[byte] ^= 1 << (at & 7);
            }
        };
        match self {
            Content::Request(_) => {}
            Content::Response(response) => {
                let mut body = response.body.to_vec();
                flip(&mut body);
                response.body = body.into();
            }
        }
    }
}

/// What happens at an instant.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message arrives.
    Arrive(Message),
    /// A party looks at what it has to do.
    Wake(Place),
    /// A bank takes up what has come in since the last time, as one group.
    Group(usize),
    /// A party that died starts again.
    Restart(Place),
    /// A person loses the machine with the wallet, and has the seed alone.
    Lose(usize),
}

struct Scheduled {
    at: Timestamp,
    number: u64,
    event: Event,
}

/// The queue of what will happen, and the faults of the network.
pub struct Network {
    now: Timestamp,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    messages: u64,
    faults: BTreeMap<u64, Vec<Fault>>,
}

impl Network {
    /// A network at this instant with these faults; those that are not the network's are left to others.
    pub fn new(now: Timestamp, faults: &[Fault]) -> Self {
        let mut by_message: BTreeMap<u64, Vec<Fault>> = BTreeMap::new();
        for fault in faults {
            if let Fault::Drop(n) | Fault::Double(n, _) | Fault::Delay(n, _) | Fault::Corrupt(n, _) = fault {
                by_message.entry(*n).or_default().push(*fault);
            }
        }
        Network { now, queue: BinaryHeap::new(), scheduled: 0, messages: 0, faults: by_message }
    }

    /// The instant.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// How many messages have been sent.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Lets an event happen this many milliseconds from now.
    pub fn after(&mut self, milliseconds: u64, event: Event) {
        self.scheduled += 1;
        let at = Timestamp(self.now.0 + milliseconds);
        self.queue.push(Reverse(Scheduled { at, number: self.scheduled, event }));
    }

    /// Sends a message. It takes 1 to 40 ms, if nothing goes wrong.
    pub fn send(&mut self, mut message: Message, rng: &mut ChaCha8Rng) {
        let number = self.messages;
        self.messages += 1;
        let mut takes = 1 + below(rng, 40);
        for fault in self.faults.remove(&number).unwrap_or_default() {
            match fault {
                Fault::Drop(_) => return,
                Fault::Delay(_, by) => takes += by,
                Fault::Double(_, by) => self.after(takes + by, Event::Arrive(message.clone())),
                Fault::Corrupt(_, at) => message.content.corrupt(at),
                Fault::Crash(..) => {}
            }
        }
        self.after(takes, Event::Arrive(message));
    }

    /// The next event; the clock moves to it.
    pub fn next(&mut self) -> Option<Event> {
        let Reverse(scheduled) = self.queue.pop()?;
        self.now = scheduled.at;
        Some(scheduled.event)
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Events of one instant happen in the order in which they were scheduled.
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
