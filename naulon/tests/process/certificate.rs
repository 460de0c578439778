//! A test authority, and a certificate of it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::House;

/// An authority, and a certificate of it for this machine's loopback address.
pub fn certify(house: &House) {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Test authority");
    let key = KeyPair::generate().expect("a key");
    std::fs::write(house.path("ca.pem"), authority.self_signed(&key).expect("signs").pem()).expect("writes");
    let issuer = Issuer::new(authority, key);
    let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    server.distinguished_name.push(DnType::CommonName, "Test server");
    let key = KeyPair::generate().expect("a key");
    std::fs::write(house.path("tls.pem"), server.signed_by(&key, &issuer).expect("signs").pem()).expect("writes");
    let file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(house.path("tls.key"));
    file.and_then(|mut file| file.write_all(key.serialize_pem().as_bytes())).expect("writes");
}
