//! The settings of mixes and directories.

use naulon_statement::Duration;
use serde::{Deserialize, Serialize};

use super::parties::{LISTEN, LISTEN_OPERATOR, LOG_LEVEL};
use super::{At, Listen, Settings, Span};
use crate::identity::Role;

/// A directory's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectorySettings {
    /// Always `directory`.
    pub role: String,
    /// Where it listens.
    pub listen: Listen,
    /// The keys of the mixes that may register.
    pub mixes: Vec<String>,
    /// Banks and logs that are listed.
    pub parties: Vec<String>,
    /// How long a list holds.
    pub valid: Span,
    /// What is told.
    pub log_level: String,
}

impl Default for DirectorySettings {
    fn default() -> Self {
        DirectorySettings {
            role: Role::Directory.name().to_owned(),
            listen: Listen::at(At::Plain("127.0.0.1:21006".to_owned())),
            mixes: Vec::new(),
            parties: Vec::new(),
            valid: Span(Duration::seconds(3_600)),
            log_level: "info".to_owned(),
        }
    }
}

impl Settings for DirectorySettings {
    const ROLE: Role = Role::Directory;
    const KEYS: &'static [(&'static str, &'static str)] = &[
        ("listen.public", LISTEN),
        ("listen.operator", LISTEN_OPERATOR),
        ("mixes", "The mixes that may register, each by its key (`naulon directory allow`)."),
        ("parties", "The banks and logs that are listed, as their naulon: lines (`naulon directory list`)."),
        (
            "valid",
            "How long a list holds; a new one is signed when half of that is over. Clients keep to an old list so long.",
        ),
        ("log_level", LOG_LEVEL),
    ];
}

/// A mix's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixSettings {
    /// Always `mix`.
    pub role: String,
    /// Where its links come in.
    pub links: String,
    /// How others reach them.
    pub address: String,
    /// Where the operator asks.
    pub operator: At,
    /// A name for people.
    pub name: String,
    /// What a block costs.
    pub price: String,
    /// In which currency.
    pub currency: String,
    /// How many blocks a sender and the mix may be out by.
    pub window: u32,
    /// How many blocks back a tick pays in cohort mode.
    pub replies: u32,
    /// The banks whose checks it takes.
    pub banks: Vec<String>,
    /// The directories where it registers and looks for other mixes.
    pub directories: Vec<String>,
    /// What it connects to as the last hop.
    pub exit_ports: Vec<String>,
    /// Whether private addresses are connected to.
    pub exit_private: bool,
    /// How blocks are mixed.
    pub batching: String,
    /// How long a hop key lives.
    pub epoch: Span,
    /// How long ticks are kept before they are cashed, at most.
    pub cash_within: Span,
    /// The provider of its chain.
    pub provider: String,
    /// The mix of its chain that is paid.
    pub paying: String,
    /// The mixes of its chain.
    pub members: Vec<String>,
    /// What is told.
    pub log_level: String,
}

impl Default for MixSettings {
    fn default() -> Self {
        MixSettings {
            role: Role::Mix.name().to_owned(),
            links: "127.0.0.1:21021".to_owned(),
            address: String::new(),
            operator: At::Plain("unix:operator.sock".to_owned()),
            name: "mix".to_owned(),
            price: "0.000001".to_owned(),
            currency: "EUR".to_owned(),
            window: 256,
            replies: 3,
            banks: Vec::new(),
            directories: Vec::new(),
            exit_ports: Vec::new(),
            exit_private: false,
            batching: "stream".to_owned(),
            epoch: Span(Duration::days(1)),
            cash_within: Span(Duration::seconds(3_600)),
            provider: String::new(),
            paying: String::new(),
            members: Vec::new(),
            log_level: "info".to_owned(),
        }
    }
}

impl Settings for MixSettings {
    const ROLE: Role = Role::Mix;
    const KEYS: &'static [(&'static str, &'static str)] = &[
        ("links", "Where its links come in: an address. Links are TLS with keys of their own and need no certificate."),
        ("address", "How others reach its links, as host:port, if that is not the address above."),
        ("operator", LISTEN_OPERATOR),
        ("name", "A name for people. It proves nothing."),
        ("price", "What a block costs: the value of a tick."),
        ("currency", "The currency of the price; its banks must keep it."),
        (
            "window",
            "How many blocks may be paid ahead, or be passed and not yet paid: so much either side can lose when the other stops.",
        ),
        ("replies", "In cohort mode, how many blocks back one tick pays together with its block forward."),
        ("banks", "The banks whose checks it takes, as their naulon: lines. Each knows it by another key."),
        (
            "directories",
            "The directories where it registers, and from which it knows the other mixes, as their naulon: lines.",
        ),
        (
            "exit_ports",
            "The ports that it connects to as the last mix of a path, such as \"443\" or \"1024-65535\"; empty: it is never the last.",
        ),
        (
            "exit_private",
            "Whether it also connects to addresses of private networks and of this machine. For tests and private networks.",
        ),
        (
            "batching",
            "How blocks are mixed: stream (at once), threshold COUNT WAIT (shuffled when COUNT have come, at the latest after\n\
             WAIT), pool KEEP WAIT (every WAIT all but KEEP, chosen at random), poisson WAIT (each waits on its own, WAIT on\n\
             average), cohort COUNT LENGTH (COUNT sessions together, LENGTH batches).",
        ),
        ("epoch", "How long a hop key is used. With it goes the memory of what it opened."),
        (
            "cash_within",
            "How long ticks wait at most until they are cashed. The moment is random, so that the bank learns little from it.",
        ),
        ("provider", "The key of the provider of its chain, if it is under contract; else empty."),
        ("paying", "The key of the mix of its chain that is paid for all of them."),
        ("members", "The mixes of its chain, each as \"KEY ACCOUNT SHARE\"."),
        ("log_level", LOG_LEVEL),
    ];
}
