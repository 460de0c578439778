//! Who a party is, in one line that can be handed on: role, key, address.
//!
//!     naulon:bank:KEY@http://127.0.0.1:21001;account=http://127.0.0.1:21011#CHECKPOINT-KEY
//!     naulon:log:KEY@http://127.0.0.1:21002#CHECKPOINT-KEY
//!     naulon:shop:KEY@https://shop.example;ca=/etc/naulon/shop-ca.pem
//!
//! `account` is where a bank is asked by those who name an account; `ca` is the file of the one authority whose certificates
//! are believed, in the place of those that the system trusts.
//!
//! `init` writes it to `identity.toml` in the party's folder; wherever a command wants a party, it takes this line, that
//! file or that folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use naulon_exchange::LogIdentity;
use naulon_exchange::register::BankIdentity;
use naulon_purchase::Trust;
use naulon_statement::PublicKey;
use naulon_tlog::CheckpointVerifier;
use naulon_wire::Address;
use naulon_wire::tls::Authorities;

/// The file in a party's folder.
pub const IDENTITY_FILE: &str = "identity.toml";
/// The longest file that is read for an identity or a list of them.
const MAX_TRUST_LEN: u64 = 1024 * 1024;

/// What a party does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Issues and redeems.
    Bank,
    /// Decides.
    Log,
    /// Sells.
    Shop,
    /// Buys; has no address.
    Wallet,
    /// Cosigns checkpoints.
    Witness,
    /// Forwards blocks, and is paid for each.
    Mix,
    /// Lists mixes, banks and logs.
    Directory,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 7] =
        [Role::Bank, Role::Log, Role::Shop, Role::Wallet, Role::Witness, Role::Mix, Role::Directory];

    /// Its name in commands, settings and identities.
    pub fn name(self) -> &'static str {
        match self {
            Role::Bank => "bank",
            Role::Log => "log",
            Role::Shop => "shop",
            Role::Wallet => "wallet",
            Role::Witness => "witness",
            Role::Mix => "mix",
            Role::Directory => "directory",
        }
    }

    /// The role of this name.
    pub fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A party's public identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What it does.
    pub role: Role,
    /// Its name in statements.
    pub key: PublicKey,
    /// Where it is reached.
    pub url: String,
    /// Where it is reached by those who name an account, if that is elsewhere.
    pub account: Option<String>,
    /// The authority whose certificates are believed there, if not those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The checkpoint key of a log, or of a bank's register.
    pub checkpoints: Option<CheckpointVerifier>,
}

impl Identity {
    /// A party at one URL.
    pub fn new(role: Role, key: PublicKey, url: impl Into<String>) -> Identity {
        Identity { role, key, url: url.into(), account: None, ca: None, checkpoints: None }
    }

    /// Where it is and whose certificates are believed there.
    pub fn address(&self) -> anyhow::Result<Address> {
        let authorities = self.ca.as_deref().map_or(Ok(Authorities::System), Authorities::read)?;
        Ok(Address { url: self.url.clone(), account: self.account.clone(), authorities })
    }

    /// The identity that an option names: the line itself, a file with it, or the folder of the party.
    pub fn find(text: &str, role: Role) -> anyhow::Result<Identity> {
        let found = read_all(text)?;
        let mut of_role = found.into_iter().filter(|identity| identity.role == role);
        let identity = of_role.next().with_context(|| format!("{text} names no {role}"))?;
        ensure!(of_role.next().is_none(), "{text} names more than one {role}; name the one you mean by its line");
        Ok(identity)
    }

    /// The log's keys, as the protocols want them.
    pub fn log(&self) -> anyhow::Result<LogIdentity> {
        let checkpoints = self.checkpoints.clone().with_context(|| format!("{self} is not a log"))?;
        Ok(LogIdentity { key: self.key, checkpoints })
    }

    /// The bank's keys, as the protocols want them.
    pub fn bank(&self) -> anyhow::Result<BankIdentity> {
        let checkpoints = self.checkpoints.clone().filter(|_| self.role == Role::Bank);
        Ok(BankIdentity { key: self.key, checkpoints: checkpoints.with_context(|| format!("{self} is not a bank"))? })
    }

    /// The text of `identity.toml`.
    pub fn file(&self) -> String {
        format!(
            "# The public identity of this {}: hand it to whoever deals with it.\nidentity = \"{self}\"\n",
            self.role
        )
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "naulon:{}:{}@{}", self.role, self.key, self.url)?;
        if let Some(account) = &self.account {
            write!(f, ";account={account}")?;
        }
        if let Some(ca) = &self.ca {
            write!(f, ";ca={}", ca.display())?;
        }
        match &self.checkpoints {
            Some(checkpoints) => write!(f, "#{checkpoints}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Identity {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, anyhow::Error> {
        let form = "an identity is written naulon:ROLE:KEY@URL";
        let (role, rest) = text.strip_prefix("naulon:").and_then(|rest| rest.split_once(':')).context(form)?;
        let role = Role::named(role).with_context(|| format!("{role} is not a role"))?;
        let (key, rest) = rest.split_once('@').context(form)?;
        let key: PublicKey = key.parse().context("the key of the identity")?;
        key.check().context("the key of the identity")?;
        let (url, checkpoints) = match rest.split_once('#') {
            Some((url, vkey)) => (url, Some(vkey.parse().context("the checkpoint key of the identity")?)),
            None => (rest, None),
        };
        let mut parts = url.split(';');
        let url = url_of(role, parts.next().unwrap_or_default())?;
        let (mut account, mut ca) = (None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("account", url)) if account.is_none() => account = Some(url_of(role, url)?),
                Some(("ca", path)) if ca.is_none() && !path.is_empty() => ca = Some(PathBuf::from(path)),
                _ => bail!("{form}, and after the URL `;account=URL` and `;ca=FILE`, not `;{part}`"),
            }
        }
        ensure!(account.is_none() || role == Role::Bank, "only a bank has an address for accounts");
        ensure!(
            checkpoints.is_some() == matches!(role, Role::Bank | Role::Log),
            "the identity of a bank or a log, and no other, ends in #CHECKPOINT-KEY"
        );
        Ok(Identity { role, key, url, account, ca, checkpoints })
    }
}

/// A mix is asked nothing by HTTP: its address is where its links are.
fn url_of(role: Role, text: &str) -> anyhow::Result<String> {
    if let Some(links) = text.strip_prefix("mix://").filter(|_| role == Role::Mix) {
        ensure!(links.contains(':') && !links.contains('/'), "{text} is not mix://HOST:PORT");
        return Ok(text.to_owned());
    }
    ensure!(text.starts_with("https://") || text.starts_with("http://"), "{text} is no https:// or http:// address");
    Ok(text.trim_end_matches('/').to_owned())
}

/// All identities that a text names: a line, or a file of them (TOML or JSON with the keys `identity` or `trust`), or a
/// party's folder.
pub fn read_all(text: &str) -> anyhow::Result<Vec<Identity>> {
    if text.starts_with("naulon:") {
        return Ok(vec![text.parse()?]);
    }
    let path = Path::new(text);
    let path = if path.is_dir() { path.join(IDENTITY_FILE) } else { path.to_owned() };
    let shown = path.display();
    let length = path
        .metadata()
        .with_context(|| {
            format!("{shown} cannot be read; name a party by its folder, its {IDENTITY_FILE} or its naulon: line")
        })?
        .len();
    ensure!(length <= MAX_TRUST_LEN, "{shown} is too long for a list of identities");
    let content = std::fs::read_to_string(&path).with_context(|| format!("{shown} cannot be read"))?;
    let lines = parse_list(&content).with_context(|| format!("{shown} is not a list of identities"))?;
    ensure!(!lines.is_empty(), "{shown} names nobody: it has neither `identity` nor `trust`");
    lines.iter().map(|line| line.parse().with_context(|| format!("{shown}: {line}"))).collect()
}

/// The lines, for the settings, of the parties that these options name.
pub fn lines_of(texts: &[String], role: Role) -> anyhow::Result<Vec<String>> {
    texts.iter().map(|text| Ok(Identity::find(text, role)?.to_string())).collect()
}

/// The parties that a setting lists.
pub fn pinned(lines: &[String], role: Role, setting: &str) -> anyhow::Result<Vec<Identity>> {
    lines.iter().map(|line| Identity::find(line, role).with_context(|| format!("the setting {setting}"))).collect()
}

/// The file that `show --trust` writes.
pub fn trust_file(identities: &[Identity]) -> String {
    let lines: Vec<String> = identities.iter().map(|identity| format!("    \"{identity}\",\n")).collect();
    format!("# Whose signatures count: for `naulon verify --trust`.\ntrust = [\n{}]\n", lines.concat())
}

/// The judge's trust in these parties.
pub fn trust_in(identities: &[Identity]) -> anyhow::Result<Trust> {
    let of = |role| identities.iter().filter(move |identity| identity.role == role);
    let keys = |role| of(role).map(|identity| identity.key).collect::<BTreeSet<_>>();
    let logs =
        of(Role::Log).map(|identity| Ok((identity.key, identity.log()?))).collect::<anyhow::Result<BTreeMap<_, _>>>();
    Ok(Trust { banks: keys(Role::Bank), logs: logs?, merchants: keys(Role::Shop) })
}

fn parse_list(content: &str) -> anyhow::Result<Vec<String>> {
    let value: serde_json::Value = if content.trim_start().starts_with('{') {
        serde_json::from_str(content)?
    } else {
        toml_edit::de::from_str(content)?
    };
    let mut lines = Vec::new();
    for (key, value) in value.as_object().context("not a table")? {
        match (key.as_str(), value) {
            ("identity", serde_json::Value::String(line)) => lines.push(line.clone()),
            ("trust", serde_json::Value::Array(list)) => {
                for line in list {
                    lines.push(line.as_str().context("`trust` is a list of naulon: lines")?.to_owned());
                }
            }
            _ => bail!("`{key}` is not known here; a list of identities has `identity` or `trust`"),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use naulon_statement::SecretKey;

    fn identities() -> Vec<Identity> {
        let key = SecretKey::from_seed(&[1; 32]).public();
        let checkpoints = |name| Some(CheckpointVerifier::new(name, key.as_bytes()).unwrap());
        let bank = Identity::new(Role::Bank, key, "http://127.0.0.1:21001");
        let account = Some("http://127.0.0.1:21011".into());
        let bank = Identity { account, checkpoints: checkpoints("bank.example"), ..bank };
        let log = Identity::new(Role::Log, key, "https://log.example");
        vec![bank, Identity { ca: Some("/tmp/a ca.pem".into()), checkpoints: checkpoints("log.example"), ..log }]
    }

    #[test]
    fn a_line_reads_as_it_was_written() {
        for identity in identities() {
            assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
        }
    }

    #[test]
    fn files_and_folders_name_parties() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        let [bank, log] = &identities()[..] else { unreachable!() };
        std::fs::write(dir.path().join(IDENTITY_FILE), bank.file()).unwrap();
        assert_eq!(&Identity::find(folder, Role::Bank).unwrap(), bank);
        assert!(Identity::find(folder, Role::Log).is_err());
        let trust = dir.path().join("trust.toml");
        std::fs::write(&trust, trust_file(&identities())).unwrap();
        assert_eq!(&Identity::find(trust.to_str().unwrap(), Role::Log).unwrap(), log);
        let json = dir.path().join("trust.json");
        std::fs::write(&json, format!("{{\"trust\": [\"{bank}\"]}}")).unwrap();
        assert_eq!(&read_all(json.to_str().unwrap()).unwrap()[0], bank);
        std::fs::write(&json, "{\"trusts\": []}").unwrap();
        assert!(read_all(json.to_str().unwrap()).is_err());
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        let [bank, log] = &identities()[..] else { unreachable!() };
        assert!(log.address().is_err(), "there is no such authority");
        let key = bank.key.to_string();
        for bad in [
            "naulon:bank".to_owned(),
            format!("naulon:teller:{key}@http://127.0.0.1:1"),
            format!("naulon:bank:{key}"),
            format!("naulon:bank:{key}@ftp://127.0.0.1"),
            "naulon:bank:AAAA@http://127.0.0.1:1".to_owned(),
            format!("naulon:bank:{}@http://127.0.0.1:1", PublicKey([0; 32])),
            format!("naulon:log:{key}@http://127.0.0.1:1"),
            format!("naulon:shop:{key}@http://127.0.0.1:1;account=http://127.0.0.1:2"),
            format!("naulon:bank:{key}@http://127.0.0.1:1;account=127.0.0.1:2"),
            format!("naulon:bank:{key}@http://127.0.0.1:1;ca="),
            format!("naulon:bank:{key}@http://127.0.0.1:1;ca=a;ca=b"),
            format!("naulon:bank:{key}@http://127.0.0.1:1;pin=a"),
            format!("naulon:bank:{key}@http://127.0.0.1:1"),
            format!("naulon:shop:{key}@http://127.0.0.1:1#{}", log.checkpoints.as_ref().unwrap()),
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }
}
