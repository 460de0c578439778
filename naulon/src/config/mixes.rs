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
