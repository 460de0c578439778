//! A web server with one page, and a program that fetches it through a SOCKS proxy.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use naulon_statement::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How many bytes of the page are sent at once.
const PIECE: usize = 64 * 1024;

/// A web server whose every page is `/LENGTH`: so many bytes.
pub struct Web {
    /// Where it is.
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Web {
    /// Starts it.
    pub async fn start(listener: TcpListener) -> anyhow::Result<Web> {
        let address = listener.local_addr()?;
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A visitor who goes away in the middle is not missed.
                tokio::spawn(answer(stream));
            }
        });
        Ok(Web { address, serving })
    }
}

async fn answer(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < 4_096 {
        request.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&request);
    let length: usize = text.strip_prefix("GET /").and_then(|rest| rest.split(' ').next()).unwrap_or("0").parse()?;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut at = 0;
    while at < length {
        let piece: Vec<u8> = (at..length.min(at + PIECE)).map(byte).collect();
        stream.write_all(&piece).await?;
        at += piece.len();
    }
    stream.shutdown().await?;
    Ok(())
}

/// The byte of every page at this place.
fn byte(at: usize) -> u8 {
    let mixed = (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 56) as u8
}

/// What every page of this length is.
pub fn page_digest(length: usize) -> Digest {
    let page: Vec<u8> = (0..length).map(byte).collect();
    Digest::of(&[&page])
}

/// Fetches a page by SOCKS5, in the session of this name, and gives its digest and length.
pub async fn fetch(
    proxy: SocketAddr,
    session: &str,
    web: SocketAddr,
    length: usize,
) -> anyhow::Result<(Digest, usize)> {
    let mut stream = TcpStream::connect(proxy).await?;
    let user = u8::try_from(session.len())?;
    let login = [&[5, 1, 2, 1, user], session.as_bytes(), &[1, b'-']].concat();
    stream.write_all(&login).await?;
    let mut chosen = [0; 4];
    stream.read_exact(&mut chosen).await?;
    let host = b"localhost";
    let request = [&[5, 1, 0, 3, host.len() as u8][..], host, &web.port().to_be_bytes()].concat();
    stream.write_all(&request).await?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await?;
    ensure!(reply[1] == 0, "the proxy refuses with code {}", reply[1]);
    stream.write_all(format!("GET /{length} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await?;
    let head = page.windows(4).position(|four| four == b"\r\n\r\n").context("no answer")? + 4;
    Ok((Digest::of(&[&page[head..]]), page.len() - head))
}
