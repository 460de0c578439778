//! Witnesses as settings and options name them: a verifier key (C2SP) and an address, in one line.
//!
//! ```text
//! witness.example/w1+8b2ee2ca+BKx… http://127.0.0.1:21005
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, ensure};
use naulon_tlog::{WitnessPolicy, WitnessVerifier};
use naulon_wire::publish::Witness;
use naulon_wire::tls::Authorities;
use naulon_wire::{Address, Circuit, Clients};

use crate::config::WitnessSettings;
use crate::identity::Role;
use crate::parties::PartyFolder;

/// The circuit on which witnesses are asked. It carries a log's checkpoints, which are public, and nothing else.
const CIRCUIT: Circuit = Circuit::Anonymous(0);

/// A witness and where checkpoints are handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessAddress {
    /// Its key.
    pub verifier: WitnessVerifier,
    /// Its submission address.
    pub url: String,
    /// The authority whose certificates are believed there, if not those that the system trusts.
    pub ca: Option<PathBuf>,
}

impl WitnessAddress {
    /// The witness that an option names: the line itself, or the folder of a witness of ours.
    pub fn find(text: &str) -> anyhow::Result<WitnessAddress> {
        if !Path::new(text).is_dir() {
            return text.parse();
        }
        let folder = PartyFolder::open(Path::new(text));
        let settings: WitnessSettings = folder.settings()?;
        let identity = folder.identity()?;
        ensure!(identity.role == Role::Witness, "{text} is not a witness");
        let verifier = WitnessVerifier::new(&settings.name, identity.key.as_bytes()).context("the witness's name")?;
        Ok(WitnessAddress { verifier, url: identity.url, ca: identity.ca })
    }
}

impl fmt::Display for WitnessAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verifier, self.url)?;
        self.ca.as_ref().map_or(Ok(()), |ca| write!(f, ";ca={}", ca.display()))
    }
}

impl FromStr for WitnessAddress {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let form = "a witness is written NAME+ID+KEY URL, or named by its folder";
        let (vkey, url) = text.split_once(' ').context(form)?;
        let verifier = vkey.parse().with_context(|| format!("{form}; {vkey} is not a witness's verifier key"))?;
        ensure!(url.starts_with("http://") || url.starts_with("https://"), "{form}, and its URL begins with http");
        let (url, ca) = match url.split_once(";ca=") {
            Some((url, ca)) => (url, Some(PathBuf::from(ca))),
            None => (url, None),
        };
        Ok(WitnessAddress { verifier, url: url.to_owned(), ca })
    }
}

/// The witnesses that a setting lists.
pub fn listed(lines: &[String]) -> anyhow::Result<Vec<WitnessAddress>> {
    lines.iter().map(|line| line.parse().context("the setting witnesses")).collect()
}

/// The policy of these witnesses. A threshold of 0 means more than half of them; without witnesses it means none.
pub fn policy(witnesses: &[WitnessVerifier], threshold: usize) -> anyhow::Result<WitnessPolicy> {
    if witnesses.is_empty() && threshold == 0 {
        return Ok(WitnessPolicy::unwitnessed());
    }
    let threshold = if threshold == 0 { witnesses.len() / 2 + 1 } else { threshold };
    WitnessPolicy::new(witnesses.to_vec(), threshold).context("the settings witnesses and threshold")
}

/// The witnesses as the publisher asks them.
pub fn clients(witnesses: &[WitnessAddress], clients: &Clients) -> anyhow::Result<Vec<Witness>> {
    let client = |witness: &WitnessAddress| {
        let authorities = witness.ca.as_deref().map_or(Ok(Authorities::System), Authorities::read)?;
        let client = clients.on(CIRCUIT, Address { authorities, ..Address::new(&witness.url) })?;
        Ok(Witness { verifier: witness.verifier.clone(), client })
    };
    witnesses.iter().map(client).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_it_was_written() {
        let verifier = naulon_tlog::WitnessSigner::new("w.example/1", &[1; 32]).unwrap().verifier().clone();
        for ca in [None, Some("/a/ca.pem".into())] {
            let address = WitnessAddress { verifier: verifier.clone(), url: "https://127.0.0.1:21005".into(), ca };
            assert_eq!(address.to_string().parse::<WitnessAddress>().unwrap(), address);
        }
        for bad in ["", "nobody", "http://127.0.0.1:21005", &verifier.to_string(), &format!("{verifier} ftp://x")] {
            assert!(bad.parse::<WitnessAddress>().is_err(), "{bad}");
        }
        assert!(policy(&[], 0).unwrap().is_unwitnessed());
        assert!(policy(&[], 1).is_err());
        assert_eq!(policy(&[verifier], 0).unwrap().threshold(), 1);
    }
}
