//! Errors of commands.

use local_cluster::ClusterError;

use crate::app::StartError;
use crate::configuration::ConfigurationError;
use crate::registry::RegistryError;

/// Why a command failed. Each text says what to do; every error ends with exit code 1.
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
    /// For errors of files and sockets, which need the operation in their text.
    pub fn while_doing(what: &str) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |error| Self::Other(format!("{what}: {error}"))
    }
}

/// An error whose own text says what to do.
pub(super) fn other(error: impl std::fmt::Display) -> CommandError {
    CommandError::Other(error.to_string())
}
