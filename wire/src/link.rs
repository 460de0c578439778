//! Links of mixes: TLS 1.3 in which both ends show raw public keys (RFC 7250), and in it whole blocks of one length.
//!
//! Nothing here is HTTP, and nothing is negotiated: whoever connects knows the key of the other end from its descriptor and
//! hangs up on any other. The one who is connected to learns a key, too. A mix shows its own; everybody else makes one
//! for each link and forgets it, so that the key says nothing and two links of one person share nothing. On the network
//! both look the same: keys are encrypted, there is no name and no ticket.
//!
//! What is checked: the key of the server, possession of both keys. What is not: who may connect (the mix's own matter).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use naulon_statement::PublicKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig,
    SignatureScheme,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use zeroize::Zeroizing;

use crate::tls::provider;

/// How long a link may take until it stands.
pub const LINK_TIMEOUT: Duration = Duration::from_secs(20);
/// How many bytes are read from a link at once, at most: whole blocks of that are handed on together.
pub const MAX_READ: usize = 64 * 1024;
/// What is spoken inside.
const BLOCKS: &[u8] = b"naulon-mix/1";
/// The DER of an Ed25519 public key before its 32 bytes (RFC 8410 §4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The DER of an Ed25519 private key before its 32 bytes (RFC 8410 §7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Why there is no link, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other end cannot be reached, or the connection has failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The other end took too long.
    #[error("the link did not stand in time")]
    TooSlow,
    /// The other end is not the one that was expected, or does not speak this.
    #[error("the other end is not believed: {0}")]
    Refused(Error),
    /// The other end has ended the link, and in the middle of a block if it says so.
    #[error("the link was ended{0}")]
    Ended(&'static str),
}

/// The key that one end of a link shows.
#[derive(Clone)]
pub struct LinkKey {
    certified: Arc<CertifiedKey>,
    public: PublicKey,
}

impl LinkKey {
    /// The key of this seed. Whoever is no mix takes fresh random bytes for each link.
    ///
    /// # Errors
    /// [`LinkError::Refused`] only if the library fails.
    pub fn from_seed(seed: &[u8; 32]) -> Result<LinkKey, LinkError> {
        let public = naulon_statement::SecretKey::from_seed(seed).public();
        let pkcs8 = Zeroizing::new([&PKCS8[..], seed].concat());
        let signer = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
        let spki = CertificateDer::from([&SPKI[..], public.as_bytes()].concat());
        let certified = CertifiedKey::new(vec![spki], signer.map_err(LinkError::Refused)?);
        Ok(LinkKey { certified: Arc::new(certified), public })
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }
}

/// A mix's side, which others connect to.
#[derive(Clone)]
pub struct LinkServer(TlsAcceptor);

impl LinkServer {
    /// Shows this key.
    ///
    /// # Errors
    /// [`LinkError::Refused`] only if the library fails.
    pub fn new(key: &LinkKey) -> Result<LinkServer, LinkError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(LinkError::Refused)?.with_client_cert_verifier(Arc::new(AnyKey(algorithms())));
        let mut config =
            builder.with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key.certified.clone())));
        config.alpn_protocols = vec![BLOCKS.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(LinkServer(Arc::new(config).into()))
    }

    /// Makes a link of a connection that has come in, and says which key the other end has shown.
    ///
    /// # Errors
    /// [`LinkError`]; the connection is closed.
    pub async fn accept(&self, stream: TcpStream) -> Result<(PublicKey, Link), LinkError> {
        stream.set_nodelay(true)?;
        let stream = timeout(LINK_TIMEOUT, self.0.accept(stream)).await.map_err(|_| LinkError::TooSlow)?;
        let link = Link(stream.map_err(why)?.into());
        Ok((link.peer()?, link))
    }
}

/// Connects to the mix with this link key, and shows `key`.
///
/// # Errors
/// [`LinkError::Refused`] if it is another.
pub async fn connect(address: SocketAddr, server: &PublicKey, key: &LinkKey) -> Result<Link, LinkError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let verifier = Arc::new(OneKey { key: *server, algorithms: algorithms() });
    let builder = builder.map_err(LinkError::Refused)?.dangerous().with_custom_certificate_verifier(verifier);
    let resolver = Arc::new(AlwaysResolvesClientRawPublicKeys::new(key.certified.clone()));
    let mut config = builder.with_client_cert_resolver(resolver);
    config.alpn_protocols = vec![BLOCKS.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::IpAddress(address.ip().into()), stream).await
    };
    let stream = timeout(LINK_TIMEOUT, connecting).await.map_err(|_| LinkError::TooSlow)?;
    Ok(Link(stream.map_err(why)?.into()))
}

/// A link that stands.
pub struct Link(TlsStream<TcpStream>);

impl Link {
    /// Its two directions, for blocks of this many bytes.
    pub fn split(self, block: usize) -> (LinkReader, LinkWriter) {
        let (read, write) = tokio::io::split(self.0);
        let buffer = vec![0; block.max(MAX_READ / block.max(1) * block)];
        (LinkReader { read, buffer, block, filled: 0, handed: 0 }, LinkWriter { write })
    }

    fn peer(&self) -> Result<PublicKey, LinkError> {
        let (_, connection) = self.0.get_ref();
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        shown.and_then(|spki| ed25519(spki)).ok_or(LinkError::Refused(Error::NoCertificatesPresented))
    }
}

/// The receiving direction of a link.
pub struct LinkReader {
    read: ReadHalf<TlsStream<TcpStream>>,
    buffer: Vec<u8>,
    block: usize,
    filled: usize,
    handed: usize,
}

impl LinkReader {
    /// Waits for blocks and gives those that are there, at least one: a whole number of them behind one another. Nothing is
    /// read ahead beyond [`MAX_READ`], so whoever does not come for blocks holds the sender back.
    ///
    /// # Errors
    /// [`LinkError::Ended`] when the other end is gone.
    pub async fn blocks(&mut self) -> Result<&[u8], LinkError> {
        self.buffer.copy_within(self.handed..self.filled, 0);
        self.filled -= self.handed;
        self.handed = 0;
        while self.filled < self.block {
            let read = self.read.read(&mut self.buffer[self.filled..]).await?;
            if read == 0 {
                return Err(LinkError::Ended(if self.filled > 0 { " in the middle of a block" } else { "" }));
            }
            self.filled += read;
        }
        self.handed = self.filled - self.filled % self.block;
        Ok(&self.buffer[..self.handed])
    }
}

/// The sending direction of a link.
pub struct LinkWriter {
    write: WriteHalf<TlsStream<TcpStream>>,
}

impl LinkWriter {
    /// Sends whole blocks, and returns when the system has taken them.
    ///
    /// # Errors
    /// [`LinkError::Io`] when the link has failed; blocks may be lost then.
    pub async fn send(&mut self, blocks: &[u8]) -> Result<(), LinkError> {
        self.write.write_all(blocks).await?;
        Ok(self.write.flush().await?)
    }

    /// Says that nothing more comes, and ends the link.
    pub async fn close(mut self) {
        // If the other end is gone there is nobody to tell.
        let _ = self.write.shutdown().await;
    }
}

/// Believes one server.
#[derive(Debug)]
struct OneKey {
    key: PublicKey,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OneKey {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match ed25519(shown) {
            Some(key) if key == self.key => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, shown, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Lets everybody in who has a key: whose it is, the mix looks up.
#[derive(Debug)]
struct AnyKey(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let key = ed25519(shown).ok_or(CertificateError::BadEncoding)?;
        key.check().map_err(|_| CertificateError::BadEncoding)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, shown, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn verify(
    message: &[u8],
    shown: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(shown.as_ref()), signed, algorithms)
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

/// The Ed25519 key of this DER; none if it is another kind of key.
fn ed25519(spki: &[u8]) -> Option<PublicKey> {
    spki.strip_prefix(&SPKI)?.try_into().ok().map(PublicKey)
}

/// A failure to agree on TLS is told apart from one of the connection.
fn why(error: io::Error) -> LinkError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).cloned();
    tls.map_or(LinkError::Io(error), LinkError::Refused)
}
