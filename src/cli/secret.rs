//! Secrets come in by a file, a prompt or standard input: what stands on the command line, everybody on the machine
//! can read.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use secrecy::SecretString;

use super::CommandError;

/// No secret is longer, in bytes.
const LONGEST: u64 = 4096;

/// The first line of the file, of what is typed where a person sits there, else of standard input.
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
