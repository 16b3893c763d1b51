//! TLS of the main listener: certificate and key from PEM files, read again on HUP.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the wanted kind.
    #[error("{place}: {path} has no usable {what}: {source}")]
    File {
        /// Key of the configuration.
        place: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// The chain is empty.
    #[error("tls_cert: {0} has no certificate; write the PEM chain, the server's own one first")]
    NoCertificate(PathBuf),
    /// They do not belong together, or are not understood.
    #[error("tls_cert and tls_key: {0}; give the key of this certificate")]
    Pair(rustls::Error),
}

/// The configuration of new connections; may be replaced while others go on.
#[derive(Debug, Clone)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(files: &Files) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(RwLock::new(read(files)?))))
    }

    /// Reads the files again; new connections use them.
    ///
    /// # Errors
    /// See [`TlsError`]; what was in force stays.
    pub fn reload(&self, files: &Files) -> Result<(), TlsError> {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = read(files)?;
        Ok(())
    }

    /// What the next connection uses.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |place, what, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { place, path, what, source }
    };
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unusable("tls_cert", "certificate", &files.certificate))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(files.certificate.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unusable(
        "tls_key",
        "private key",
        &files.key,
    ))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
