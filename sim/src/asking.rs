//! What a party that asks has in flight: time limits, back-off, and which answer belongs to which ask. It goes by the machine's
//! steady clock, not by the one on the wall.

use std::collections::BTreeMap;

use naulon_statement::{Duration, PublicKey, Timestamp};
use naulon_wire::{AnyCall, AnyReply, Ask, Call, CallError, HttpRequest, HttpResponse};

use crate::network::AskId;

/// After how long an ask counts as unanswered.
const PATIENCE: Duration = Duration::seconds(4);
/// The first pause before something is asked again, and the longest, in milliseconds.
const PAUSES: (u64, u64) = (200, 16_000);

/// The asks of one process. `K` names what an ask is about.
pub struct Asking<K> {
    in_flight: BTreeMap<AskId, (K, PublicKey, AnyCall, Timestamp)>,
    pauses: BTreeMap<(K, PublicKey), Pause>,
}

#[derive(Clone, Copy)]
struct Pause {
    length: u64,
    until: Timestamp,
}

impl<K: Copy + Ord> Asking<K> {
    /// Nothing in flight.
    pub fn new() -> Self {
        Asking { in_flight: BTreeMap::new(), pauses: BTreeMap::new() }
    }

    /// Whether this may be asked now: it is not in flight, and its pause is over.
    pub fn may_ask(&self, about: K, to: PublicKey, now: Timestamp) -> bool {
        let in_flight = self.in_flight.values().any(|(k, t, _, _)| (*k, *t) == (about, to));
        !in_flight && self.pauses.get(&(about, to)).is_none_or(|pause| now >= pause.until)
    }

    /// Whether this is in flight to somebody.
    pub fn is_busy(&self, about: K) -> bool {
        self.in_flight.values().any(|(k, ..)| *k == about)
    }

    /// Notes an ask and gives the request to send.
    pub fn send(&mut self, id: AskId, about: K, ask: Ask, now: Timestamp) -> HttpRequest {
        let request = match &ask.call {
            AnyCall::Bank(call) => call.to_http(),
            AnyCall::Log(call) => call.to_http(),
            AnyCall::Shop(call) => call.to_http(),
        };
        let pause = self.pauses.entry((about, ask.to)).or_insert(Pause { length: PAUSES.0, until: now });
        *pause = Pause { length: (pause.length * 2).min(PAUSES.1), until: Timestamp(now.0 + pause.length) };
        self.in_flight.insert(id, (about, ask.to, ask.call, now));
        request
    }

    /// Reads a response. A second one to the same ask is read like the first; one to an ask of an earlier life is not.
    pub fn read(&mut self, id: AskId, response: &HttpResponse) -> Option<(K, Result<AnyReply, CallError>)> {
        let (about, to, call, _) = self.in_flight.get(&id)?;
        let answer = match response.as_problem() {
            Some(problem) => Err(problem.into()),
            None => match call {
                AnyCall::Bank(call) => call.reply_from_http(response).map(AnyReply::Bank),
                AnyCall::Log(call) => call.reply_from_http(response).map(AnyReply::Log),
                AnyCall::Shop(call) => call.reply_from_http(response).map(AnyReply::Shop),
            },
        };
        let about = *about;
        if answer.is_ok() {
            // Progress: whatever comes next about this is asked without a pause.
            self.pauses.remove(&(about, *to));
        }
        Some((about, answer))
    }

    /// Forgets an ask that has been answered.
    pub fn close(&mut self, id: AskId) {
        self.in_flight.remove(&id);
    }

    /// Takes out the asks that nobody has answered in time.
    pub fn overdue(&mut self, now: Timestamp) -> Vec<K> {
        let late: Vec<AskId> = self
            .in_flight
            .iter()
            .filter(|(_, (_, _, _, sent))| now.since(*sent) >= PATIENCE)
            .map(|(id, _)| *id)
            .collect();
        late.iter().filter_map(|id| self.in_flight.remove(id)).map(|(about, ..)| about).collect()
    }

    /// Whether anything is in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }
}
