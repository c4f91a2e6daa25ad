//! The options that say how the hub shall be somebody in a cluster, and the body that they make.
//!
//! Must not know: what is done with it.

use std::path::{Path, PathBuf};

use flotilla_types::cluster::{ClusterCreate, EksAccess, OidcAccess};

use crate::error::{CliError, Doing};
use crate::kubeconfig;

/// Credentials of one kind. Secrets come in files, never as arguments, which others on this machine can see.
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
pub(crate) struct Access {
    /// Kubeconfig with which the hub shall reach it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server", "token_file", "client_cert", "service_account", "oidc_issuer", "eks_cluster"])]
    kubeconfig: Option<PathBuf>,

    /// Context in that kubeconfig, instead of its current one
    #[arg(long, requires = "kubeconfig")]
    context: Option<String>,

    /// URL of its API server
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    /// Its CA, PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Name in its certificate, when it is not the host's
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,

    /// File with a bearer token
    #[arg(long, value_name = "FILE", requires = "server", group = "kind")]
    token_file: Option<PathBuf>,

    /// Client certificate, PEM
    #[arg(long, value_name = "FILE", requires_all = ["server", "client_key"], group = "kind")]
    client_cert: Option<PathBuf>,

    /// Key of the client certificate, PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,

    /// Folder with `token` and `ca.crt` of a service account, as a pod has it
    #[arg(long, value_name = "FOLDER", requires = "server", group = "kind")]
    service_account: Option<PathBuf>,

    /// Issuer URL of an OpenID provider that the API server trusts
    #[arg(long, value_name = "URL", requires_all = ["server", "oidc_client_id"], group = "kind")]
    oidc_issuer: Option<String>,

    /// The hub's client id there
    #[arg(long, value_name = "ID", requires = "oidc_issuer")]
    oidc_client_id: Option<String>,

    /// File with the client secret
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_client_secret_file: Option<PathBuf>,

    /// File with a refresh token
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_refresh_token_file: Option<PathBuf>,

    /// CA of the issuer, PEM
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_ca_file: Option<PathBuf>,

    /// Scope to ask for; may be repeated
    #[arg(long = "oidc-scope", value_name = "SCOPE", requires = "oidc_issuer")]
    oidc_scopes: Vec<String>,

    /// Name of the cluster at Amazon EKS; the hub's own AWS role signs in
    #[arg(long, value_name = "NAME", requires_all = ["server", "eks_region"], group = "kind")]
    eks_cluster: Option<String>,

    /// Its region
    #[arg(long, value_name = "REGION", requires = "eks_cluster")]
    eks_region: Option<String>,
}

impl Access {
    /// The body, without name and labels; `None` when no credentials were given.
    ///
    /// # Errors
    /// A file cannot be read, or options do not make up credentials.
    pub(crate) fn body(&self) -> Result<Option<ClusterCreate>, CliError> {
        if let Some(file) = &self.kubeconfig {
            let kubeconfig = whole_kubeconfig(file, self.context.as_deref())?;
            return Ok(Some(ClusterCreate { kubeconfig: Some(kubeconfig), ..ClusterCreate::default() }));
        }
        let mut body = ClusterCreate {
            server: self.server.clone(),
            certificate_authority: self.ca_file.as_deref().map(read).transpose()?,
            tls_server_name: self.tls_server_name.clone(),
            ..ClusterCreate::default()
        };
        let Some(auth_type) = self.fill(&mut body)? else {
            return match self.server {
                None => Ok(None),
                Some(_) => Err(CliError::usage("--server needs credentials")
                    .hint("give --token-file, --client-cert, --service-account, --oidc-issuer or --eks-cluster")),
            };
        };
        body.auth_type = Some(auth_type.to_owned());
        Ok(Some(body))
    }

    fn fill(&self, body: &mut ClusterCreate) -> Result<Option<&'static str>, CliError> {
        if let Some(file) = &self.token_file {
            body.token = Some(read_line(file)?);
            return Ok(Some("bearer_token"));
        }
        if let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) {
            (body.client_certificate, body.client_key) = (Some(read(certificate)?), Some(read(key)?));
            return Ok(Some("client_certificate"));
        }
        if let Some(folder) = &self.service_account {
            body.token = Some(read_line(&folder.join("token"))?);
            if body.certificate_authority.is_none() {
                body.certificate_authority = Some(read(&folder.join("ca.crt"))?);
            }
            return Ok(Some("service_account"));
        }
        if let (Some(issuer), Some(client_id)) = (&self.oidc_issuer, &self.oidc_client_id) {
            body.oidc = Some(OidcAccess {
                issuer: issuer.clone(),
                issuer_certificate_authority: self.oidc_ca_file.as_deref().map(read).transpose()?,
                client_id: client_id.clone(),
                client_secret: self.oidc_client_secret_file.as_deref().map(read_line).transpose()?,
                refresh_token: self.oidc_refresh_token_file.as_deref().map(read_line).transpose()?,
                scopes: self.oidc_scopes.clone(),
            });
            return Ok(Some("oidc"));
        }
        if let (Some(name), Some(region)) = (&self.eks_cluster, &self.eks_region) {
            body.eks = Some(EksAccess { cluster_name: name.clone(), region: region.clone() });
            return Ok(Some("eks"));
        }
        Ok(None)
    }
}

fn read(file: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(file).doing(format!("read {}", file.display()))
}

fn read_line(file: &Path) -> Result<String, CliError> {
    Ok(read(file)?.trim().to_owned())
}

fn whole_kubeconfig(file: &Path, context: Option<&str>) -> Result<String, CliError> {
    let content = read(file)?;
    let directory = std::path::absolute(file).doing(format!("find {}", file.display()))?;
    let directory = directory.parent().unwrap_or(Path::new("/"));
    let whole = kubeconfig::self_contained(&kubeconfig::parse(&content)?, context, directory)?;
    kubeconfig::render(&whole)
}
