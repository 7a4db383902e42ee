//! Which certificates are believed.
//!
//! The client connects to numbers, so a verifier of our own asks for the configured names. The client also reads the
//! system's certificates at each connection, and fails if it cannot, although it has no use for them: so they stay
//! within reach.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::rustls::client::WebPkiServerVerifier;
use async_nats::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use async_nats::rustls::crypto::{CryptoProvider, ring};
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use async_nats::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use nix::libc;

use crate::config::NatsSettings;
use crate::input;
use crate::server::{Needs, StartError};

use super::servers::Servers;

pub(super) const TLS_CA: &str = "sync.nats.tls_ca";

/// The largest file of certificates, in bytes: all that systems bring are a quarter of it.
const MAX_CERTIFICATES: usize = 1 << 20;

/// How long a pipe may take to bring them.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who signs the certificates that are believed.
#[derive(Debug)]
pub(super) struct Authorities {
    roots: RootCertStore,
    /// They are those of `sync.nats.tls_ca`, and not the system's.
    chosen: bool,
}

impl Authorities {
    /// Reads the certificates of the file, or the system's.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or that has no certificate.
    pub(super) fn read(nats: &NatsSettings) -> Result<Self, StartError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &nats.tls_ca else {
            // Those that are broken are left out, as everywhere.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(Self { roots, chosen: false });
        };
        let failed = |error| StartError::File { key: TLS_CA, path: path.into(), error };
        let bytes =
            input::read_whole(path, MAX_CERTIFICATES, PATIENCE).map_err(|error| failed(io::Error::other(error)))?;
        if bytes.len() > MAX_CERTIFICATES {
            return Err(failed(io::Error::other(format!("it has more than {MAX_CERTIFICATES} bytes"))));
        }
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let certificate = certificate.map_err(|error| failed(io::Error::other(error.to_string())))?;
            roots.add(certificate).map_err(|error| failed(io::Error::other(error)))?;
        }
        if roots.is_empty() {
            return Err(failed(io::Error::other("it has no certificate in PEM")));
        }
        Ok(Self { roots, chosen: true })
    }

    /// Says what is needed later: what the client reads at each connection.
    #[expect(clippy::unused_self, reason = "who reads certificates now is who needs them later")]
    pub(super) fn say_needs(&self, needs: &mut Needs) {
        directories().into_iter().for_each(|directory| needs.reads_directory(directory));
        needs.system_calls(&[libc::SYS_getdents64]);
    }

    /// Returns whether every server has to show a certificate.
    pub(super) fn is_chosen(&self) -> bool {
        self.chosen
    }

    /// Returns who signs the certificates that are believed.
    pub(super) fn in_words(&self) -> &'static str {
        if self.chosen {
            "a certificate in sync.nats.tls_ca"
        } else {
            "a certificate of the system; sync.nats.tls_ca names others"
        }
    }

    /// Returns whether no certificate is believed.
    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Returns how connections of TLS are made.
    ///
    /// # Errors
    ///
    /// There is none that this build could have.
    pub(super) fn config(self, servers: Servers) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let by_name = if self.roots.is_empty() {
            None
        } else {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots), Arc::clone(&provider)).build();
            Some(verifier.map_err(|error| Error::General(error.to_string()))?)
        };
        let verifier = Verifier { servers, by_name, provider };
        Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
    }
}

/// Reads the system's certificates as the client does at each connection.
///
/// # Errors
///
/// What its connections would fail with.
pub(super) fn check_system() -> Result<(), String> {
    match rustls_native_certs::load_native_certs().errors.first() {
        Some(error) if ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| env::var_os(name).is_some()) => {
            Err(format!("{error}; the environment says so: start the tracker without SSL_CERT_FILE and SSL_CERT_DIR"))
        }
        Some(error) => Err(error.to_string()),
        None => Ok(()),
    }
}

/// Returns the directories in which the system's certificates are, and those of the targets of links to them.
fn directories() -> BTreeSet<PathBuf> {
    let found = openssl_probe::probe();
    let files = found.cert_file.iter().cloned();
    let listed = found.cert_dir.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    let files = files.chain(listed.map(|entry| entry.path()));
    let both = files.flat_map(|file| [file.canonicalize().ok(), Some(file)]).flatten();
    let parents = both.filter_map(|file| file.parent().map(Path::to_owned));
    // A directory in / is not reason enough to permit all of /.
    found.cert_dir.iter().cloned().chain(parents).filter(|directory| directory != Path::new("/")).collect()
}

/// Asks for the names that the configuration gives to the address of a connection.
#[derive(Debug)]
struct Verifier {
    servers: Servers,
    /// None where there is nobody whose signature would be believed.
    by_name: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by_name = self.by_name.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        let names = match server {
            ServerName::IpAddress(ip) => self.servers.names_of((*ip).into()),
            // The client is given no names.
            _ => vec![server.to_owned()],
        };
        let mut refusal = Error::from(CertificateError::UnknownIssuer);
        for name in names {
            match by_name.verify_server_cert(certificate, between, &name, ocsp, now) {
                Ok(verified) => return Ok(verified),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        async_nats::rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        async_nats::rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
