//! A file that comes through a SOCKS5 door, and what it cost.
//!
//! Both ends are threads of this program, plain and the same for every network, so that only the networks differ.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Network;
use crate::cpu::Usage;
use crate::server;

/// Bytes written or read at once.
const PIECE: usize = 64 * 1024;
/// A network that brings nothing for so long has failed.
const SILENCE: Duration = Duration::from_secs(60);
/// The fifth version of SOCKS, RFC 1928.
const SOCKS: u8 = 5;
/// How long the address of an IPv4 address and its port are in an answer.
const IPV4_AND_PORT: usize = 6;

/// Sends a file to whoever connects and asks with one byte.
pub struct Source {
    address: SocketAddr,
    len: u64,
}

impl Source {
    /// Listens on loopback until the program ends.
    pub fn start(len: u64) -> Result<Source> {
        let address = SocketAddr::from(([127, 0, 0, 1], server::free_port_number()?));
        let listener = TcpListener::bind(address)?;
        std::thread::Builder::new().name("source".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who goes away before the end is told nothing.
                let _ = send(stream, len);
            }
        })?;
        Ok(Source { address, len })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The length of the file.
    pub fn len(&self) -> u64 {
        self.len
    }
}

fn send(mut stream: TcpStream, len: u64) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.read_exact(&mut [0])?;
    let mut place = 0;
    while place < len {
        let piece = piece(place, len);
        stream.write_all(&piece)?;
        place += piece.len() as u64;
    }
    Ok(())
}

/// The bytes of the file from this place on: cheap to make, and another order of them is seen.
fn piece(place: u64, len: u64) -> Vec<u8> {
    let end = len.min(place + PIECE as u64);
    (place..end).map(|place| (place ^ (place >> 8) ^ (place >> 16)) as u8).collect()
}

/// What a download took.
pub struct Cost {
    /// From the request to the last byte.
    pub elapsed: Duration,
    /// Of all processes of the network.
    pub processor: Duration,
}

/// Downloads the file once, compares it, and says what that took.
pub fn through(source: &Source, network: &dyn Network) -> Result<Cost> {
    let mut stream = open(network.socks(), source.address)?;
    let before = used(network)?;
    let begun = Instant::now();
    stream.write_all(&[0])?;
    let mut place = 0;
    let mut buffer = vec![0; PIECE];
    let mut expected = Vec::new();
    while place < source.len {
        let wanted = usize::try_from(source.len - place)?.min(PIECE);
        stream.read_exact(&mut buffer[..wanted])?;
        // Made once a piece, which costs this program some, and no network anything.
        expected.clear();
        expected.extend_from_slice(&piece(place, source.len)[..wanted]);
        ensure!(buffer[..wanted] == expected[..], "{} altered the file", network.name());
        place += wanted as u64;
    }
    Ok(Cost { elapsed: begun.elapsed(), processor: used(network)?.saturating_sub(before) })
}

fn used(network: &dyn Network) -> Result<Duration> {
    network.processes().into_iter().map(|process| Ok(Usage::of(process)?.all())).sum()
}

/// Connects to the target through the door.
pub fn open(socks: SocketAddr, target: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(socks)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(&[SOCKS, 1, 0])?;
    let mut method = [0; 2];
    stream.read_exact(&mut method)?;
    ensure!(method == [SOCKS, 0], "the door wants a password");
    let SocketAddr::V4(target) = target else { anyhow::bail!("a target with an IPv4 address") };
    let mut request = vec![SOCKS, 1, 0, 1];
    request.extend_from_slice(&target.ip().octets());
    request.extend_from_slice(&target.port().to_be_bytes());
    stream.write_all(&request)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    ensure!(answer[1] == 0, "the door answers {}", answer[1]);
    let rest = match answer[3] {
        1 => IPV4_AND_PORT,
        4 => 18,
        kind => anyhow::bail!("the door answers with an address of kind {kind}"),
    };
    stream.read_exact(&mut vec![0; rest])?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody who goes straight to the target, as a network of no hops.
    struct Straight(SocketAddr);

    impl Network for Straight {
        fn name(&self) -> &'static str {
            "straight"
        }
        fn socks(&self) -> SocketAddr {
            self.0
        }
        fn processes(&self) -> Vec<u32> {
            vec![std::process::id()]
        }
    }

    /// A door for one connection; it may alter the last byte it passes.
    fn door(alters: bool) -> Straight {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            client.read_exact(&mut [0; 3]).expect("a greeting");
            client.write_all(&[5, 0]).expect("answered");
            let mut request = [0; 10];
            client.read_exact(&mut request).expect("a request");
            let port = u16::from_be_bytes([request[8], request[9]]);
            let mut target = TcpStream::connect(("127.0.0.1", port)).expect("the source");
            client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).expect("answered");
            let mut asked = [0];
            client.read_exact(&mut asked).expect("asked");
            target.write_all(&asked).expect("passed on");
            let mut file = Vec::new();
            target.read_to_end(&mut file).expect("the file");
            if let Some(last) = file.last_mut().filter(|_| alters) {
                *last ^= 1;
            }
            let _ = client.write_all(&file);
        });
        Straight(address)
    }

    #[test]
    fn a_file_comes_whole_and_an_altered_one_is_seen() {
        let source = Source::start(200_001).expect("listens");
        assert_eq!(source.len(), 200_001);
        assert!(through(&source, &door(false)).expect("comes").elapsed > Duration::ZERO);
        assert!(through(&source, &door(true)).is_err());
    }
}
