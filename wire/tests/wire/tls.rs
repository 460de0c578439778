//! TLS over real sockets, with an authority of the test's own; and what a server bears with.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use naulon_statement::Digest;
use naulon_wire::door::{Bind, Door};
use naulon_wire::serve::ServeError;
use naulon_wire::tls::{Authorities, CertificateFiles, ServerTls, TlsError};
use naulon_wire::{Address, CallError, Circuit, Clients, Listener, MAX_GOODS_PIECE, ShopCall, ShopReply};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, RootCertStore, ServerConfig};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::loopback::{GOODS_LEN, PATIENCE, Party, Running, loopback_listener, start_at};
use super::samples::key;

/// An authority, and a folder for what it certifies.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each its own name: by the name a client looks for the authority of a certificate.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("Test authority {}", NEXT.fetch_add(1, Ordering::SeqCst));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).expect("signs").pem()).expect("writes");
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Certifies this name for this long, from an hour ago on.
    fn certify(&self, name: &str, valid: time::Duration) -> CertificateFiles {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, "Test server");
        params.not_before = OffsetDateTime::now_utc() - time::Duration::hours(1);
        params.not_after = params.not_before + valid;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signs").pem();
        let files = CertificateFiles { certificate: self.path("server.pem"), key: self.path("server.key") };
        std::fs::write(&files.certificate, certificate).expect("writes");
        std::fs::write(&files.key, key.serialize_pem()).expect("writes");
        std::fs::set_permissions(&files.key, Permissions::from_mode(0o600)).expect("is closed");
        files
    }

    /// What a client pins that believes this authority alone.
    fn address(&self, server: SocketAddr) -> Address {
        let authorities = Authorities::read(&self.path("ca.pem")).expect("an authority");
        Address { authorities, ..Address::new(format!("https://{server}")) }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).expect("PEM")).expect("a root");
        roots
    }
}

fn days(days: i64) -> time::Duration {
    time::Duration::days(days)
}

async fn start(tls: ServerTls) -> Running {
    let address = loopback_listener().await.local_addr().expect("an address");
    let door = Door::open(Listener::ALL, &Bind::Tcp(address), Some(tls)).await.expect("opens");
    start_at(Party::default(), door)
}

async fn ask(address: &Address) -> Result<(), String> {
    let client = Clients::default().on(Circuit::Anonymous(1), address).expect("an address");
    match client.call(&ShopCall::Offer { item: "a".to_owned() }).await {
        Ok(ShopReply::Offer(_)) => Ok(()),
        Err(CallError::Unreachable(_, why)) => Err(why),
        other => panic!("{other:?}"),
    }
}

/// A client that would take whatever it is given: old versions (not built in here), sessions to resume.
fn stock_client(roots: RootCertStore) -> tokio_rustls::TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth()).into()
}

/// Connects, asks for something so that whatever tickets there are have come, and gives what was agreed on.
async fn agreed(client: &tokio_rustls::TlsConnector, at: SocketAddr) -> (HandshakeKind, ProtocolVersion, NamedGroup) {
    let stream = TcpStream::connect(at).await.expect("connects");
    let mut stream = client.connect(ServerName::from(at.ip()), stream).await.expect("shakes hands");
    let request = "GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("is answered");
    let (_, session) = stream.get_ref();
    let group = session.negotiated_key_exchange_group().expect("a group").name();
    (session.handshake_kind().expect("a handshake"), session.protocol_version().expect("a version"), group)
}

#[tokio::test]
async fn tls_is_of_version_1_3_with_the_hybrid_group_and_no_tickets() {
    let authority = Authority::new();
    let running = start(ServerTls::open(authority.certify("127.0.0.1", days(1))).expect("a certificate")).await;
    assert_eq!(ask(&authority.address(running.address)).await, Ok(()));
    let client = stock_client(authority.roots());
    for _ in 0..2 {
        // The second time a session would be resumed, had the server given any.
        let expected = (HandshakeKind::Full, ProtocolVersion::TLSv1_3, NamedGroup::X25519MLKEM768);
        assert_eq!(agreed(&client, running.address).await, expected);
    }
}

/// OpenSSL, which speaks both, gets 1.3 and no 1.2.
#[tokio::test(flavor = "multi_thread")]
async fn older_versions_are_refused() {
    let authority = Authority::new();
    let running = start(ServerTls::open(authority.certify("127.0.0.1", days(1))).expect("a certificate")).await;
    for (version, taken) in [("-tls1_2", false), ("-tls1_3", true)] {
        let mut command = tokio::process::Command::new("openssl");
        let at = running.address.to_string();
        command.args(["s_client", "-connect", &at, version, "-verify_return_error", "-CAfile"]);
        command.arg(authority.path("ca.pem")).stdin(Stdio::null());
        let output = command.output().await.expect("openssl runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.success(), taken, "{said}");
        assert_eq!(said.contains("Verify return code: 0 (ok)") && said.contains("TLSv1.3"), taken, "{said}");
    }
}

#[tokio::test]
async fn who_cannot_show_a_good_certificate_is_not_believed() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (name, valid, believed, why) in [
        ("127.0.0.1", days(1), &other, "an authority that is not trusted here"),
        ("bank.example", days(1), &authority, "for another name"),
        ("127.0.0.1", time::Duration::minutes(30), &authority, "has expired"),
    ] {
        let running = start(ServerTls::open(authority.certify(name, valid)).expect("a certificate")).await;
        let refused = ask(&believed.address(running.address)).await.expect_err(why);
        assert!(refused.contains(why), "{refused}");
        // Nor is it by the authorities of the system.
        let public = ask(&Address::new(format!("https://{}", running.address))).await;
        assert!(public.is_err(), "{name}");
        // And TLS is not spoken to who does not speak it.
        assert!(ask(&Address::new(format!("http://{}", running.address))).await.is_err());
        assert_eq!(running.party.calls.load(Ordering::SeqCst), 0);
    }
}

/// A renewed certificate is used without a restart, and a broken one is not; a key that others may read is refused.
#[tokio::test]
async fn certificates_are_renewed_while_the_server_runs() {
    let (authority, next) = (Authority::new(), Authority::new());
    let files = authority.certify("127.0.0.1", days(1));
    let tls = ServerTls::open(files.clone()).expect("a certificate");
    let running = start(tls.clone()).await;
    let (old, new) = (authority.address(running.address), next.address(running.address));
    assert_eq!(ask(&old).await, Ok(()));
    assert!(!tls.reload(false).expect("reads"), "nothing has changed");

    std::fs::write(&files.certificate, "half a file").expect("writes");
    assert!(matches!(tls.reload(true), Err(TlsError::NotPem(..))));
    assert_eq!(ask(&old).await, Ok(()), "what is broken is not used");

    let renewed = next.certify("127.0.0.1", days(1));
    let put = |from: &Path, to: &Path| std::fs::write(to, std::fs::read(from).expect("reads")).expect("writes");
    put(&renewed.certificate, &files.certificate);
    assert!(matches!(tls.reload(true), Err(TlsError::Unfit(..))), "a certificate with another's key");
    put(&renewed.key, &files.key);
    assert!(tls.reload(false).expect("reads"));
    assert_eq!(ask(&new).await, Ok(()));
    assert!(ask(&old).await.is_err());

    std::fs::set_permissions(&files.key, Permissions::from_mode(0o640)).expect("is opened");
    assert!(matches!(tls.reload(true), Err(TlsError::KeyIsOpen(_, 0o640))));
    assert!(matches!(ServerTls::open(files), Err(TlsError::KeyIsOpen(..))));
}

/// A server that gives tickets to whoever takes them, and writes down how each connection began.
async fn generous_server(authority: &Authority) -> (SocketAddr, Arc<Mutex<Vec<HandshakeKind>>>) {
    let files = authority.certify("127.0.0.1", days(1));
    let chain = vec![CertificateDer::from_pem_file(&files.certificate).expect("PEM")];
    let key = PrivateKeyDer::from_pem_file(&files.key).expect("PEM");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).expect("a certificate");
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a ticketer");
    let (listener, kinds) = (loopback_listener().await, Arc::new(Mutex::new(Vec::new())));
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve_generously(listener, config.into(), kinds.clone()));
    (address, kinds)
}

async fn serve_generously(listener: TcpListener, config: Arc<ServerConfig>, kinds: Arc<Mutex<Vec<HandshakeKind>>>) {
    let acceptor = tokio_rustls::TlsAcceptor::from(config);
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        kinds.lock().expect("is free").extend(stream.get_ref().1.handshake_kind());
        let _ = stream.read(&mut [0; 4_096]).await;
        let answer = "HTTP/1.1 206 Partial Content\r\nContent-Type: application/octet-stream\r\n\
                      Content-Range: bytes 0-1/9\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

/// No two connections are tied together by a TLS ticket: neither those of two circuits, nor two of one.
#[tokio::test]
async fn circuits_share_no_ticket() {
    let authority = Authority::new();
    let (address, kinds) = generous_server(&authority).await;
    // Whoever takes tickets resumes: so the server would tell.
    let stock = stock_client(authority.roots());
    agreed(&stock, address).await;
    assert_eq!(agreed(&stock, address).await.0, HandshakeKind::Resumed);
    kinds.lock().expect("is free").clear();

    let (clients, pinned) = (Clients::default(), authority.address(address));
    let call = ShopCall::Goods { digest: Digest([0; 32]), range: naulon_wire::Range { offset: 0, len: 2 } };
    let circuits =
        [Circuit::Identified(key(1).public()), Circuit::Anonymous(1), Circuit::Anonymous(2), Circuit::Anonymous(1)];
    for circuit in circuits {
        let client = clients.on(circuit, &pinned).expect("an address");
        assert!(matches!(client.call(&call).await, Ok(ShopReply::Goods(_))));
    }
    assert_eq!(*kinds.lock().expect("is free"), [HandshakeKind::Full; 4]);
}

/// Who neither shakes hands, nor finishes a request's head, nor takes its answer, does not keep a connection.
#[tokio::test]
async fn nobody_holds_a_connection_for_nothing() {
    let authority = Authority::new();
    let running = start(ServerTls::open(authority.certify("127.0.0.1", days(1))).expect("a certificate")).await;
    let silent = held(running.address, "").await;
    assert!(silent >= PATIENCE.handshake && silent < PATIENCE.handshake * 4, "{silent:?}");

    let running = start_at(Party::default(), Door::of_all(loopback_listener().await));
    for text in ["", "GET /v1/shop HTTP/1.1\r\nHost: te"] {
        let slow = held(running.address, text).await;
        assert!(slow >= PATIENCE.head && slow < PATIENCE.head * 4, "{slow:?}");
    }

    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("is set");
    let mut stream = socket.connect(running.address).await.expect("connects");
    let path = format!("/v1/goods/{}", Digest([0; 32]));
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("is sent");
    tokio::time::sleep(PATIENCE.stall * 3).await;
    let (mut taken, mut buffer) = (0, vec![0; 65_536]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        taken += count as u64;
    }
    assert!(taken < GOODS_LEN - MAX_GOODS_PIECE, "{taken} bytes came of an answer that nobody took");
}

/// How long a connection stays open on which this is sent and nothing else.
async fn held(at: SocketAddr, text: &str) -> Duration {
    let mut stream = TcpStream::connect(at).await.expect("connects");
    let began = Instant::now();
    stream.write_all(text.as_bytes()).await.expect("is sent");
    let mut rest = Vec::new();
    // Whether it is closed or cut off: it is gone.
    let _ = stream.read_to_end(&mut rest).await;
    began.elapsed()
}

/// No more connections than allowed are open; whoever comes later waits for a place.
#[tokio::test]
async fn more_connections_wait_for_a_place() {
    let running = start_at(Party::default(), Door::of_all(loopback_listener().await));
    let mut idle = Vec::new();
    for _ in 0..PATIENCE.connections {
        idle.push(TcpStream::connect(running.address).await.expect("connects"));
    }
    tokio::time::sleep(PATIENCE.head / 4).await;
    let began = Instant::now();
    assert_eq!(ask(&Address::new(format!("http://{}", running.address))).await, Ok(()));
    assert!(began.elapsed() > PATIENCE.head / 4, "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_tls_only_loopback_and_unix_sockets_are_listened_on() {
    let everywhere: Bind = "0.0.0.0:20001".parse().expect("an address");
    assert!(matches!(Door::open(Listener::ALL, &everywhere, None).await, Err(ServeError::NotLoopback(_))));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("operator.sock");
    let bind: Bind = format!("unix:{}", path.display()).parse().expect("a socket");
    let door = Door::open(&[Listener::Operator], &bind, None).await.expect("opens");
    assert_eq!(
        (door.bind().expect("an address"), bind.to_string()),
        (bind.clone(), format!("unix:{}", path.display()))
    );
    assert_eq!(path.metadata().expect("is there").permissions().mode() & 0o777, 0o600);
    assert!(matches!(Door::open(Listener::ALL, &bind, None).await, Err(ServeError::Listen(..))), "it is in use");
    drop(door);
    assert!(Door::open(Listener::ALL, &bind, None).await.is_ok(), "what is left over is cleared away");
    let long = Bind::Unix(folder.path().join("x".repeat(120)));
    assert!(matches!(Door::open(Listener::ALL, &long, None).await, Err(ServeError::LongPath(_))));
}
