//! What protects the people in a game. Every protection can be switched off, to see that the game notices.

/// How the people behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// Wallets' seeds are secret: salts and blinding factors come from nothing that the bank knows.
    pub secret_seeds: bool,
    /// Everybody withdraws the same standard amount. Else each takes out what the thing costs that she is about to buy.
    pub standard_amounts: bool,
    /// A token is consumed whole, and change comes back blinded. Else the rest remains on it (AAT §8.3).
    pub whole_tokens: bool,
    /// Each token has a key of its own. Else those of one withdrawal share one (AAT §8.1).
    pub own_keys: bool,
    /// Calls that name an account and calls that name nobody go on different connections, as do different operations.
    pub own_connections: bool,
    /// Between withdrawing and paying, and between one thing and the next, are random times. Else all is done at once.
    pub random_waits: bool,
    /// A wallet that is restored asks over hours, in windows that all wallets have in common. Else all at once.
    pub patient_restore: bool,
    /// It asks each question on a connection of its own.
    pub own_sessions: bool,
}

impl Habits {
    /// All protections.
    pub const ALL: Habits = Habits {
        secret_seeds: true,
        standard_amounts: true,
        whole_tokens: true,
        own_keys: true,
        own_connections: true,
        random_waits: true,
        patient_restore: true,
        own_sessions: true,
    };
}
