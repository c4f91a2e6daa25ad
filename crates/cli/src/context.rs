//! What every command needs before it can do anything: which hub, which cluster, whose session.
//!
//! Must not know: what a command does with it.

use std::path::PathBuf;

use flotilla_types::name::check_cluster_name;

use crate::config::{Config, Paths};
use crate::credentials::Store;
use crate::error::{CliError, Doing};
use crate::hub_client::{HubClient, Transport, Trust};
use crate::hub_url::HubUrl;
use crate::output::{Output, OutputArgs};

/// Options in front of the command. They are not taken behind it, because there `kubectl` has options of the
/// same names.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GlobalArgs {
    /// Hub to talk to, instead of the configured one
    #[arg(long, env = "FLOTILLA_HUB", value_name = "URL")]
    pub(crate) hub: Option<HubUrl>,

    /// Cluster to work with, instead of the one chosen with `clusters use`
    #[arg(long, env = "FLOTILLA_CLUSTER", value_name = "NAME")]
    pub(crate) cluster: Option<String>,

    /// kubectl to run, instead of the first in PATH
    #[arg(long, env = "FLOTILLA_KUBECTL", value_name = "FILE")]
    pub(crate) kubectl: Option<PathBuf>,

    /// No colour, also on a terminal
    #[arg(long, env = "NO_COLOR", hide_env = true, value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub(crate) no_color: bool,
}

/// The resolved surroundings of one command.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Files.
    pub(crate) paths: Paths,
    /// The configuration file.
    pub(crate) config: Config,
    /// Options in front of the command.
    pub(crate) global: GlobalArgs,
    /// Credentials.
    pub(crate) store: Store,
}

impl Context {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When there is no home directory or the configuration is wrong.
    pub(crate) fn new(global: GlobalArgs) -> Result<Self, CliError> {
        let paths = Paths::discover()?;
        let config = Config::read(&paths)?;
        let store = Store::new(&paths.state);
        Ok(Self { paths, config, global, store })
    }

    /// The configured hub, if there is one.
    ///
    /// # Errors
    /// When the configuration holds something that is no address.
    pub(crate) fn configured_hub(&self) -> Result<Option<HubUrl>, CliError> {
        let parse =
            |text: &String| text.parse().map_err(|why: String| CliError::general(format!("central_url: {why}")));
        self.config.central_url.as_ref().map(parse).transpose()
    }

    /// The hub to talk to.
    ///
    /// # Errors
    /// Exit code 3 when none was ever signed in to.
    pub(crate) fn hub(&self) -> Result<HubUrl, CliError> {
        match &self.global.hub {
            Some(hub) => Ok(hub.clone()),
            None => self.configured_hub()?.ok_or_else(|| CliError::not_signed_in("no hub is configured")),
        }
    }

    /// The cluster to work with, if one is chosen. A choice made for another hub does not count.
    ///
    /// # Errors
    /// When the name cannot be one.
    pub(crate) fn chosen_cluster(&self) -> Result<Option<String>, CliError> {
        let same_hub = self.global.hub.is_none() || self.global.hub == self.configured_hub()?;
        let configured = self.config.current_cluster.clone().filter(|_| same_hub);
        let Some(name) = self.global.cluster.clone().or(configured) else { return Ok(None) };
        check_cluster_name(&name).map_err(|error| CliError::usage(error.to_string()))?;
        Ok(Some(name))
    }

    /// The cluster to work with.
    ///
    /// # Errors
    /// Exit code 2 when none is chosen.
    pub(crate) fn cluster(&self) -> Result<String, CliError> {
        self.chosen_cluster()?.ok_or_else(|| {
            CliError::usage("no cluster is chosen")
                .hint("run: flotilla clusters use NAME (flotilla clusters list shows them)")
        })
    }

    /// HTTP to `hub`, with the CA that was trusted for it.
    ///
    /// # Errors
    /// When the credentials file cannot be read.
    pub(crate) fn transport(&self, hub: &HubUrl) -> Result<Transport, CliError> {
        Transport::new(hub, &Trust::remembered(self.store.entry(hub)?.ca.as_deref()))
    }

    /// The API as the signed-in person.
    ///
    /// # Errors
    /// As [`Context::hub`] and [`Context::transport`].
    pub(crate) fn client(&self) -> Result<HubClient, CliError> {
        let hub = self.hub()?;
        Ok(HubClient::new(self.transport(&hub)?, self.store.clone(), hub))
    }

    /// Shows results as asked.
    pub(crate) fn output(&self, args: OutputArgs) -> Output {
        Output::new(args.output, self.global.no_color)
    }
}

/// This program's absolute path, for others to call it back.
///
/// # Errors
/// When the system does not tell, or it is not UTF-8 and could not be written into a kubeconfig.
pub(crate) fn this_program() -> Result<String, CliError> {
    let path = std::env::current_exe().doing("find out where this program is")?;
    path.into_os_string()
        .into_string()
        .map_err(|_| CliError::general("this program's path is not UTF-8").hint("move it"))
}
