//! Secrets are read from a file, a prompt or standard input, because every user of the machine can
//! read the command line.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use secrecy::SecretString;

use super::CommandError;

/// Bytes; a longer secret is refused.
const LONGEST: u64 = 4096;

/// The first line of the file; without a file, of a prompt on a terminal, else of standard input.
pub(super) fn read_secret(
    file: Option<&PathBuf>,
    prompt: &str,
    what: &str,
) -> Result<SecretString, CommandError> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(CommandError::while_doing(&format!("cannot read {}", path.display())))?,
        None if std::io::stdin().is_terminal() => rpassword::prompt_password(prompt)
            .map_err(CommandError::while_doing(&format!("cannot read {what}")))?,
        None => {
            let mut text = String::new();
            std::io::stdin()
                .take(LONGEST)
                .read_to_string(&mut text)
                .map_err(CommandError::while_doing(&format!("cannot read {what}")))?;
            text
        }
    };
    Ok(SecretString::from(text.lines().next().unwrap_or_default()))
}
