//! Where servers listen.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where one listener listens: an address alone, or with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum At {
    /// Without TLS: `"127.0.0.1:21001"`, or `"unix:operator.sock"`.
    Plain(String),
    /// With TLS: `{ address = "0.0.0.0:443", tls = { certificate = "tls.pem", key = "tls.key" } }`.
    Tls(WithTls),
}

/// An address with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithTls {
    /// The address.
    pub address: String,
    /// The certificate.
    pub tls: Tls,
}

/// The files of a certificate; relative paths are inside of the party's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain, the server's own certificate first, in PEM.
    pub certificate: String,
    /// The private key in PEM.
    pub key: String,
}

/// The listeners of a log or a shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// For everybody.
    pub public: At,
    /// For whoever runs it.
    pub operator: At,
}

/// The listeners of a bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankListen {
    /// For everybody, who are nobody in particular here.
    pub public: At,
    /// For owners of accounts.
    pub account: At,
    /// For whoever runs it.
    pub operator: At,
}

/// Where operators ask by default: only the owner of the party's folder can.
const OPERATOR: &str = "unix:operator.sock";

impl At {
    /// The address alone.
    pub fn address(&self) -> &str {
        match self {
            At::Plain(address) | At::Tls(WithTls { address, .. }) => address,
        }
    }

    /// Its URL, if it has no other name.
    pub fn url(&self) -> String {
        let scheme = if matches!(self, At::Tls(_)) { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.address())
    }
}

impl Listen {
    /// The public listener here, the operator's in the folder.
    pub fn at(public: At) -> Self {
        Listen { public, operator: At::Plain(OPERATOR.to_owned()) }
    }
}

impl BankListen {
    /// These listeners, and the operator's in the folder.
    pub fn at(public: At, account: At) -> Self {
        BankListen { public, account, operator: At::Plain(OPERATOR.to_owned()) }
    }
}
