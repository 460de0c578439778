//! Where a stream goes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

/// A name's length, at most (as in SOCKS5 and DNS).
pub const MAX_HOST_LEN: usize = 255;

/// A host: an address, or a name that the exit looks up.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name. It is looked up where the stream leaves the mixes, never at home.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

/// Why something is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Empty, too long, or with characters that stand in no host's name.
    #[error("not a host's name (1 to 255 letters, digits, dots, hyphens, underscores)")]
    Host,
    /// Port 0.
    #[error("port 0 is nobody's")]
    Port,
}

const NAME: u8 = 3;
const IPV4: u8 = 1;
const IPV6: u8 = 4;

impl Target {
    /// A target by its name, or by an address written out.
    pub fn parse(host: &str, port: u16) -> Result<Self, TargetError> {
        let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
        let host = match bare.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(name(host.as_bytes())?),
        };
        Target::new(host, port)
    }

    /// A target by its address.
    pub fn address(address: IpAddr, port: u16) -> Result<Self, TargetError> {
        Target::new(Host::Address(address), port)
    }

    fn new(host: Host, port: u16) -> Result<Self, TargetError> {
        if port == 0 { Err(TargetError::Port) } else { Ok(Target { host, port }) }
    }

    /// u16 port ‖ u8 kind (SOCKS5's numbers) ‖ the address or name to the end.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.port.to_be_bytes());
        match &self.host {
            Host::Name(name) => {
                out.push(NAME);
                out.extend(name.as_bytes());
            }
            Host::Address(IpAddr::V4(address)) => {
                out.push(IPV4);
                out.extend(address.octets());
            }
            Host::Address(IpAddr::V6(address)) => {
                out.push(IPV6);
                out.extend(address.octets());
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, TargetError> {
        let ([p0, p1, kind], rest) = bytes.split_first_chunk::<3>().ok_or(TargetError::Host)?;
        let host = match *kind {
            NAME => Host::Name(name(rest)?),
            IPV4 => {
                Host::Address(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(rest).map_err(|_| TargetError::Host)?)))
            }
            IPV6 => {
                Host::Address(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(rest).map_err(|_| TargetError::Host)?)))
            }
            _ => return Err(TargetError::Host),
        };
        Target::new(host, u16::from_be_bytes([*p0, *p1]))
    }
}

/// Lower case, so that one host has one writing.
fn name(bytes: &[u8]) -> Result<String, TargetError> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if bytes.is_empty() || bytes.len() > MAX_HOST_LEN || !bytes.iter().all(allowed) {
        return Err(TargetError::Host);
    }
    Ok(bytes.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect())
}

/// Where somebody goes links people: no debug output says it.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target(…)")
    }
}

/// As [`Target`]'s.
impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host(…)")
    }
}
