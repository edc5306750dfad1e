//! The files that the processes of a control plane read: keys, tokens, kubeconfigs, audit policy.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

/// The user of the bench itself: cluster administrator, and in audit records never mistaken for the operator.
pub const BENCH_USER: &str = "bench";

/// The user that KWOK acts as.
pub const KWOK_USER: &str = "kwok";

/// Tokens of the users that are no service accounts.
pub(super) struct Tokens {
    pub bench: String,
    pub kwok: String,
    pub controller_manager: String,
    pub scheduler: String,
}

impl Tokens {
    pub(super) fn random() -> Result<Self> {
        Ok(Self {
            bench: random_token()?,
            kwok: random_token()?,
            controller_manager: random_token()?,
            scheduler: random_token()?,
        })
    }

    /// The API server's `--token-auth-file`: token, user, uid, groups.
    pub(super) fn file(&self) -> String {
        format!(
            "{},{BENCH_USER},{BENCH_USER},\"system:masters\"\n{},{KWOK_USER},{KWOK_USER},\"system:masters\"\n\
             {},system:kube-controller-manager,kcm,\n{},system:kube-scheduler,scheduler,\n",
            self.bench, self.kwok, self.controller_manager, self.scheduler
        )
    }
}

fn random_token() -> Result<String> {
    let mut bytes = [0_u8; 24];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| anyhow!("the system gave no random bytes"))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// The keys of service account tokens, as PEM.
pub(super) struct SigningKeys {
    /// Signs (PKCS#8, P-256).
    pub private: String,
    /// Checks (SubjectPublicKeyInfo).
    pub public: String,
}

/// Fresh keys.
pub(super) fn signing_keys() -> Result<SigningKeys> {
    /// What precedes the point in the SubjectPublicKeyInfo of a P-256 key (RFC 5480): its two object identifiers and lengths.
    const PREFIX: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
        .map_err(|_| anyhow!("no signing key could be made"))?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
        .map_err(|error| anyhow!("our own signing key: {error}"))?;
    let public = [&PREFIX, pair.public_key().as_ref()].concat();
    Ok(SigningKeys {
        private: pem::encode(&pem::Pem::new("PRIVATE KEY", document.as_ref())),
        public: pem::encode(&pem::Pem::new("PUBLIC KEY", public)),
    })
}

/// How a program reaches an API server.
#[derive(Debug, Clone)]
pub struct Access<'a> {
    /// `https://host:port`, or `http://` for a proxy.
    pub server: &'a str,
    /// The file of the certificate authority; none for `http://`.
    pub certificate_authority: Option<&'a Path>,
    /// How it says who it is.
    pub token: Token<'a>,
    /// The namespace that a client uses when it names none.
    pub namespace: &'a str,
}

/// A bearer token.
#[derive(Debug, Clone, Copy)]
pub enum Token<'a> {
    /// Stands in the kubeconfig.
    Inline(&'a str),
    /// Stands in a file that is read again from time to time, since it may be renewed.
    File(&'a Path),
}

/// Writes a kubeconfig with one context, readable by the owner only.
pub fn write_kubeconfig(path: &Path, access: &Access<'_>) -> Result<()> {
    let mut cluster = serde_json::json!({"server": access.server});
    if let Some(file) = access.certificate_authority {
        cluster["certificate-authority"] = file.display().to_string().into();
    }
    let user = match access.token {
        Token::Inline(token) => serde_json::json!({"token": token}),
        Token::File(path) => serde_json::json!({"tokenFile": path}),
    };
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": cluster}],
        "users": [{"name": "bench", "user": user}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": access.namespace}}],
        "current-context": "bench",
    });
    let text = serde_yaml::to_string(&config).context("write a kubeconfig as YAML")?;
    write_private(path, &text)
}

/// Writes a file that only the owner can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("create {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("write {}", path.display()))
}

/// Who wrote what, with the bodies where a test wants to see the fields; the system's own reads and renewals are left out for their number.
pub(super) const AUDIT_POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  users: ["bench", "kwok", "system:kube-scheduler", "system:kube-controller-manager", "system:apiserver"]
  verbs: [get, list, watch]
- level: None
  userGroups: ["system:serviceaccounts:kube-system"]
  verbs: [get, list, watch]
- level: None
  users: ["kwok"]
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
  - {group: "", resources: [nodes/status]}
- level: None
  nonResourceURLs: ["/healthz*", "/readyz*", "/livez*", "/version", "/openapi/*"]
- level: RequestResponse
  verbs: [create, update, patch, delete, deletecollection]
  resources:
  - {group: agentpool.dev}
  - {group: apps}
  - {group: autoscaling}
- level: Request
  verbs: [create, update, patch, delete, deletecollection]
  resources:
  - {group: "", resources: [pods, pods/eviction, pods/binding]}
  - {group: coordination.k8s.io, resources: [leases]}
- level: Metadata
"#;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn no_two_control_planes_have_the_same_key_or_token() {
        assert_ne!(
            signing_keys().unwrap().public,
            signing_keys().unwrap().public
        );
        assert_ne!(random_token().unwrap(), random_token().unwrap());
        assert!(
            signing_keys()
                .unwrap()
                .private
                .starts_with("-----BEGIN PRIVATE KEY-----")
        );
    }
}
