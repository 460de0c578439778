//! SOCKS5 (RFC 1928) with user names (RFC 1929): the way in for browsers, curl and the wallet.
//!
//! CONNECT to a name or an address is done. BIND and UDP ASSOCIATE are refused by their reply code, as mixes carry neither.
//! A user name asks for no right: it names the session, so that two names share nothing on the way. The password is not
//! looked at.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use naulon_stream::{Reason, Target};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long a program may take to say what it wants.
pub const MAX_GREETING: Duration = Duration::from_secs(20);

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;

const WEB_PAGE: &[u8] = b"HTTP/1.0 501 This is a SOCKS proxy\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
This is a SOCKS5 proxy, not a web server or HTTP proxy.\r\n\
Tell your program to use it as socks5h:// (curl: --socks5-hostname).\r\n";

/// What a program asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Wish {
    /// The user name: the session that the stream belongs to. Empty when the program gave none.
    pub session: Vec<u8>,
    /// Where to.
    pub target: Target,
}

/// What is answered to a request (RFC 1928 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reply {
    /// The stream is connected.
    Connected = 0,
    /// Something failed: here, on the way, or no fare could be paid.
    Failed = 1,
    /// No exit allows it.
    NotAllowed = 2,
    /// No route.
    NetworkUnreachable = 3,
    /// No such host, or it is silent.
    HostUnreachable = 4,
    /// The host refuses.
    Refused = 5,
    /// It took too long.
    TimedOut = 6,
    /// BIND, UDP ASSOCIATE, or something unknown.
    NoSuchCommand = 7,
    /// An address that is none.
    NoSuchAddress = 8,
}

impl From<Reason> for Reply {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Policy => Reply::NotAllowed,
            Reason::NetworkUnreachable => Reply::NetworkUnreachable,
            Reason::HostUnreachable => Reply::HostUnreachable,
            Reason::Refused => Reply::Refused,
            Reason::TimedOut => Reply::TimedOut,
            Reason::Failed | Reason::TooMany | Reason::Gone => Reply::Failed,
        }
    }
}

/// Why a program was not understood. It has been told, as far as SOCKS has words for it.
#[derive(Debug, thiserror::Error)]
pub enum SocksError {
    /// The connection has failed or ended.
    #[error("the connection ended: {0}")]
    Io(#[from] io::Error),
    /// Nothing came.
    #[error("no request came in time")]
    TooSlow,
    /// Not SOCKS5.
    #[error("not SOCKS version 5")]
    Version,
    /// It offers no way to log in that is known.
    #[error("no method of authentication that is known")]
    Method,
    /// Not CONNECT.
    #[error("only CONNECT is served: mixes carry neither UDP nor listening sockets")]
    Command,
    /// Not a host and port.
    #[error("not an address")]
    Address,
}

/// Reads what a program asks for. Whatever is not understood is answered here.
pub async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<Wish, SocksError> {
    timeout(MAX_GREETING, request(stream)).await.map_err(|_| SocksError::TooSlow)?
}

/// Answers a request. The address that the exit is bound to is nobody's business: zero.
pub async fn answer(stream: &mut (impl AsyncWrite + Unpin), reply: Reply) -> io::Result<()> {
    stream.write_all(&[VERSION, reply as u8, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    stream.flush().await
}

async fn request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<Wish, SocksError> {
    match stream.read_u8().await? {
        VERSION => {}
        4 => {
            // SOCKS4's own "rejected": its addresses were looked up at home.
            stream.write_all(&[0, 0x5b, 0, 0, 0, 0, 0, 0]).await?;
            return Err(SocksError::Version);
        }
        b'C' | b'D' | b'G' | b'H' | b'O' | b'P' => {
            stream.write_all(WEB_PAGE).await?;
            return Err(SocksError::Version);
        }
        _ => return Err(SocksError::Version),
    }
    let methods = counted(stream).await?;
    let session = if methods.contains(&LOGIN) {
        stream.write_all(&[VERSION, LOGIN]).await?;
        login(stream).await?
    } else if methods.contains(&NO_LOGIN) {
        stream.write_all(&[VERSION, NO_LOGIN]).await?;
        Vec::new()
    } else {
        stream.write_all(&[VERSION, NO_METHOD]).await?;
        return Err(SocksError::Method);
    };
    let [version, command, _, kind] = array(stream).await?;
    if version != VERSION {
        return Err(SocksError::Version);
    }
    let Some(target) = target(stream, kind).await? else {
        answer(stream, Reply::NoSuchAddress).await?;
        return Err(SocksError::Address);
    };
    if command != CONNECT {
        answer(stream, Reply::NoSuchCommand).await?;
        return Err(SocksError::Command);
    }
    // UDP ASSOCIATE may name port 0, CONNECT may not.
    let Some(target) = target else {
        answer(stream, Reply::NoSuchAddress).await?;
        return Err(SocksError::Address);
    };
    Ok(Wish { session, target })
}

/// RFC 1929: everybody is welcome.
async fn login(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<Vec<u8>, SocksError> {
    if stream.read_u8().await? != 1 {
        return Err(SocksError::Method);
    }
    let user = counted(stream).await?;
    let _password = counted(stream).await?;
    stream.write_all(&[1, 0]).await?;
    Ok(user)
}

/// An address: `None` when its kind is unknown, `Some(None)` when it can be read and is no target.
async fn target(stream: &mut (impl AsyncRead + Unpin), kind: u8) -> Result<Option<Option<Target>>, SocksError> {
    enum Written {
        Address(IpAddr),
        Name(Vec<u8>),
    }
    let written = match kind {
        1 => Written::Address(IpAddr::from(array::<4>(stream).await?)),
        3 => Written::Name(counted(stream).await?),
        4 => Written::Address(IpAddr::from(array::<16>(stream).await?)),
        _ => return Ok(None),
    };
    let port = stream.read_u16().await?;
    Ok(Some(match written {
        Written::Address(address) => Target::address(address, port).ok(),
        Written::Name(name) => std::str::from_utf8(&name).ok().and_then(|name| Target::parse(name, port).ok()),
    }))
}

async fn counted(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, SocksError> {
    let mut bytes = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn array<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], SocksError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What comes of these bytes, and what was answered.
    async fn said(bytes: &[u8]) -> (Result<Wish, SocksError>, Vec<u8>) {
        let (mut program, mut proxy) = tokio::io::duplex(4_096);
        program.write_all(bytes).await.unwrap();
        program.shutdown().await.unwrap();
        let wish = greet(&mut proxy).await;
        drop(proxy);
        let mut answered = Vec::new();
        program.read_to_end(&mut answered).await.unwrap();
        (wish, answered)
    }

    #[tokio::test]
    async fn hosts_of_each_kind_are_understood() {
        let named = [&[5, 1, 0, 5, 1, 0, 3, 11][..], b"example.org", &[1, 187]].concat();
        let (wish, answered) = said(&named).await;
        let wish = wish.ok().unwrap();
        assert!(wish.target == Target::parse("example.org", 443).unwrap() && wish.session.is_empty());
        assert_eq!(answered, [5, 0]);
        let (wish, _) = said(&[5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0, 80]).await;
        assert!(wish.ok().unwrap().target == Target::parse("192.0.2.1", 80).unwrap());
        let six = [&[5, 1, 0, 5, 1, 0, 4][..], &[0; 15], &[1, 0, 80]].concat();
        assert!(said(&six).await.0.ok().unwrap().target == Target::parse("::1", 80).unwrap());
    }

    #[tokio::test]
    async fn a_user_name_names_the_session() {
        let bytes = [&[5, 2, 0, 2, 1, 3][..], b"one", &[2], b"pw", &[5, 1, 0, 1, 127, 0, 0, 1, 0, 80]].concat();
        let (wish, answered) = said(&bytes).await;
        assert_eq!(wish.ok().unwrap().session, b"one");
        assert_eq!(answered, [5, 2, 1, 0], "asked for, and welcome with any password");
    }

    #[tokio::test]
    async fn what_is_not_served_is_refused_by_its_code() {
        for (command, port) in [(2, 80), (3, 0), (3, 53), (0xf0, 80)] {
            let (wish, answered) = said(&[5, 1, 0, 5, command, 0, 1, 0, 0, 0, 0, 0, port]).await;
            assert!(matches!(wish, Err(SocksError::Command)));
            assert_eq!(answered[2..4], [5, 7], "command {command}");
        }
        assert_eq!(said(&[5, 1, 0, 5, 1, 0, 9, 0, 0]).await.1[3], 8, "an unknown kind of address");
        assert_eq!(said(&[5, 1, 0, 5, 1, 0, 1, 1, 1, 1, 1, 0, 0]).await.1[3], 8, "port 0");
        assert_eq!(said(&[5, 1, 0, 5, 1, 0, 3, 1, b' ', 0, 80]).await.1[3], 8, "not a name");
        assert_eq!(said(&[5, 1, 1]).await.1, [5, 0xff], "GSSAPI only");
        assert_eq!(said(&[4, 1, 0, 80, 1, 1, 1, 1, 0]).await.1[..2], [0, 0x5b]);
        assert!(said(b"GET / HTTP/1.1\r\n").await.1.starts_with(b"HTTP/1.0 501 "));
        assert!(matches!(said(&[9]).await.0, Err(SocksError::Version)));
        assert!(matches!(said(&[5, 2, 0]).await.0, Err(SocksError::Io(_))));
    }
}
