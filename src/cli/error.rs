//! Why a command fails.

use local_cluster::ClusterError;

use crate::app::StartError;
use crate::configuration::ConfigurationError;
use crate::registry::RegistryError;

/// Why a command failed. Each says what to do; all of them end with exit code 1.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("{0}")]
    Other(String),
}

impl CommandError {
    /// For failures of the machine (files, sockets) that need their circumstances told.
    pub fn while_doing(what: &str) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |error| Self::Other(format!("{what}: {error}"))
    }
}

/// A failure that says by itself what to do.
pub(super) fn other(error: impl std::fmt::Display) -> CommandError {
    CommandError::Other(error.to_string())
}
