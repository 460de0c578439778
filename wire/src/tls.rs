//! TLS 1.3 on both sides: certificates that are read again when they change, authorities that a client trusts, and no
//! sessions that outlive a connection.
//!
//! A ticket by which a session is resumed would tell the server that two connections are one person's. So servers give no
//! tickets, and clients keep none.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use rustls_platform_verifier::BuilderVerifierExt;
use zeroize::Zeroizing;

/// The longest file of certificates or of a key in bytes.
const MAX_PEM_LEN: u64 = 256 * 1024;
/// What is spoken inside.
const HTTP_1: &[u8] = b"http/1.1";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// A file holds something else.
    #[error("{0} holds no {1} in PEM")]
    NotPem(PathBuf, &'static str),
    /// A file is longer than any key or certificate.
    #[error("{0} is too long for a key or certificate")]
    TooLong(PathBuf),
    /// Others than the owner may read a private key.
    #[error("{0} can be read by others (mode {1:o}); chmod 600 it")]
    KeyIsOpen(PathBuf, u32),
    /// Key and certificate do not belong together, or are of an unknown kind.
    #[error("certificate {0} and key {1} do not go together: {2}")]
    Unfit(PathBuf, PathBuf, rustls::Error),
    /// The system's authorities cannot be loaded.
    #[error("the authorities that this system trusts cannot be loaded: {0}")]
    NoAuthorities(rustls::Error),
    /// The library refuses its own settings.
    #[error("TLS cannot be set up: {0}")]
    Library(rustls::Error),
}

/// Where a server's certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first, in PEM.
    pub certificate: PathBuf,
    /// The private key in PEM, which only the owner may read.
    pub key: PathBuf,
}

/// A server's side of TLS. Clones are handles on the same certificate.
#[derive(Clone)]
pub struct ServerTls {
    certificate: Arc<Certificate>,
    config: Arc<ServerConfig>,
}

#[derive(Debug)]
struct Certificate {
    files: CertificateFiles,
    current: RwLock<(Stamp, Arc<CertifiedKey>)>,
}

/// When the two files were changed last.
type Stamp = [Option<SystemTime>; 2];

impl ServerTls {
    /// Reads key and certificate.
    pub fn open(files: CertificateFiles) -> Result<ServerTls, TlsError> {
        let current = RwLock::new((files.stamp(), files.read()?));
        let certificate = Arc::new(Certificate { files, current });
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(TlsError::Library)?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![HTTP_1.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(ServerTls { certificate, config: Arc::new(config) })
    }

    /// Reads key and certificate again if the files have changed, or `always`. True if there is another certificate now.
    /// If they do not hold, the old one stays.
    pub fn reload(&self, always: bool) -> Result<bool, TlsError> {
        let files = &self.certificate.files;
        let stamp = files.stamp();
        let read = || self.certificate.current.read().unwrap_or_else(PoisonError::into_inner);
        if !always && read().0 == stamp {
            return Ok(false);
        }
        let new = files.read()?;
        let is_other = new.cert != read().1.cert;
        *self.certificate.current.write().unwrap_or_else(PoisonError::into_inner) = (stamp, new);
        Ok(is_other)
    }

    pub(crate) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.config.clone().into()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("files", &self.certificate.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone())
    }
}

impl CertificateFiles {
    fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| path.metadata().and_then(|metadata| metadata.modified()).ok())
    }

    fn read(&self) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = certificates(&self.certificate)?;
        let metadata = self.key.metadata().map_err(|error| TlsError::Unreadable(self.key.clone(), error))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(TlsError::KeyIsOpen(self.key.clone(), metadata.mode() & 0o777));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?);
        let key = key.map_err(|_| TlsError::NotPem(self.key.clone(), "private key"))?;
        let unfit = |error| TlsError::Unfit(self.certificate.clone(), self.key.clone(), error);
        Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider()).map_err(unfit)?))
    }
}

/// Whose certificates a client believes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Authorities {
    /// The authorities that the system trusts.
    #[default]
    System,
    /// These certificates (DER) alone, of a private authority.
    Only(Arc<[Vec<u8>]>),
}

impl Authorities {
    /// The private authority of a PEM file.
    pub fn read(path: &Path) -> Result<Authorities, TlsError> {
        Ok(Authorities::Only(certificates(path)?.into_iter().map(|certificate| certificate.to_vec()).collect()))
    }

    /// A client's side of TLS, which remembers no session.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
        let builder = builder.map_err(TlsError::Library)?;
        let builder = match self {
            Authorities::System => builder.with_platform_verifier().map_err(TlsError::NoAuthorities)?,
            Authorities::Only(certificates) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates.iter() {
                    roots.add(CertificateDer::from(certificate.clone())).map_err(TlsError::Library)?;
                }
                builder.with_root_certificates(roots)
            }
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![HTTP_1.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// A client's side for links without TLS: it trusts nobody.
pub(crate) fn nobody() -> Result<ClientConfig, TlsError> {
    Authorities::Only(Arc::new([])).client_config()
}

/// Why a server is not believed, if that is what an error is about, in words for who has to mend it.
pub(crate) fn disbelief(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error hides what it holds from `source`.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inner = inner.map(|inner| inner as &(dyn std::error::Error + 'static));
        let tls = error.downcast_ref().or_else(|| inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
        if let Some(tls) = tls {
            return Some(words(tls));
        }
        next = inner.or_else(|| error.source());
    }
    None
}

fn words(error: &rustls::Error) -> String {
    use CertificateError as E;
    let rustls::Error::InvalidCertificate(why) = error else { return format!("TLS failed: {error}") };
    match why {
        E::Expired | E::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => "its certificate is not valid yet; check the clock".to_owned(),
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "its certificate is for another name than its address has".to_owned()
        }
        E::UnknownIssuer => {
            "its certificate is from an authority that is not trusted here (a private one is named in the party's line)"
                .to_owned()
        }
        E::Revoked => "its certificate is revoked".to_owned(),
        why => format!("its certificate does not hold: {why:?}"),
    }
}

/// The one library, with X25519MLKEM768 before all other groups.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = || TlsError::NotPem(path.to_owned(), "certificate");
    let text = read(path)?;
    let list = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(|_| none())?;
    if list.is_empty() { Err(none()) } else { Ok(list) }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let unreadable = |error| TlsError::Unreadable(path.to_owned(), error);
    if path.metadata().map_err(unreadable)?.len() > MAX_PEM_LEN {
        return Err(TlsError::TooLong(path.to_owned()));
    }
    std::fs::read(path).map(Zeroizing::new).map_err(unreadable)
}
