//! TLS for clients, from a certificate and a key in files.
//!
//! For a server without a proxy before it. Certificates are renewed every few weeks by other programs (certbot,
//! cert-manager), which replace the files: so the files are read again every few seconds, and what has changed is used from
//! the next connection on. Files that do not fit together, as in the middle of a renewal, change nothing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{MissedTickBehavior, interval},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    },
    server::TlsStream,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::TlsFiles;

/// How often the files are read again.
const RELOAD_EVERY: Duration = Duration::from_secs(5);

/// Why a certificate and its key are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{setting}: {}: {source}", path.display())]
    Read {
        /// Name of the setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{setting}: {}: {reason}", path.display())]
    Content {
        /// Name of the setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// The certificate is of another key, or of a kind that is not supported.
    #[error(
        "server.tls_certificate and server.tls_key do not fit together: {0}; expected a certificate chain, the server's \
         own first, and the private key of that one"
    )]
    Mismatch(rustls::Error),
}

/// Accepts TLS connections with the newest certificate.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<RwLock<Loaded>>,
}

struct Loaded {
    /// What was in the files.
    pem: Pem,
    acceptor: TlsAcceptor,
}

/// The contents of both files.
#[derive(PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let pem = Pem::read(files)?;
        let acceptor = pem.acceptor(files)?;
        Ok(Self { files: files.clone(), current: Arc::new(RwLock::new(Loaded { pem, acceptor })) })
    }

    /// Reads the files again and again, until `stop` is canceled.
    pub async fn watch(self, stop: CancellationToken) {
        let mut rounds = interval(RELOAD_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None;
        while tokio::select! { _ = rounds.tick() => true, () = stop.cancelled() => false } {
            let tls = self.clone();
            let Ok(outcome) = tokio::task::spawn_blocking(move || tls.reload()).await else { continue };
            if let Ok(true) = outcome {
                info!("the TLS certificate was renewed");
            }
            let problem = outcome.err().map(|error| error.to_string());
            // Once, not every five seconds.
            if let Some(error) = &problem
                && problem != last
            {
                error!(error, "the new TLS certificate is of no use; the old one stays");
            }
            last = problem;
        }
    }

    /// Uses what is in the files now; whether that is something else than before.
    ///
    /// # Errors
    /// See [`TlsError`]; then nothing changes.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let pem = Pem::read(&self.files)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).pem == pem {
            return Ok(false);
        }
        let acceptor = pem.acceptor(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Loaded { pem, acceptor };
        Ok(true)
    }

    /// Does the handshake with a client.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let acceptor = self.current.read().unwrap_or_else(PoisonError::into_inner).acceptor.clone();
        acceptor.accept(stream).await
    }
}

impl Pem {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |setting, path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read { setting, path: path.to_owned(), source })
        };
        Ok(Self {
            certificate: read("server.tls_certificate", &files.certificate)?,
            key: read("server.tls_key", &files.key)?,
        })
    }

    fn acceptor(&self, files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
        let content = |setting, path: &Path, reason: String| TlsError::Content {
            setting,
            path: path.to_owned(),
            reason,
        };
        let certificate = |reason| content("server.tls_certificate", &files.certificate, reason);
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, pem::Error>>()
            .map_err(|error| certificate(format!("not a PEM file: {error}")))?;
        if chain.is_empty() {
            return Err(certificate(
                "no certificate in it; expected PEM, \"-----BEGIN CERTIFICATE-----\"".into(),
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            let expected = "expected PEM without a password, \"-----BEGIN PRIVATE KEY-----\"";
            content("server.tls_key", &files.key, format!("no private key in it ({error}); {expected}"))
        })?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Mismatch)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate that vouches for itself, and its key, in these files.
    fn issue(files: &TlsFiles) {
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&files.certificate, issued.cert.pem()).unwrap();
        std::fs::write(&files.key, issued.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn files_in_the_middle_of_a_renewal_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            TlsFiles { certificate: folder.path().join("chain.pem"), key: folder.path().join("key.pem") };
        issue(&files);
        let tls = Tls::load(&files).unwrap();
        let first = std::fs::read(&files.key).unwrap();
        assert!(!tls.reload().unwrap());
        issue(&files);
        let second = std::fs::read(&files.key).unwrap();
        std::fs::write(&files.key, first).unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Mismatch(_))));
        std::fs::remove_file(&files.key).unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Read { setting: "server.tls_key", .. })));
        std::fs::write(&files.key, second).unwrap();
        assert!(tls.reload().unwrap() && !tls.reload().unwrap());
    }
}
