//! Links over real sockets.

use naulon_statement::PublicKey;
use naulon_wire::link::{self, Link, LinkError, LinkKey, LinkServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BLOCK: usize = 4096;

fn key(seed: u8) -> LinkKey {
    LinkKey::from_seed(&[seed; 32]).expect("a key")
}

/// Both ends of a link to the mix with key 1, from whoever has this key and expects that one.
async fn linked(client: u8, expected: PublicKey) -> (Result<(PublicKey, Link), LinkError>, Result<Link, LinkError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = LinkServer::new(&key(1)).expect("a server");
    let accepting = async { server.accept(listener.accept().await.expect("comes").0).await };
    let client = key(client);
    tokio::join!(accepting, link::connect(address, &expected, &client))
}

#[tokio::test]
async fn whole_blocks_go_both_ways_and_each_end_knows_the_other() {
    let (accepted, connected) = linked(2, key(1).public()).await;
    let ((peer, accepted), connected) = (accepted.expect("accepts"), connected.expect("connects"));
    assert_eq!(peer, key(2).public());
    let (mut here, mut to_there) = accepted.split(BLOCK);
    let (mut there, mut to_here) = connected.split(BLOCK);
    let sent: Vec<u8> = (0..5 * BLOCK).map(|byte| (byte / BLOCK) as u8).collect();
    // One and a half blocks: the half waits for its other half.
    to_here.send(&sent[..BLOCK * 3 / 2]).await.expect("sends");
    assert_eq!(here.blocks().await.expect("a block"), &sent[..BLOCK]);
    to_here.send(&sent[BLOCK * 3 / 2..]).await.expect("sends");
    let mut got = BLOCK;
    while got < sent.len() {
        let blocks = here.blocks().await.expect("blocks");
        assert!(blocks.len().is_multiple_of(BLOCK));
        assert_eq!(blocks, &sent[got..got + blocks.len()]);
        got += blocks.len();
    }
    to_there.send(&sent[..BLOCK]).await.expect("sends");
    assert_eq!(there.blocks().await.expect("a block"), &sent[..BLOCK]);
    to_here.send(&sent[..7]).await.expect("sends");
    to_here.close().await;
    assert!(matches!(here.blocks().await, Err(LinkError::Ended(" in the middle of a block"))));
    to_there.close().await;
    assert!(matches!(there.blocks().await, Err(LinkError::Ended(""))));
}

#[tokio::test]
async fn another_mix_than_the_expected_one_is_hung_up_on() {
    let (accepted, connected) = linked(2, key(3).public()).await;
    assert!(matches!(connected, Err(LinkError::Refused(_))), "{:?}", connected.err());
    assert!(accepted.is_err());
}

#[tokio::test]
async fn who_speaks_something_else_gets_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = LinkServer::new(&key(1)).expect("a server");
    let asking = async {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: mix\r\n\r\n").await.expect("sends");
        let mut answer = Vec::new();
        // The alert of TLS, or a reset connection.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    let accepting = async { server.accept(listener.accept().await.expect("comes").0).await };
    let (accepted, answer) = tokio::join!(accepting, asking);
    assert!(matches!(accepted, Err(LinkError::Refused(_))));
    assert!(!answer.starts_with(b"HTTP"));
}
