//! A self-signed certificate for servers of the platform, with a key of its own: made when it is needed, written nowhere.
//!
//! One idea: an X.509 certificate is a few nested values in DER (RFC 5280, X.690), of which all but the name, the
//! addresses and the key are constants here. No client can verify it, as those that Azure's managers come with.

use std::net::Ipv4Addr;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]` and `[3]` of a certificate: its version, its extensions. `[7]` of a name: an address.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const IP_ADDRESS: u8 = 0x87;
/// Identifiers of objects, their tags and lengths included.
const ECDSA_WITH_SHA256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
const EC_PUBLIC_KEY: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
const PRIME256V1: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const COMMON_NAME: &[u8] = b"\x06\x03\x55\x04\x03";
const SUBJECT_ALT_NAME: &[u8] = b"\x06\x03\x55\x1d\x11";
/// From a fixed day on, and without an end (RFC 5280, section 4.1.2.5).
const BEGIN: &[u8] = b"250101000000Z";
const END: &[u8] = b"99991231235959Z";

/// A certificate of this name and these addresses, and its key.
pub(super) fn self_signed(
    name: &str,
    addresses: &[Ipv4Addr],
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), ring::error::Unspecified> {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random);
    let key = key.map_err(|_| ring::error::Unspecified)?;
    let algorithm = value(SEQUENCE, &[ECDSA_WITH_SHA256]);
    let signed = contents(name, addresses, &algorithm, key.public_key().as_ref());
    let signature = key.sign(&random, &signed)?;
    let certificate = value(SEQUENCE, &[&signed, &algorithm, &value(BIT_STRING, &[&[0], signature.as_ref()])]);
    let key = PrivatePkcs8KeyDer::from(document.as_ref().to_vec());
    Ok((CertificateDer::from(certificate), PrivateKeyDer::Pkcs8(key)))
}

/// What is signed. Its issuer is its subject.
fn contents(name: &str, addresses: &[Ipv4Addr], algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let common = value(SEQUENCE, &[COMMON_NAME, &value(UTF8_STRING, &[name.as_bytes()])]);
    let subject = value(SEQUENCE, &[&value(SET, &[&common])]);
    let validity = value(SEQUENCE, &[&value(UTC_TIME, &[BEGIN]), &value(GENERALIZED_TIME, &[END])]);
    let kind = value(SEQUENCE, &[EC_PUBLIC_KEY, PRIME256V1]);
    let key = value(SEQUENCE, &[&kind, &value(BIT_STRING, &[&[0], key])]);
    let names: Vec<_> = addresses.iter().flat_map(|address| value(IP_ADDRESS, &[&address.octets()])).collect();
    let names = value(OCTET_STRING, &[&value(SEQUENCE, &[&names])]);
    let extensions = value(SEQUENCE, &[&value(SEQUENCE, &[SUBJECT_ALT_NAME, &names])]);
    let version = value(VERSION, &[&value(INTEGER, &[&[2]])]);
    let serial = value(INTEGER, &[&[1]]);
    let extensions = value(EXTENSIONS, &[&extensions]);
    value(SEQUENCE, &[&version, &serial, algorithm, &subject, &validity, &subject, &key, &extensions])
}

/// A value in DER: its tag, its length, its parts.
fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = match body.len() {
        short @ 0..0x80 => vec![short as u8],
        middle @ 0x80..0x100 => vec![0x81, middle as u8],
        long => vec![0x82, (long >> 8) as u8, long as u8],
    };
    [&[tag], &length[..], &body].concat()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// A length up to 127 takes one byte, then two, then three (X.690, section 8.1.3).
    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (length, head) in [
            (127, &[0x04, 127][..]),
            (128, &[0x04, 0x81, 128]),
            (256, &[0x04, 0x82, 1, 0]),
            (700, &[0x04, 0x82, 2, 188]),
        ] {
            assert!(value(OCTET_STRING, &[&vec![7; length]]).starts_with(head), "{length}");
        }
    }

    #[test]
    fn each_has_a_key_of_its_own() {
        let [one, other] = [(); 2].map(|()| self_signed("x", &[Ipv4Addr::LOCALHOST]).unwrap());
        assert_ne!(one.0, other.0);
    }
}
