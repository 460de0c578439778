//! The conventions of the web, by real processes: a purchase over TLS, listeners, documents, metrics.

mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use process::certificate::certify;
use process::{House, Server};
use serde_json::Value;

/// Puts something on the shelf, opens, and buys it.
fn one_purchase(house: &House) -> [Server; 3] {
    std::fs::write(house.path("song.flac"), vec![7; 100_000]).expect("writes");
    house.done(&["shop", "add", "song.flac", "--price", "3.70"]);
    let servers = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "12.50"]);
    house.done(&["wallet", "withdraw", "10"]);
    let bought = house.done(&["wallet", "buy", "song.flac"]);
    let file = std::fs::read(bought["file"].as_str().expect("a file")).expect("reads");
    assert!(file == vec![7; 100_000], "the file is another one");
    servers
}

#[test]
fn a_purchase_over_tls() {
    let house = House::new();
    certify(&house);
    let house = house.furnish_with(&["--certificate", "tls.pem", "--tls-key", "tls.key", "--ca", "ca.pem"]);
    let [log, bank, shop] = one_purchase(&house);
    let identity = bank.ready["identity"].as_str().expect("a line");
    assert!(identity.contains("@https://127.0.0.1:") && identity.contains(";account=https://127.0.0.1:"), "{identity}");

    // Who does not speak TLS is not answered.
    let mut plain = TcpStream::connect(bank.ready["address"].as_str().expect("an address")).expect("connects");
    plain.write_all(b"GET /v1/bank HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("is sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    // Who does not know the authority does not believe the servers, and is told why.
    let settings = std::fs::read_to_string(house.path("wallet/naulon.toml")).expect("reads");
    let pinned = format!(";ca={}", house.path("ca.pem").canonicalize().expect("is there").display());
    assert!(settings.contains(&pinned), "{settings}");
    std::fs::write(house.path("wallet/naulon.toml"), settings.replace(&pinned, "")).expect("writes");
    let refused = house.run(&["wallet", "items"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.error.contains("an authority that is not trusted here"), "{}", refused.error);

    // A key that others may read keeps a server from starting.
    assert_eq!([log, bank, shop].map(Server::stop), [Some(0); 3]);
    std::fs::set_permissions(house.path("tls.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("is set");
    let open = house.run(&["log", "serve"]);
    assert_eq!(open.code, Some(1));
    assert!(open.error.contains("tls.key can be read by others (mode 644)"), "{}", open.error);
}

#[test]
fn addresses_beyond_loopback_need_a_certificate() {
    let house = House::new();
    let refused = house.run(&["log", "init", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.error.contains("without TLS a server listens on loopback only"), "{}", refused.error);
    // An address that says so in the settings is refused as well.
    house.done(&["log", "init", "--listen", "127.0.0.1:0"]);
    let mut command = house.command(&["log", "serve"]);
    let mut child = command.env("NAULON_LOG_LISTEN_PUBLIC", "0.0.0.0:20001").spawn().expect("starts");
    let _ = child.stdin.take().expect("standard input").write_all(process::PASSPHRASE.as_bytes());
    let output = child.wait_with_output().expect("ends");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not a loopback address"));
}

/// An answer: its status, its media type, its body.
struct Answer {
    status: u16,
    content_type: String,
    body: String,
}

impl Answer {
    fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Where a listener is.
fn listeners(house: &House, server: &Server) -> BTreeMap<&'static str, String> {
    let text = |key: &str| server.ready[key].as_str().expect("an address").to_owned();
    let operator = text("operator");
    let socket = operator.strip_prefix("unix:").expect("a socket in the party's folder");
    let operator = format!("unix:{}", house.path(socket).display());
    let account =
        text("identity").split([';', '#']).find_map(|part| part.strip_prefix("account=http://").map(str::to_owned));
    let mut all = BTreeMap::from([("public", text("address")), ("operator", operator)]);
    all.extend(account.map(|address| ("account", address)));
    all
}

fn ask(at: &str, method: &str, path: &str) -> Answer {
    let body = if method == "post" { "{}" } else { "" };
    let method = method.to_uppercase();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut answer = Vec::new();
    match at.strip_prefix("unix:") {
        Some(path) => {
            let mut stream = UnixStream::connect(path).expect("connects");
            stream.write_all(request.as_bytes()).expect("is sent");
            stream.read_to_end(&mut answer).expect("is answered");
        }
        None => {
            let mut stream = TcpStream::connect(at).expect("connects");
            stream.write_all(request.as_bytes()).expect("is sent");
            stream.read_to_end(&mut answer).expect("is answered");
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let of = |line: &str| line.strip_prefix("content-type: ").map(str::to_owned);
    Answer { status, content_type: head.lines().find_map(of).unwrap_or_default(), body: body.to_owned() }
}

/// A path that leads somewhere.
fn filled(template: &str) -> String {
    let id = "A".repeat(43);
    [
        ("{code}", "spent"),
        ("{index}", "0"),
        ("{path}", "0/000.p/1"),
        ("{tile}", "0/000.p/1"),
        ("{id}", &id),
        ("{digest}", &id),
    ]
    .iter()
    .fold(template.to_owned(), |path, (name, value)| path.replace(name, value))
}

/// Every route that a server documents is answered on its listeners, by what it documents, and on no other listener.
#[test]
fn documents_say_what_servers_answer() {
    let house = House::furnished();
    let servers = one_purchase(&house);
    let mut operations = 0;
    for server in &servers {
        let listeners = listeners(&house, server);
        let document: Value =
            serde_json::from_str(&ask(&listeners["public"], "get", "/openapi.json").body).expect("JSON");
        let role = server.ready["role"].as_str().expect("a role");
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/api/{role}.json"));
        let kept: Value = serde_json::from_slice(&std::fs::read(kept).expect("reads")).expect("JSON");
        assert!(kept == document, "docs/api/{role}.json is another document than the server's");
        for (template, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                operations += 1;
                for (listener, at) in &listeners {
                    let answer = ask(at, method, &filled(template));
                    let (code, status) = (answer.code(), answer.status);
                    let what = format!("{role} {listener} {method} {template}: {status} {code}");
                    if operation["tags"].as_array().expect("tags").contains(&Value::from(*listener)) {
                        // Neither log nor bank has witnesses, and so no cosigned checkpoint; nor does any shop have those goods.
                        let lacking = ["/checkpoint/cosigned", "/register/checkpoint/cosigned", "/v1/goods/{digest}"];
                        let may_lack = lacking.contains(&template.as_str());
                        let is_missing = code == "not_found" && !may_lack;
                        assert!(!is_missing && code != "wrong_method", "{what}");
                        let documented = &operation["responses"][status.to_string()];
                        assert!(
                            documented["content"][&answer.content_type].is_object(),
                            "{what} {}",
                            answer.content_type
                        );
                        if status >= 400 {
                            assert!(
                                documented["x-codes"].as_array().expect("codes").contains(&Value::from(code)),
                                "{what}"
                            );
                        }
                    } else {
                        let wrong_method = methods.as_object().is_some_and(|methods| {
                            methods
                                .values()
                                .any(|other| other["tags"].as_array().expect("tags").contains(&Value::from(*listener)))
                        });
                        assert_eq!(code, if wrong_method { "wrong_method" } else { "not_found" }, "{what}");
                    }
                }
            }
        }
        for path in ["/", "/v1", "/v1/nothing", "/metrics/", "/problems/", "/v2/bank"] {
            for at in listeners.values() {
                assert_eq!(ask(at, "get", path).code(), "not_found", "{role} {path}");
            }
        }
        assert_eq!(ask(&listeners["operator"], "get", "/healthz").body, "ok\n");
        assert_eq!(ask(&listeners["operator"], "get", "/readyz").body, "ok\n");
    }
    assert!(operations > 20, "{operations}");
}

/// The names of all series of a scrape, and its labels.
fn scrape(text: &str) -> (BTreeSet<String>, BTreeMap<String, BTreeSet<String>>) {
    let (mut names, mut labels) = (BTreeSet::new(), BTreeMap::<_, BTreeSet<_>>::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        let (name, rest) = series.split_once('{').unwrap_or((series, ""));
        names.insert(name.to_owned());
        for label in rest.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').expect("a label");
            labels.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
        }
    }
    (names, labels)
}

/// What dashboard and alert rules speak of is in the scrapes of servers that work, and no label says who was there.
#[test]
fn dashboard_and_alerts_speak_of_what_is_measured() {
    let house = House::furnished();
    let servers = one_purchase(&house);
    let (mut names, mut labels) = (BTreeSet::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for server in &servers {
        let listeners = listeners(&house, server);
        assert_eq!(
            ask(&listeners["public"], "post", "/v1/exchanges").code() == "malformed",
            server.ready["role"] == "bank"
        );
        let metrics = ask(&listeners["operator"], "get", "/metrics");
        assert_eq!((metrics.status, metrics.content_type.as_str()), (200, "text/plain; version=0.0.4"));
        let (more, with) = scrape(&metrics.body);
        names.extend(more);
        for (label, values) in with {
            labels.entry(label).or_default().extend(values);
        }
    }
    let known = ["code", "le", "route", "state", "status", "store", "thread"];
    assert_eq!(labels.keys().map(String::as_str).collect::<Vec<_>>(), known);
    for value in labels.values().flatten() {
        assert!(value.len() <= 24, "{value} is long enough to name somebody");
    }
    assert_eq!(labels["state"], BTreeSet::from(["committed", "done", "locked"].map(str::to_owned)));

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("reads");
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut expressions: Vec<String> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"))
        .map(|target| target["expr"].as_str().expect("an expression").to_owned())
        .collect();
    let rules = yaml_rust2::YamlLoader::load_from_str(&read("alerts.yml")).expect("YAML").remove(0);
    for rule in rules["groups"][0]["rules"].as_vec().expect("rules") {
        for key in ["alert", "expr"] {
            assert!(rule[key].as_str().is_some(), "{rule:?}");
        }
        for key in ["summary", "action"] {
            assert!(rule["annotations"][key].as_str().is_some(), "{rule:?}");
        }
        expressions.push(rule["expr"].as_str().expect("an expression").to_owned());
    }
    assert!(expressions.len() > 20, "{}", expressions.len());
    let mut spoken_of = BTreeSet::new();
    for expression in &expressions {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: Vec<_> = words.filter(|word| word.starts_with("naulon_")).collect();
        assert!(!metrics.is_empty(), "{expression}");
        for metric in metrics {
            assert!(names.contains(metric), "{metric} of {expression} is in no scrape: {names:?}");
            spoken_of.insert(metric.to_owned());
        }
        assert_eq!(expression.matches('(').count(), expression.matches(')').count(), "{expression}");
    }
    // Nothing is measured that nobody looks at.
    let stem = |name: &str| {
        ["_bucket", "_sum", "_count"].iter().fold(name.to_owned(), |name, end| name.trim_end_matches(end).to_owned())
    };
    let stems = |names: &BTreeSet<String>| names.iter().map(|name| stem(name)).collect::<BTreeSet<_>>();
    let unseen: Vec<_> = stems(&names).difference(&stems(&spoken_of)).cloned().collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}
