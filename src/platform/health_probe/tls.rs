//! TLS for HTTPS probes and tests: any certificate is accepted, as Azure's probes do (LB-10).

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

/// A connection, plain or not.
#[derive(Debug)]
pub enum Wire {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    pub fn secure(stream: TcpStream, peer: IpAddr, config: &Arc<ClientConfig>) -> Result<Self, Error> {
        let connection = ClientConnection::new(Arc::clone(config), ServerName::IpAddress(peer.into()))?;
        Ok(Self::Secure(Box::new(StreamOwned::new(connection, stream))))
    }

    /// Whether it waits for its socket to become writable, even without data to send.
    pub(super) fn wants_write(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Secure(stream) => stream.conn.wants_write(),
        }
    }

    /// Whether it can only proceed once data arrives.
    pub(super) fn wants_read(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Secure(stream) => stream.conn.is_handshaking() && !stream.conn.wants_write(),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Secure(stream) => stream.flush(),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(stream) => stream.as_fd(),
            Self::Secure(stream) => stream.sock.as_fd(),
        }
    }
}

/// For all connections of one client.
pub fn config() -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)));
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// Accepts every certificate, if only its owner has signed the handshake.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// The first words of TLS are the client's; then it waits for the server's. A plain connection has none of its own.
    #[test]
    fn a_client_of_tls_speaks_first_and_then_listens() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let plain = Wire::Plain(connect());
        assert!(!plain.wants_write() && !plain.wants_read());
        let mut secure = Wire::secure(connect(), Ipv4Addr::LOCALHOST.into(), &config().unwrap()).unwrap();
        assert!(secure.wants_write() && !secure.wants_read());
        if let Wire::Secure(stream) = &mut secure {
            let StreamOwned { conn, sock } = &mut **stream;
            conn.write_tls(sock).unwrap();
        }
        assert!(!secure.wants_write() && secure.wants_read());
    }
}
