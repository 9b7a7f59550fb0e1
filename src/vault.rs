//! Client secrets at rest: each is sealed with one key for the secret that it belongs to.
//!
//! Nothing here prints a key or a client secret, and both are wiped when they are dropped. The worker never needs
//! this module.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::domain::SecretId;
use crate::domain::hex::hex;
use crate::files;
use crate::files::{FileError, Links};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Why a client secret cannot be sealed or opened, or why a key cannot be read. It never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("there is no vault key file {}; `batchshare keygen` prints a key", path.display())]
    KeyMissing { path: PathBuf },
    #[error("the vault key file {} must hold {KEY_BYTES} bytes as base64 and nothing else", path.display())]
    KeyFormat { path: PathBuf },
    #[error("the vault key file {0}")]
    KeyFile(FileError),
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// The client secret was sealed with another key.
    #[error("sealed with the vault key {sealed_with}, while the key in use is {in_use}")]
    WrongKey { sealed_with: String, in_use: String },
    /// The key is right and the data is not: it belongs to another secret, or was changed.
    #[error("the sealed client secret does not belong to secret {secret}, or was changed")]
    NotAuthentic { secret: SecretId },
    #[error("the client secret is too long to be sealed")]
    TooLong,
}

/// The key that seals and opens client secrets.
#[derive(Clone)]
pub struct VaultKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: String,
}

impl std::fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl VaultKey {
    /// Reads a key file that the operator named: 32 bytes as base64, which nobody else can read
    /// ([`files::read_secret`] has the rule).
    ///
    /// # Errors
    /// The file is missing, open to others, or theirs, or it holds something else.
    pub fn from_file(path: &Path) -> Result<Self, VaultError> {
        Self::read(path, Links::Follow)
    }

    /// Reads a key file that the program made, or makes it. If two processes make it at once, both get the key of the
    /// first. The file is on disk when this returns, because what is sealed with a lost key is lost.
    ///
    /// # Errors
    /// As [`VaultKey::from_file`]; or the file cannot be written.
    pub fn kept_in(path: &Path) -> Result<Self, VaultError> {
        match Self::read(path, Links::Refuse) {
            Err(VaultError::KeyMissing { .. }) => {}
            found => return found,
        }
        match Self::generate()?.keep_in(path) {
            Ok(()) | Err(VaultError::KeyFile(FileError::Exists { .. })) => Self::read(path, Links::Refuse),
            Err(error) => Err(error),
        }
    }

    /// A new key, which is not stored anywhere yet.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<Self, VaultError> {
        let bytes = <[u8; KEY_BYTES]>::try_generate().map_err(|_| VaultError::NoRandomness)?;
        Ok(Self::of(Zeroizing::new(bytes)))
    }

    /// Writes the key to disk, into a file with mode 0600 that must not be there yet.
    ///
    /// # Errors
    /// Something is there already, or the file cannot be written.
    pub fn keep_in(&self, path: &Path) -> Result<(), VaultError> {
        let mut text = Zeroizing::new(STANDARD.encode(self.bytes.as_slice()));
        text.push('\n');
        files::create_secret(path, text.as_bytes()).map_err(VaultError::KeyFile)?;
        tracing::info!(file = %path.display(), "made a key for client secrets; keep a copy of it");
        Ok(())
    }

    /// Reads a key file that the program made; `None` if there is no file.
    ///
    /// # Errors
    /// As [`VaultKey::from_file`].
    pub fn found_in(path: &Path) -> Result<Option<Self>, VaultError> {
        match Self::read(path, Links::Refuse) {
            Err(VaultError::KeyMissing { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    fn read(path: &Path, links: Links) -> Result<Self, VaultError> {
        let text = files::read_secret(path, links).map_err(|error| match error {
            FileError::Missing { path } => VaultError::KeyMissing { path },
            error => VaultError::KeyFile(error),
        })?;
        Self::from_base64(&text).ok_or_else(|| VaultError::KeyFormat { path: path.to_owned() })
    }

    /// A new key, as it is written in a key file.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate_base64() -> Result<Zeroizing<String>, VaultError> {
        let bytes = <[u8; KEY_BYTES]>::try_generate().map_err(|_| VaultError::NoRandomness)?;
        Ok(Zeroizing::new(STANDARD.encode(Zeroizing::new(bytes))))
    }

    /// The first 8 hex digits of the key's SHA-256. They tell keys apart, and tell nothing about the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals a client secret for one secret. Returns nonce and ciphertext, and the key's id.
    ///
    /// # Errors
    /// The system gives no random bytes, or the client secret has many gigabytes.
    pub fn seal(&self, secret: SecretId, value: &SecretString) -> Result<(Vec<u8>, String), VaultError> {
        let nonce = XNonce::try_generate().map_err(|_| VaultError::NoRandomness)?;
        let aad = secret.get().to_be_bytes();
        let payload = Payload { msg: value.expose_secret().as_bytes(), aad: &aad };
        let ciphertext = self.cipher().encrypt(&nonce, payload).map_err(|_| VaultError::TooLong)?;
        let mut sealed = nonce.to_vec();
        sealed.extend_from_slice(&ciphertext);
        Ok((sealed, self.id.clone()))
    }

    /// Opens what [`VaultKey::seal`] made for the same secret.
    ///
    /// # Errors
    /// It was sealed with another key or for another secret, or it was changed.
    pub fn open(&self, secret: SecretId, sealed: &[u8], key_id: &str) -> Result<SecretString, VaultError> {
        if key_id != self.id {
            return Err(VaultError::WrongKey { sealed_with: key_id.to_owned(), in_use: self.id.clone() });
        }
        let not_authentic = || VaultError::NotAuthentic { secret };
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(not_authentic)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| not_authentic())?;
        let aad = secret.get().to_be_bytes();
        let payload = Payload { msg: ciphertext, aad: &aad };
        let plain = self.cipher().decrypt(&nonce, payload).map_err(|_| not_authentic())?;
        let plain = Zeroizing::new(plain);
        std::str::from_utf8(&plain).map(SecretString::from).map_err(|_| not_authentic())
    }

    fn from_base64(text: &[u8]) -> Option<Self> {
        let decoded = Zeroizing::new(STANDARD.decode(text.trim_ascii()).ok()?);
        let bytes = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(decoded.as_slice()).ok()?);
        Some(Self::of(bytes))
    }

    fn of(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let id = hex(&Sha256::digest(bytes.as_slice())[..4]);
        Self { bytes, id }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn secret(id: i64) -> SecretId {
        SecretId::new(id).expect("an id")
    }

    fn key() -> VaultKey {
        VaultKey::from_base64(VaultKey::generate_base64().expect("random").as_bytes()).expect("a key")
    }

    #[test]
    fn what_was_sealed_opens_for_its_secret_alone() {
        let (key, value) = (key(), SecretString::from("cs_höchst_geheim"));
        let (sealed, id) = key.seal(secret(7), &value).expect("sealed");
        assert_eq!(sealed.len(), NONCE_BYTES + value.expose_secret().len() + 16);
        assert_eq!(key.open(secret(7), &sealed, &id).expect("opened").expose_secret(), "cs_höchst_geheim");
        assert!(matches!(key.open(secret(8), &sealed, &id), Err(VaultError::NotAuthentic { .. })));
    }

    #[test]
    fn the_same_value_is_never_sealed_the_same() {
        let (key, value) = (key(), SecretString::from("same"));
        let one = key.seal(secret(7), &value).expect("sealed").0;
        assert_ne!(one, key.seal(secret(7), &value).expect("sealed").0);
    }

    #[test]
    fn another_key_is_named_and_a_changed_byte_is_noticed() {
        let (one, other) = (key(), key());
        let (mut sealed, id) = one.seal(secret(7), &SecretString::from("value")).expect("sealed");
        let error = other.open(secret(7), &sealed, &id).expect_err("another key");
        assert!(matches!(error, VaultError::WrongKey { .. }), "{error}");
        assert!(error.to_string().contains(one.id()) && error.to_string().contains(other.id()));
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        assert!(matches!(one.open(secret(7), &sealed, &id), Err(VaultError::NotAuthentic { .. })));
        assert!(matches!(one.open(secret(7), &[1, 2], &id), Err(VaultError::NotAuthentic { .. })));
    }

    #[test]
    fn a_key_file_is_private_kept_and_read_back() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("vault.key");
        assert!(matches!(VaultKey::from_file(&path), Err(VaultError::KeyMissing { .. })));
        assert!(VaultKey::found_in(&path).expect("none").is_none());
        let made = VaultKey::kept_in(&path).expect("made");
        assert_eq!(std::fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        assert_eq!(VaultKey::from_file(&path).expect("read").id(), made.id());
        assert_eq!(VaultKey::kept_in(&path).expect("still there").id(), made.id());
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("folder").count(),
            1,
            "nothing unfinished is left"
        );

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("chmod");
        assert!(VaultKey::from_file(&path).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        let error = VaultKey::from_file(&path).expect_err("open to everybody");
        assert!(error.to_string().contains("0644") && error.to_string().contains("0600"), "{error}");
    }

    #[test]
    fn of_many_who_make_a_key_at_once_all_have_the_same() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("vault.key");
        let path = &path;
        let ids: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(move || VaultKey::kept_in(path).expect("a key").id().to_owned()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(ids.len(), 1, "{ids:?}");
    }

    #[test]
    fn a_file_with_something_else_is_no_key_and_is_not_repeated() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("vault.key");
        for text in ["", "hunter2", "aHVudGVyMg==", &"A".repeat(88)] {
            std::fs::write(&path, text).expect("write");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
            let error = VaultKey::from_file(&path).expect_err("no key");
            assert!(matches!(error, VaultError::KeyFormat { .. }), "{error}");
            assert!(text.is_empty() || !format!("{error} {error:?}").contains(text));
        }
    }

    #[test]
    fn nothing_prints_the_key() {
        let text = VaultKey::generate_base64().expect("random");
        let key = VaultKey::from_base64(text.as_bytes()).expect("a key");
        assert_eq!(format!("{key:?}"), format!("VaultKey {{ id: \"{}\", .. }}", key.id()));
        assert_eq!(key.id().len(), 8);
    }
}
