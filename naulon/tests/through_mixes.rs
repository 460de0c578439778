//! curl and Chromium load pages and a large file through three mixes that are paid for every block, by a wallet's tokens.

mod process;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use process::{House, Server};
use serde_json::Value;

const LARGE: usize = 100_000_000;

/// The byte of a page at this place.
fn byte(at: usize) -> u8 {
    ((at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

/// Serves `/N`: so many bytes; and a page for people elsewhere.
fn web() -> u16 {
    let port = (24_000..32_000).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).expect("a free port");
    let number = port.local_addr().expect("bound").port();
    thread::spawn(move || {
        for visitor in port.incoming().flatten() {
            // A visitor who goes away is not missed.
            thread::spawn(move || answer(visitor));
        }
    });
    number
}

fn answer(mut visitor: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut one = [0];
    while !request.ends_with(b"\r\n\r\n") {
        visitor.read_exact(&mut one)?;
        request.push(one[0]);
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let wanted: Option<usize> = text.split(' ').nth(1).and_then(|path| path.get(1..)?.parse().ok());
    let Some(length) = wanted else {
        let page = "<html><body><p id=told>paid by the block</p></body></html>";
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
        return write!(visitor, "{head}Content-Length: {}\r\n\r\n{page}", page.len());
    };
    write!(visitor, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    for begin in (0..length).step_by(65_536) {
        let piece: Vec<u8> = (begin..length.min(begin + 65_536)).map(byte).collect();
        visitor.write_all(&piece)?;
    }
    Ok(())
}

/// Bank, directory and three mixes that run, and a wallet with tokens.
fn town() -> (House, Vec<Server>) {
    let house = House::furnished();
    house.done(&["directory", "init", "--listen", "127.0.0.1:0", "--party", "bank"]);
    for number in 1..=3 {
        let (dir, name) = (format!("mix{number}"), format!("mix {number}"));
        let init = ["mix", "init", "--dir", &dir, "--name", &name, "--listen", "127.0.0.1:0"];
        let known = ["--bank", "bank", "--directory", "directory", "--cash-within", "0s"];
        let exit: &[&str] = if number == 3 { &["--exit", "1-65535", "--exit-private"] } else { &[] };
        house.done(&[&init[..], &known, exit].concat());
    }
    house.done(&["directory", "allow", "mix1", "mix2", "mix3"]);
    let mut servers = vec![house.serve("log"), house.serve("bank"), house.serve("directory")];
    servers.extend((1..=3).map(|number| house.serve_by(&["mix", "serve", "--dir", &format!("mix{number}")])));
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "20", "--reference", "mixes"]);
    house.done(&["wallet", "withdraw", "15"]);
    (house, servers)
}

fn curl(proxy: &str, more: &[&str], url: &str) -> Vec<u8> {
    let arguments = ["--silent", "--show-error", "--fail", "--max-time", "120", "--socks5-hostname", proxy];
    let output = Command::new("curl").args(arguments).args(more).arg(url).output().expect("curl is installed");
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn curl_and_chromium_load_through_three_paid_mixes() {
    let (house, servers) = town();
    let port = web();
    let proxy = house.serve_by(&["proxy", "--directory", "directory", "--listen", "127.0.0.1:0"]);
    let address = proxy.ready["address"].as_str().expect("an address").to_owned();
    assert_eq!(proxy.ready["mixes"], 3);

    let page = curl(&address, &[], &format!("http://localhost:{port}/"));
    assert!(String::from_utf8_lossy(&page).contains("paid by the block"));
    let large = curl(&address, &["--proxy-user", "large:"], &format!("http://localhost:{port}/{LARGE}"));
    assert_eq!(large.len(), LARGE);
    assert!(large.iter().enumerate().all(|(at, found)| *found == byte(at)), "byte for byte");
    let browser = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"])
        .arg(format!("--user-data-dir={}", house.path("chromium").display()))
        .arg(format!("--proxy-server=socks5://{address}"))
        .args(["--proxy-bypass-list=<-loopback>", &format!("http://localhost:{port}/")])
        .output()
        .expect("chromium is installed by `cargo xtask test`");
    assert!(String::from_utf8_lossy(&browser.stdout).contains("paid by the block"), "{browser:?}");
    // The wallet's own way to its bank goes through them, too.
    house.done(&["wallet", "init", "--dir", "other", "--bank", "bank", "--log", "log", "--shop", "shop"]);
    let through = format!("socks5h://{address}");
    house.done(&["wallet", "open-account", "--dir", "other", "--proxy", &through]);

    assert_eq!(proxy.stop(), Some(0));
    // The sessions are over, so everything is cashed: what was forwarded, to the block, at each mix alike.
    let ticks: Vec<u64> = (1..=3).map(|number| cashed(&house, number)).collect();
    assert!(ticks.iter().all(|of_mix| *of_mix == ticks[0]), "{ticks:?}");
    assert!(ticks[0] > LARGE as u64 / 4_000, "{ticks:?}");
    for server in servers {
        assert_eq!(server.stop(), Some(0));
    }
}

/// How many ticks a mix has cashed, once it has cashed all.
fn cashed(house: &House, number: u32) -> u64 {
    let begun = Instant::now();
    loop {
        let status: Value = house.done(&["mix", "status", "--dir", &format!("mix{number}")]);
        let bank = &status[0];
        let (cashed, left) = (bank["cashed_ticks"].as_u64(), bank["uncashed_ticks"].as_u64());
        if left == Some(0) && cashed > Some(0) {
            return cashed.expect("a number");
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{status}");
        thread::sleep(Duration::from_millis(100));
    }
}
