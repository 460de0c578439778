//! A SOCKS5 proxy that all connections of a client go through.

use std::fmt;

use naulon_statement::Digest;
use reqwest::Url;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::client::Circuit;

/// A SOCKS5 proxy (RFC 1928), such as Tor's. It is given host names, never addresses that were looked up here; and each
/// circuit has a user name of its own, by which Tor keeps streams apart (`IsolateSOCKSAuth`, which is on by default).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Proxy {
    authority: String,
    login: Option<(String, String)>,
    secret: [u8; 32],
}

/// Why a text names no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Another scheme. With `socks5` names would be looked up here, in the clear.
    #[error("a proxy is named socks5h://HOST:PORT or socks5h://USER:PASSWORD@HOST:PORT (the h: it looks names up)")]
    Form,
}

impl Proxy {
    /// The proxy that a text names. `secret` is fresh: the circuits' user names come from it, so they say nothing.
    ///
    /// A user and password in the text are those that the proxy itself asks for. It then tells circuits apart by their
    /// connections only.
    pub fn parse(text: &str, secret: [u8; 32]) -> Result<Self, ProxyError> {
        let url = Url::parse(text).map_err(|_| ProxyError::Form)?;
        let (host, port) = url.host_str().zip(url.port()).ok_or(ProxyError::Form)?;
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if url.scheme() != "socks5h" || !bare || host.is_empty() {
            return Err(ProxyError::Form);
        }
        let login = url.password().map(|password| (url.username().to_owned(), password.to_owned()));
        if login.is_none() && !url.username().is_empty() {
            return Err(ProxyError::Form);
        }
        Ok(Proxy { authority: format!("{host}:{port}"), login, secret })
    }

    /// Whether the text that named it holds a password.
    pub fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// The proxy's URL on this circuit.
    pub(crate) fn url_on(&self, circuit: Circuit) -> String {
        let (user, password) = match &self.login {
            Some(login) => login.clone(),
            None => (self.user_on(circuit), "naulon".to_owned()),
        };
        format!("socks5h://{user}:{password}@{}", self.authority)
    }

    fn user_on(&self, circuit: Circuit) -> String {
        let name = match circuit {
            Circuit::Identified(key) => Digest::of(&[b"naulon/socks/identified", &self.secret, key.as_bytes()]),
            Circuit::Anonymous(number) => Digest::of(&[b"naulon/socks/anonymous", &self.secret, &number.to_be_bytes()]),
        };
        name.to_string().chars().take(24).collect()
    }
}

/// Without user, password and secret.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use naulon_statement::PublicKey;

    use super::*;

    #[test]
    fn each_circuit_has_a_user_name_of_its_own() {
        let proxy = Proxy::parse("socks5h://127.0.0.1:9050", [1; 32]).expect("a proxy");
        let (one, two) = (Circuit::Anonymous(1), Circuit::Anonymous(2));
        let named = Circuit::Identified(PublicKey([1; 32]));
        assert_eq!(proxy.url_on(one), proxy.url_on(one));
        assert!(proxy.url_on(one) != proxy.url_on(two) && proxy.url_on(one) != proxy.url_on(named));
        let other = Proxy::parse("socks5h://127.0.0.1:9050", [2; 32]).expect("a proxy");
        assert_ne!(proxy.url_on(one), other.url_on(one), "another run is another name");
        assert!(Url::parse(&proxy.url_on(one)).expect("a URL").username().len() == 24);
        let login = Proxy::parse("socks5h://me:secret@[::1]:1080", [1; 32]).expect("a proxy");
        assert_eq!(login.url_on(one), "socks5h://me:secret@[::1]:1080");
        assert_eq!(format!("{login:?}"), "Proxy([::1]:1080)");
    }

    #[test]
    fn what_would_look_names_up_here_is_no_proxy() {
        for text in [
            "socks5://127.0.0.1:9050",
            "socks5h://127.0.0.1",
            "http://127.0.0.1:9050",
            "127.0.0.1:9050",
            "",
            "socks5h://me@h:1",
            "socks5h://h:1/x",
        ] {
            assert_eq!(Proxy::parse(text, [1; 32]).err(), Some(ProxyError::Form), "{text}");
        }
    }
}
