//! Everything goes through the proxy: a real SOCKS5 server (Debian's `microsocks`), and before it somebody who writes down
//! who asks for what.
#![allow(clippy::panic)]

mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use process::House;

/// A stock SOCKS5 server on a free port.
struct Socks {
    child: Child,
    port: u16,
}

impl Socks {
    fn start() -> Self {
        let port = free_port();
        let child = Command::new("microsocks")
            .args(["-i", "127.0.0.1", "-p", &port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .expect("microsocks is installed by `cargo xtask test`");
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        Socks { child, port }
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port below the ephemeral ones.
fn free_port() -> u16 {
    let start = 20_000 + u16::try_from(std::process::id() % 5_000).expect("small") * 2;
    let free = (start..32_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("a free port")
}

type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// Takes SOCKS5 with user and password, writes down user and target, and hands on to the server without them.
fn recorder(upstream: u16) -> (u16, Seen) {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("binds");
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let record = Arc::clone(&record);
            // A client that goes away in the middle has nothing to be written down.
            thread::spawn(move || relay(client, upstream, &record));
        }
    });
    (port, seen)
}

fn relay(mut client: TcpStream, upstream: u16, seen: &Seen) -> std::io::Result<()> {
    let methods = counted(&mut client, 1)?;
    assert!(methods.contains(&2), "user and password are offered");
    client.write_all(&[5, 2])?;
    let user = counted(&mut client, 1)?;
    let password_len = byte(&mut client)?;
    let mut password = vec![0; usize::from(password_len)];
    client.read_exact(&mut password)?;
    client.write_all(&[1, 0])?;
    let mut head = [0; 4];
    client.read_exact(&mut head)?;
    let host = match head[3] {
        3 => counted(&mut client, 0)?,
        other => panic!("an address of type {other}: the name was looked up at home"),
    };
    let mut port = [0; 2];
    client.read_exact(&mut port)?;
    let target = format!("{}:{}", String::from_utf8_lossy(&host), u16::from_be_bytes(port));
    seen.lock().expect("sound").push((String::from_utf8_lossy(&user).into_owned(), target));

    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    server.write_all(&[5, 1, 0])?;
    server.read_exact(&mut [0; 2])?;
    // The name is looked up here, behind the proxy; the stock server would take whichever address comes first.
    server.write_all(&[&head[..3], &[1, 127, 0, 0, 1], &port[..]].concat())?;
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Both)
}

/// Bytes behind `skip` bytes and their count.
fn counted(stream: &mut TcpStream, skip: usize) -> std::io::Result<Vec<u8>> {
    stream.read_exact(&mut vec![0; skip])?;
    let mut bytes = vec![0; usize::from(byte(stream)?)];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn byte(stream: &mut TcpStream) -> std::io::Result<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

#[test]
fn everything_goes_through_the_proxy_and_each_circuit_has_a_name_of_its_own() {
    let house = House::furnished();
    std::fs::write(house.path("song.flac"), b"a song").expect("writes");
    house.done(&["shop", "add", "song.flac", "--price", "1"]);
    let servers = house.open();
    // The servers are known by name, which only the proxy may look up.
    let settings = std::fs::read_to_string(house.path("wallet/naulon.toml")).expect("reads");
    std::fs::write(house.path("wallet/naulon.toml"), settings.replace("127.0.0.1", "localhost")).expect("writes");
    let socks = Socks::start();
    let (port, seen) = recorder(socks.port);
    let proxy = format!("socks5h://127.0.0.1:{port}");
    let through = |args: &[&str]| house.done(&[&["wallet"], args, &["--proxy", &proxy]].concat());

    let account = through(&["open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "20", "--reference", "w"]);
    seen.lock().expect("sound").clear();
    through(&["withdraw", "10"]);
    let withdrawn: BTreeSet<String> = users(&seen);
    through(&["buy", "song.flac"]);
    let after_purchase = users(&seen);
    through(&["refresh"]);
    let all = seen.lock().expect("sound").clone();
    assert!(all.iter().all(|(_, target)| target.starts_with("localhost:")), "{all:?}");

    // One name: one circuit. A purchase's speaks to all three, but offers and descriptions are asked by others' names.
    assert!(withdrawn.len() >= 2, "the description anonymously, the order by the account: {withdrawn:?}");
    assert!(after_purchase.len() >= withdrawn.len() + 2, "{after_purchase:?}");
    let ports = |server: usize| {
        servers[server].ready["address"].as_str().expect("an address").rsplit(':').next().map(str::to_owned)
    };
    let mut of_user: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (user, target) in &all {
        of_user.entry(user).or_default().insert(target.rsplit(':').next().expect("a port"));
    }
    let [_, bank, shop] = [0, 1, 2].map(|server| ports(server).expect("a port"));
    let purchases = of_user.values().filter(|to| to.contains(bank.as_str()) && to.contains(shop.as_str())).count();
    assert_eq!(purchases, 1, "only the purchase's own circuit speaks to bank and shop: {of_user:?}");

    // With the proxy down nothing goes out, though everybody could be reached.
    let before = house.done(&["wallet", "balance", "--proxy", &proxy]);
    assert_eq!(before["account"], "10.00");
    drop(socks);
    for args in [&["withdraw", "1"][..], &["refresh"], &["buy", "song.flac"], &["items"]] {
        let down = house.run(&[&["wallet"], args, &["--proxy", &proxy, "--patience", "1s"]].concat());
        assert_ne!(down.code, Some(0), "{args:?} went out without the proxy");
    }
    let down = house.done(&["wallet", "balance", "--proxy", &proxy, "--patience", "1s"]);
    assert_eq!(down["account"], serde_json::Value::Null, "the bank was asked without the proxy");
    assert_eq!(house.done(&["audit"])["accounts"], "11.00", "nothing has happened there");

    // A password is not for the command line, and what would look names up here is no proxy.
    for wrong in ["socks5h://me:secret@127.0.0.1:9050", "socks5://127.0.0.1:9050"] {
        assert_eq!(house.run(&["wallet", "balance", "--proxy", wrong]).code, Some(1), "{wrong}");
    }
}

fn users(seen: &Seen) -> BTreeSet<String> {
    seen.lock().expect("sound").iter().map(|(user, _)| user.clone()).collect()
}
