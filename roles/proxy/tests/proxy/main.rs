//! Programs that speak SOCKS, a proxy, and behind its link what looks like three mixes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod mixes;
mod paths;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mixes::{Mixes, PAGE, WINDOW, page};
use naulon_onion::Protocol;
use naulon_proxy::{Billing, Proxy, ProxyRules, Snapshot, Terms};
use naulon_statement::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Running {
    mixes: Mixes,
    address: SocketAddr,
    proxy: Arc<Proxy>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

async fn start(check_length: u32) -> Running {
    start_with(Protocol::BEFORE_SENDER, check_length).await
}

async fn start_with(protocol: Protocol, check_length: u32) -> Running {
    let mixes = Mixes::start(protocol).await;
    let max_silence = Duration::from_secs(3);
    let rules = ProxyRules { billing: Billing::Each, terms: Terms { protocol, check_length }, max_silence };
    let proxy = Proxy::new(rules, Arc::new(mixes.clone()), mixes.snapshot(), Arc::new(|| Timestamp(1_000)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let served = Arc::clone(&proxy);
    let serving = tokio::spawn(async move {
        served
            .serve(listener, async {
                // A test that fails drops it.
                let _ = stopped.await;
            })
            .await;
    });
    Running { mixes, address, proxy, stop, serving }
}

/// Asks for a stream, and says the reply's code.
async fn connect(proxy: SocketAddr, user: &str, port: u16) -> (u8, TcpStream) {
    let mut program = TcpStream::connect(proxy).await.unwrap();
    let login = [&[5, 1, 2, 1, user.len() as u8][..], user.as_bytes(), &[1, b'x']].concat();
    program.write_all(&login).await.unwrap();
    let request = [&[5, 1, 0, 3, 12][..], b"host.example", &port.to_be_bytes()].concat();
    program.write_all(&request).await.unwrap();
    let mut said = [0; 14];
    program.read_exact(&mut said).await.unwrap();
    (said[5], program)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_go_through_and_every_mix_is_paid_for_every_block() {
    let running = start(50_000).await;
    let (code, mut program) = connect(running.address, "one", 80).await;
    assert_eq!(code, 0);
    let mut got = Vec::new();
    program.read_to_end(&mut got).await.unwrap();
    assert!(got == page(), "{} of {PAGE} bytes", got.len());

    let (code, mut program) = connect(running.address, "one", 7).await;
    assert_eq!(code, 0);
    let sent = page();
    let (mut from, mut to) = program.split();
    let both = tokio::join!(
        async {
            to.write_all(sent).await.unwrap();
            to.shutdown().await.unwrap();
        },
        async {
            let mut got = Vec::new();
            from.read_to_end(&mut got).await.unwrap();
            got
        }
    );
    assert!(both.1 == sent, "{} of {PAGE} bytes", both.1.len());

    assert_eq!(connect(running.address, "one", 9).await.0, 5, "refused by the host");
    assert_eq!(connect(running.address, "one", 443).await.0, 2, "no exit lets it out");
    assert_eq!(connect(running.address, "two", 7).await.0, 0);
    running.stop.send(()).unwrap();
    running.serving.await.unwrap();

    // The last blocks are on their way; that they come is what is waited for.
    let seen = loop {
        let seen = running.mixes.seen.lock().unwrap().clone();
        if seen.iter().all(|session| session.ended) {
            break seen;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(seen.len(), 2, "a session a user name");
    for session in &seen {
        let prepaid = session.paid[0] - session.used[0];
        assert!(prepaid <= u64::from(WINDOW), "prepaid {prepaid} of {WINDOW}");
        assert!(session.used.iter().all(|used| *used == session.used[0]), "{session:?}");
    }
    let blocks = PAGE / 4_000 * 3;
    let used = usize::try_from(seen[0].used[0]).unwrap();
    assert!(used > blocks && used < blocks * 11 / 10, "{used} blocks for {blocks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_breaks_is_followed_by_another() {
    let running = start(50_000).await;
    let (_, mut program) = connect(running.address, "", 80).await;
    program.read_u8().await.unwrap();
    *running.mixes.is_broken.lock().unwrap() = true;
    let mut got = Vec::new();
    // The stream is over, one way or the other, and not whole.
    let _ = program.read_to_end(&mut got).await;
    assert!(got.len() < PAGE - 1);
    *running.mixes.is_broken.lock().unwrap() = false;
    let (code, mut program) = connect(running.address, "", 80).await;
    assert_eq!(code, 0);
    let mut got = Vec::new();
    program.read_to_end(&mut got).await.unwrap();
    assert!(got == page());
    assert_eq!(running.mixes.seen.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_runs_out_is_followed_by_the_next() {
    let running = start(400).await;
    let (code, mut program) = connect(running.address, "", 80).await;
    assert_eq!(code, 0);
    let mut got = Vec::new();
    program.read_to_end(&mut got).await.unwrap();
    assert!(got == page(), "{} of {PAGE} bytes", got.len());
    let checks = running.mixes.seen.lock().unwrap()[0].checks;
    assert!(checks >= 3, "{checks}");
}

/// A mix that was started again says nothing to whoever has its old keys: the list is asked for, and the stream goes another way.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_silent_is_followed_by_one_out_of_a_newer_list() {
    let running = start(50_000).await;
    running.mixes.restart();
    let looking = {
        let (proxy, mixes) = (Arc::clone(&running.proxy), running.mixes.clone());
        tokio::spawn(async move {
            proxy.wants_snapshot().await;
            proxy.take_snapshot(mixes.snapshot());
        })
    };
    let (code, _program) = connect(running.address, "", 7).await;
    assert_eq!(code, 0);
    looking.await.unwrap();
    // The session that was silent is not used again.
    assert_eq!(connect(running.address, "", 7).await.0, 0);
    assert_eq!(running.mixes.seen.lock().unwrap().len(), 1, "one session, with the new keys");
}

/// Two checks were made, the third could not be: no mix has seen the two.
#[tokio::test(flavor = "multi_thread")]
async fn checks_that_nobody_was_shown_are_given_back() {
    let running = start(50_000).await;
    *running.mixes.funds.lock().unwrap() = 2;
    assert_eq!(connect(running.address, "", 7).await.0, 1);
    assert_eq!(running.mixes.given_back.lock().unwrap().len(), 2);
}

/// A first mix that is not reached costs no check.
#[tokio::test(flavor = "multi_thread")]
async fn a_mix_that_is_not_reached_costs_nothing() {
    let running = start(50_000).await;
    let mut listed = running.mixes.listed();
    // Nobody listens at these ports.
    (listed[0].address, listed[1].address) = ("127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned());
    running.proxy.take_snapshot(Snapshot::new(listed, Timestamp(2_000)));
    let funds = *running.mixes.funds.lock().unwrap();
    let (proxy, mixes) = (Arc::clone(&running.proxy), running.mixes.clone());
    let looking = tokio::spawn(async move {
        proxy.wants_snapshot().await;
        let left = *mixes.funds.lock().unwrap();
        proxy.take_snapshot(mixes.snapshot());
        left
    });
    assert_eq!(connect(running.address, "", 7).await.0, 0);
    assert_eq!(looking.await.unwrap(), funds, "nothing was funded before a mix was reached");
    assert_eq!(*running.mixes.funds.lock().unwrap(), funds - 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_protocols_pay_every_block() {
    for protocol in Protocol::ALL {
        let running = start_with(protocol, 50_000).await;
        let (code, mut program) = connect(running.address, "", 80).await;
        assert_eq!(code, 0, "{}", protocol.name());
        let mut got = Vec::new();
        program.read_to_end(&mut got).await.unwrap();
        assert!(got == page(), "{}: {} of {PAGE} bytes", protocol.name(), got.len());
        let (_, mut program) = connect(running.address, "", 7).await;
        let (mut from, mut to) = program.split();
        let sent = &page()[..1_000_000];
        let mut got = Vec::new();
        let (wrote, read) =
            tokio::join!(async { (to.write_all(sent).await, to.shutdown().await) }, from.read_to_end(&mut got));
        wrote.0.unwrap();
        read.unwrap();
        assert!(got == sent, "{}: {} bytes back", protocol.name(), got.len());
        running.stop.send(()).unwrap();
        running.serving.await.unwrap();
        let seen = loop {
            let seen = running.mixes.seen.lock().unwrap()[0].clone();
            if seen.ended {
                break seen;
            }
            tokio::task::yield_now().await;
        };
        for at in 0..3 {
            assert!(seen.paid[at] >= seen.used[at], "{}: {seen:?}", protocol.name());
            assert!(seen.paid[at] - seen.used[at] <= u64::from(WINDOW), "{}: {seen:?}", protocol.name());
        }
    }
}
