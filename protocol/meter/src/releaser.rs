//! The recipient's side, where it triggers payment.

use naulon_onion::When;

use crate::meter::Terms;

/// Decides when the recipient lets a tick go.
#[derive(Clone, Copy, Debug)]
pub struct Releaser {
    terms: Terms,
    let_go: u64,
    arrived: u64,
}

impl Releaser {
    /// Nothing came yet.
    pub fn new(terms: Terms) -> Self {
        Releaser { terms, let_go: 0, arrived: 0 }
    }

    /// An ask came with a sealed tick: whether it is let go. Not while as many are out as the window allows, for which nothing
    /// came.
    pub fn asked(&mut self) -> bool {
        let is_open = self.let_go.saturating_sub(self.arrived) < u64::from(self.terms.window);
        let lets_go = self.terms.protocol.when == When::Before && is_open;
        self.let_go += u64::from(lets_go);
        lets_go
    }

    /// A block came: whether the tick that came with it is let go.
    pub fn arrived(&mut self) -> bool {
        self.arrived += 1;
        let lets_go = self.terms.protocol.when == When::After;
        self.let_go += u64::from(lets_go);
        lets_go
    }

    /// How many blocks came.
    pub fn count(&self) -> u64 {
        self.arrived
    }
}
